"""What is kept of pods as they change is what a look at all of them says: tallies, and who selects whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import POD, REPLICA_SET
from hawser.api.selectors import LabelSelector
from hawser.api.strategic import clone
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers.budgeted import Budgeted, Selected
from hawser.controllers.job.pods import FINALIZER, active_index_of, index_of, is_over, over_of, restarts, restarts_of
from hawser.controllers.job.pods import INDEX as INDEXED
from hawser.controllers.pods import is_active
from hawser.controllers.replicaset import plan, selector, status
from hawser.controllers.selecting import Selecting, by_labels, selected
from hawser.controllers.tally import ACTIVE, INDIVIDUAL, State, by_owner, count, tally_of

from .living import FakeClock, Living
from .objects import Obj, meta, replica_set
from .objects import pod as pod_of
from .world import World

LABELS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"]))
EXPRESSIONS = st.sampled_from(
    [[], [{"key": "a", "operator": "Exists"}], [{"key": "b", "operator": "NotIn", "values": ["x"]}]]
)
ACTIONS = st.one_of(
    st.tuples(st.just("pod"), st.tuples(st.integers(0, 3), LABELS, st.integers(0, 2), st.booleans())),
    st.tuples(st.just("set"), st.tuples(st.integers(0, 3), LABELS, EXPRESSIONS)),
    st.tuples(st.sampled_from(["drop pod", "drop set", "ready", "end", "answer", "expire", "wait"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["pods", "deliver", "stale", "restart", "fail", "delete pod"]), st.integers(0, 3)),
)


class Looker(Controller):
    """Does nothing but look."""

    def setup(self, manager: Manager) -> None:
        self.pods = by_labels(manager.informer(POD))
        self.pods.add_tally("owner", by_owner)
        self.pods.add_index("over", over_of)
        self.pods.add_tally("indexes", active_index_of)
        self.pods.add_tally("restarts", restarts_of)
        self.sets = manager.informer(REPLICA_SET)
        self.selecting = Selecting(self.sets, selector)
        # What disruption budgets do, with other objects that select.
        self.budgeted = Budgeted(self.pods, self.selecting, selector)
        self.told: list[str] = []
        self.sets.on_change(self.set_changed)
        self.pods.on_change(lambda old, new: self.told.extend(self.budgeted.change(old, new)))

    def set_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and (new is None or old["spec"]["selector"] != new["spec"]["selector"]):
            self.budgeted.forget(key_of(old))

    def check(self) -> None:
        pods, sets = self.pods.list("default"), self.sets.list("default")
        for uid in ("u0", "u1", "u2"):
            mine = [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["uid"] == uid]
            assert self.pods.tally("owner", uid) == tally_of(mine)
            assert _names(self.pods.by_index("over", uid)) == _names(filter(is_over, mine))
            active = [index for pod in mine if is_active(pod) and (index := index_of(pod)) is not None]
            assert self.pods.tally("indexes", uid) == Counter(active)
            told = self.pods.tally("restarts", uid)
            jobs = (pod for pod in mine if pod["metadata"]["ownerReferences"][0]["kind"] == "Job")
            assert sum(times * number for times, number in told.items()) == sum(map(restarts, jobs))
        for one in sets:
            wanted = selector(one)
            found = selected(self.pods, "default", wanted)
            assert _names(found) == _names(pod for pod in pods if wanted.matches(pod["metadata"].get("labels")))
            kept, fresh = self.budgeted.of(one), Selected(found)
            assert (kept.sorts, kept.owners, kept.healthy()) == (fresh.sorts, fresh.owners, fresh.healthy())
        among = {(key_of(pod), key_of(one)) for one in sets for pod in pods if _has(self.budgeted.of(one), pod)}
        assert {(pod, one) for pod, listed in self.budgeted.among.items() for one in listed} == among
        for pod in pods:
            labels = pod["metadata"].get("labels")
            assert _names(self.selecting.of(pod)) == _names(one for one in sets if selector(one).matches(labels))


def _has(kept: Selected, pod: Obj) -> bool:
    return pod["metadata"]["name"] in kept.sorts


def _names(objects: Any) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in objects)


async def act(living: Living, looker: Looker, what: str, value: Any) -> None:
    world = living.world
    match what:
        case "pod":
            number, labels, uid, held = value
            kind = "Job" if uid else "ReplicaSet"
            owner = {"apiVersion": "v1", "kind": kind, "name": "o", "uid": f"u{uid}", "controller": True}
            labels = {**labels, INDIVIDUAL: str(number)}
            metadata = {"name": f"p{number}", "labels": labels, "ownerReferences": [owner]}
            metadata["finalizers"] = [FINALIZER] if held else []
            metadata["annotations"] = {INDEXED: str(number // 2)} if held else {}
            if world.find(POD, f"p{number}") is None:
                world.create(POD, {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "a"}]}})
            else:
                world.change(POD, f"p{number}", lambda new: new["metadata"].update(metadata))
        case "set":
            wanted = {"matchLabels": value[1], "matchExpressions": value[2]}
            if world.find(REPLICA_SET, f"s{value[0]}") is None:
                made = replica_set(f"s{value[0]}")
                made["metadata"] = {"name": f"s{value[0]}"}
                world.create(REPLICA_SET, made)
            world.change(REPLICA_SET, f"s{value[0]}", lambda new: new["spec"].update(selector=wanted))
        case "drop pod" | "drop set":
            kind, name = (POD, f"p{value}") if what == "drop pod" else (REPLICA_SET, f"s{value}")
            if world.find(kind, name) is not None:
                world.remove(kind, name)
        case "ready":
            ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            ready["containerStatuses"] = [{"name": "c", "restartCount": value}]
            living.change(POD, f"p{value}", lambda new: new.update(status=ready))
        case "end":
            living.change(POD, f"p{value}", lambda new: new.update(status={"phase": "Succeeded"}))
        case "answer":
            if (pod := living.world.find(POD, f"p{value}")) is not None:
                looker.pods.observe(clone(pod))
        case _:
            await living.happens(what, value)
    await living.turn()


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=25))
def test_what_is_kept_is_what_a_look_at_all_says(history: list[tuple[str, Any]]) -> None:
    made: list[Looker] = []

    def make() -> Looker:
        made.append(Looker())
        return made[-1]

    async def acting(living: Living, what: str, value: Any) -> None:
        await act(living, made[-1], what, value)
        made[-1].check()

    async def live() -> None:
        await Living(World(FakeClock()), make, nodes=1).live(acting, history)
        made[-1].check()

    asyncio.run(live())


def test_a_plan_and_a_status_are_the_same_with_a_tally_and_without() -> None:
    now = FakeClock().now()
    owned: list[Obj] = [pod_of("a"), pod_of("b", ready=False), pod_of("c", phase="Failed"), pod_of("d", labels={})]
    owned.append(pod_of("e", deletionTimestamp="2026-01-01T00:00:00Z"))
    tally = tally_of(owned)
    assert (count(tally, *ACTIVE), count(tally, State.TERMINATING), count(tally, State.ENDED)) == (3, 1, 1)
    for replicas in (0, 2, 3, 9):
        rs = {**replica_set("rs", replicas), "metadata": meta("rs")}
        assert plan(rs, owned, now, tally) == plan(rs, owned, now)
        told = status(rs, owned, None, now, tally)
        assert told == status(rs, owned, None, now)
        assert (told["replicas"], told["readyReplicas"], told["fullyLabeledReplicas"]) == (3, 2, 2)


def test_a_selector_of_nothing_selects_nothing() -> None:
    assert not LabelSelector.from_object(None).matcher()({"a": "x"})


@pytest.mark.parametrize(
    ("text", "index"),
    [("7", 7), ("007", 7), ("", None), ("-1", None), ("1e3", None), ("\u0663", None), ("9" * 5000, None)],
)
def test_whatever_somebody_writes_for_an_index_is_counted_or_is_none(text: str, index: int | None) -> None:
    annotated = {"metadata": {"annotations": {INDEXED: text}, "ownerReferences": [{"uid": "u", "controller": True}]}}
    assert active_index_of(annotated) == ([] if index is None else [("u", index)])

"""DaemonSets: tables of the decision, and the controller against Hawser's own API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hawser.api.daemons import Places, node_of, tolerations
from hawser.api.kinds import CONTROLLER_REVISION, DAEMON_SET, EVENT, NAMESPACE, NODE, POD
from hawser.client.client import STRATEGIC, Client
from hawser.client.clock import SystemClock
from hawser.controllers import daemon_pods, history
from hawser.controllers.backoff import Backoff
from hawser.controllers.daemon_plan import Plan, Situation, limits, plan, status
from hawser.controllers.daemon_pods import new_pod
from hawser.controllers.daemonset import DaemonSetController

from .objects import Obj, meta
from .objects import pod as any_pod
from .running import eventually, running

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


def daemon_set(image: str = "a", surge: int | str = 0, unavailable: int | str = 1, **pod: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": meta("agent", annotations={"deprecated.daemonset.template.generation": "2"}),
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "main", "image": image}], **pod},
            },
        },
    }


def node(name: str, *taints: tuple[str, str], **labels: str) -> Obj:
    listed = [{"key": key, "effect": effect} for key, effect in taints]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {"taints": listed} if listed else {},
    }


def daemon(on: str, digest: str = "new", **fields: Any) -> Obj:
    labels = {"app": "agent", history.LABEL: digest}
    return any_pod(fields.pop("name", f"agent-{on}-{digest}"), node=on, labels=labels, **fields)


def planned(ds: Obj, nodes: list[Obj], *owned: Obj, resting: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    todo = plan(Situation(ds, nodes, owned, "new", NOW, resting))
    return todo.create, [pod["metadata"]["name"] for pod in todo.delete]


OFF, OUT = ("example.test/off", "NoSchedule"), ("example.test/out", "NoExecute")
TWO = [node("a"), node("b")]

SITUATIONS: list[tuple[str, Obj, list[Obj], list[Obj], tuple[list[str], list[str]]]] = [
    ("a pod for every node", daemon_set(), TWO, [daemon("a")], (["b"], [])),
    ("none while the last one ends", daemon_set(), [node("a")], [daemon("a", deletionTimestamp="x")], ([], [])),
    ("unless that has ended", daemon_set(), [node("a")], [daemon("a", phase="Failed", deletionTimestamp="x")],
     (["a"], [])),
    ("the oldest stays", daemon_set(), [node("a")], [
        daemon("a", name="second", creationTimestamp="2026-01-01T00:00:09Z"),
        daemon("a", name="first", creationTimestamp="2026-01-01T00:00:01Z")], ([], ["second"])),
    ("not where taints keep off", daemon_set(), [node("a", OFF)], [], ([], [])),
    ("but what is there stays", daemon_set(), [node("a", OFF)], [daemon("a")], ([], [])),
    ("unless it is driven out", daemon_set(), [node("a", OUT)], [daemon("a")], ([], ["agent-a-new"])),
    ("where it is not selected it goes", daemon_set(nodeSelector={"disk": "fast"}), [node("a"), node("b", disk="fast")],
     [daemon("a")], (["b"], ["agent-a-new"])),
    ("a failed one goes", daemon_set(), [node("a")], [daemon("a", phase="Failed")], ([], ["agent-a-new"])),
    ("a waiting pod goes with its node", daemon_set(), [], [
        {**daemon("a", name="waits"), "spec": new_pod(daemon_set(), "new", "gone")["spec"]}], ([], ["waits"])),
    ("one after another", daemon_set(), TWO, [daemon("a", "old"), daemon("b", "old")], ([], ["agent-a-old"])),
    ("the next waits", daemon_set(), TWO, [daemon("a", ready=False), daemon("b", "old")], ([], [])),
    ("what does not work goes at once", daemon_set(), TWO, [daemon("a", "old", ready=False), daemon("b", "old")],
     ([], ["agent-a-old"])),
    ("a surge comes first", daemon_set(surge=1, unavailable=0), TWO, [daemon("a", "old"), daemon("b", "old")],
     (["a"], [])),
    ("it waits", daemon_set(surge=1, unavailable=0), TWO, [daemon("a", "old"), daemon("a", ready=False),
     daemon("b", "old")], ([], [])),
    ("then the old one goes", daemon_set(surge=1, unavailable=0), TWO, [daemon("a", "old"), daemon("a"),
     daemon("b", "old")], ([], ["agent-a-old"])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ds", "nodes", "owned", "wanted"), [row[1:] for row in SITUATIONS], ids=[row[0] for row in SITUATIONS]
)
def test_every_node_gets_what_it_should_have(
    ds: Obj, nodes: list[Obj], owned: list[Obj], wanted: tuple[list[str], list[str]]
) -> None:
    assert planned(ds, nodes, *owned) == wanted


def test_a_failed_pod_is_left_alone_while_its_node_rests() -> None:
    failed = daemon("a", phase="Failed", ready=False)
    assert planned(daemon_set(), TWO, failed, daemon("b"), resting=("a",)) == ([], [])


def test_only_by_hand_nothing_is_replaced() -> None:
    ds = daemon_set()
    ds["spec"]["updateStrategy"] = {"type": "OnDelete"}
    assert planned(ds, TWO, daemon("a", "old"), daemon("b", "old")) == ([], [])


def test_a_set_under_deletion_is_left_alone() -> None:
    ds = daemon_set()
    ds["metadata"]["deletionTimestamp"] = "x"
    assert plan(Situation(ds, TWO, [], "new", NOW)) == Plan()


@pytest.mark.parametrize(
    ("surge", "unavailable", "want"),
    [(0, 1, (0, 1)), ("10%", 0, (1, 0)), (0, "50%", (0, 3)), ("0%", "0%", (0, 1))],
)
def test_shares_of_nodes_round_up(surge: int | str, unavailable: int | str, want: tuple[int, int]) -> None:
    assert limits(daemon_set(surge=surge, unavailable=unavailable), 5) == want


def test_a_pod_is_bound_to_its_node_by_affinity_and_tolerates_what_nodes_suffer() -> None:
    preferred = [{"weight": 1, "preference": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}]
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}
    affinity = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            "requiredDuringSchedulingIgnoredDuringExecution": required,
        }
    }
    made = new_pod(daemon_set(affinity=affinity, hostNetwork=True), "digest", "n1")
    assert made["metadata"]["generateName"] == "agent-"
    assert made["metadata"]["labels"] == {
        "app": "agent",
        "controller-revision-hash": "digest",
        "pod-template-generation": "2",
    }
    assert made["spec"]["affinity"]["nodeAffinity"] == {
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
        },
    }
    assert node_of(made) == "n1"
    assert [(t["key"].partition("/")[2], t["effect"]) for t in made["spec"]["tolerations"]] == [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        ("network-unavailable", "NoSchedule"),
    ]


def test_a_toleration_of_the_template_is_not_repeated() -> None:
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}
    made = tolerations({"tolerations": [own]})
    assert [t for t in made if t["key"].endswith("not-ready")] == [
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    ]
    assert len(made) == 6


def test_places_of_a_template_with_a_node_name() -> None:
    places = Places(daemon_set(nodeName="b"))
    assert [places.on(each) for each in TWO] == [(False, False), (True, True)]


def test_status_counts_nodes() -> None:
    ds = daemon_set()
    ds["spec"]["minReadySeconds"] = 60
    nodes = [*TWO, node("c"), node("d"), node("off", OFF)]
    owned = [
        daemon("a"),
        daemon("b", "old", since="2026-01-01T00:59:30Z"),
        daemon("c", ready=False),
        daemon("off"),
    ]
    assert status(Situation(ds, nodes, owned, "new", NOW)) == {
        "desiredNumberScheduled": 4,
        "currentNumberScheduled": 3,
        "numberMisscheduled": 1,
        "numberReady": 2,
        "numberAvailable": 1,
        "numberUnavailable": 3,
        "updatedNumberScheduled": 2,
        "observedGeneration": 1,
    }


def test_waits_double_and_are_forgotten(clock: Any) -> None:
    waits = Backoff(clock, 1.0, 4.0)
    assert waits.left("a") == 0
    for seconds in (1.0, 2.0, 4.0, 4.0):
        waits.done("a")
        assert waits.left("a") == seconds
        clock.advance(seconds)
        assert waits.left("a") == 0
    clock.advance(9)
    waits.done("b")
    waits.done("a")
    assert waits.left("a") == 1


# Against the server


class Ahead(SystemClock):
    """A minute later than it is, so that what somebody has made by hand is no longer new."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=61)


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, DaemonSetController(), clock=Ahead()) as made:
        yield made


async def test_daemons_roll_over_nodes_and_failed_ones_are_replaced(client: Client) -> None:
    namespace = "daemons"
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for name in ("a", "b"):
        await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        # What the node life cycle does once the node is ready.
        await client.patch(NODE, name, None, {"spec": {"taints": None}})
    body = daemon_set()
    body["metadata"] = {"name": "agent", "namespace": namespace}
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 0
    await client.create(DAEMON_SET, body)

    async def placed(image: str, many: int = 2) -> dict[str, str]:
        """Plays the scheduler and the node agents: pods are bound and ready. Names by node, once all are there."""
        found = {}
        for pod in (await client.list(POD, namespace)).items:
            name = pod["metadata"]["name"]
            if not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Node", "name": node_of(pod)}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                await client.post_subresource(POD, name, namespace, "binding", binding)
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                up = {"status": {"phase": "Running", "conditions": [ready]}}
                await client.patch(POD, name, namespace, up, subresource="status")
            elif pod["metadata"].get("deletionTimestamp"):
                await client.delete(POD, name, namespace, grace_period=0)
            elif pod["spec"]["containers"][0]["image"] == image:
                found[node_of(pod)] = name
        return found if len(found) == many else {}

    first = await eventually(lambda: placed("a"))
    assert set(first) == {"a", "b"}
    update = {"template": {"spec": {"containers": [{"name": "main", "image": "b"}]}}}
    await client.patch(DAEMON_SET, "agent", namespace, {"spec": update}, type=STRATEGIC)
    second = await eventually(lambda: placed("b"))
    await client.patch(POD, second["a"], namespace, {"status": {"phase": "Failed"}}, subresource="status")

    async def replaced() -> bool:
        return second["a"] not in (await placed("b")).values() and bool(await placed("b"))

    await eventually(replaced)

    async def counted() -> bool:
        found = (await client.get(DAEMON_SET, "agent", namespace))["status"]
        return (found["numberReady"], found.get("updatedNumberScheduled"), found["observedGeneration"]) == (2, 2, 2)

    await eventually(counted)
    kept = (await client.list(CONTROLLER_REVISION, namespace)).items
    assert sorted(r["revision"] for r in kept) == [1, 2]
    template = dict(kept[0]["data"]["spec"]["template"])
    assert template.pop("$patch") == "replace"
    assert set(template) == {"metadata", "spec"}

    async def said() -> bool:
        wanted = f"Found failed daemon pod {namespace}/{second['a']} on node a, will try to kill it"
        return any(e["message"] == wanted for e in (await client.list(EVENT, namespace)).items)

    await eventually(said)
    await _a_copy_of_its_revision_takes_its_place(client, namespace, set((await placed("b")).values()))
    for name in ("a", "b"):
        await client.delete(NODE, name)


async def _a_copy_of_its_revision_takes_its_place(client: Client, namespace: str, names: set[str]) -> None:
    """As Kubernetes' own "should manage the lifecycle of a ControllerRevision" makes one; no pod starts again for it.

    names: of all pods.
    """
    current = max((await client.list(CONTROLLER_REVISION, namespace)).items, key=lambda r: r["revision"])
    metadata = {field: current["metadata"][field] for field in ("namespace", "ownerReferences")}
    labels = {**current["metadata"]["labels"], history.LABEL: "copy"}
    copy = {**current, "metadata": {**metadata, "name": "agent-copy", "labels": labels}, "revision": 3}
    await client.create(CONTROLLER_REVISION, copy)
    assert len((await client.list(CONTROLLER_REVISION, namespace)).items) == 3
    touched = {"metadata": {"annotations": {"touched": "yes"}}}
    await client.patch(DAEMON_SET, "agent", namespace, touched)

    async def merged() -> bool:
        found = (await client.list(CONTROLLER_REVISION, namespace)).items
        return {r["metadata"]["name"] for r in found} >= {"agent-copy"} and len(found) == 2

    await eventually(merged)
    labelled = {
        p["metadata"]["name"]: p["metadata"]["labels"][history.LABEL] for p in (await client.list(POD, namespace)).items
    }
    assert labelled == dict.fromkeys(names, "copy")


def test_the_generation_of_a_template_is_enough_for_its_pods() -> None:
    old = daemon("a", "other")
    old["metadata"]["labels"]["pod-template-generation"] = "2"
    assert daemon_pods.is_updated(daemon_set(), old, "new")

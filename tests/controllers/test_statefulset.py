"""StatefulSets: tables of the decision, and the controller against Hawser's own API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from hawser.api.kinds import CONTROLLER_REVISION, EVENT, PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET
from hawser.client.client import STRATEGIC, Client
from hawser.controllers import history, stateful_claims, stateful_plan
from hawser.controllers.stateful_plan import Create, Repair, Situation, plan
from hawser.controllers.statefulset import StatefulSetController

from .objects import Obj, meta
from .objects import pod as any_pod
from .running import eventually, running

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


def stateful_set(replicas: int = 3, image: str = "a", **spec: Any) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta("db"),
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "main", "image": image}], "terminationGracePeriodSeconds": 0},
            },
            **spec,
        },
    }


def revision(name: str, image: str = "a", number: int = 1) -> Obj:
    template = stateful_set(image=image)["spec"]["template"]
    return {"metadata": meta(name), "data": history.data(template), "revision": number}


OLD, NEW = revision("db-old"), revision("db-new", "b", 2)


def member(number: int, of: Obj = NEW, **fields: Any) -> Obj:
    name = f"db-{number}"
    labels = {"app": "db", history.LABEL: of["metadata"]["name"], stateful_plan.POD_NAME: name}
    return any_pod(name, labels=labels, **fields)


def situation(sts: Obj, *owned: Obj, current: Obj = OLD, claims: dict[str, Obj] | None = None) -> Situation:
    return Situation(sts, owned, current, NEW, (claims or {}).get, NOW)


def said(sts: Obj, *owned: Obj, **more: Any) -> list[list[str]]:
    """The plan in words."""
    return [
        [f"{type(a).__name__} {a.pod['metadata']['name']}" for a in phase]  # type: ignore[union-attr]
        for phase in plan(situation(sts, *owned, **more)).phases
    ]


def rolling(**fields: Any) -> Obj:
    return {"type": "RollingUpdate", "rollingUpdate": fields}


ORDERED: list[tuple[str, Obj, list[Obj], list[list[str]]]] = [
    ("the first pod first", stateful_set(), [], [["Create db-0"]]),
    ("the next when it is ready", stateful_set(), [member(0)], [["Create db-1"]]),
    ("not before", stateful_set(), [member(0, ready=False)], []),
    ("nor while it ends", stateful_set(), [member(0, deletionTimestamp="x")], []),
    ("a hole is filled", stateful_set(), [member(0), member(2)], [["Create db-1"]]),
    ("a failed pod goes", stateful_set(), [member(0, phase="Failed"), member(1)], [["Delete db-0"]]),
    ("a pod that has ended well, too", stateful_set(), [member(0, phase="Succeeded")], [["Delete db-0"]]),
    ("the last goes first", stateful_set(0), [member(0), member(1)], [["Delete db-1"]]),
    ("one at a time", stateful_set(0), [member(0), member(1, deletionTimestamp="x")], []),
    ("not while one below is not ready", stateful_set(0), [member(0, ready=False), member(1)], [["Delete db-1"]]),
    ("unless it is that one", stateful_set(0), [member(0), member(1, ready=False)], [["Delete db-1"]]),
    ("another waits for it", stateful_set(0), [member(0, ready=False), member(1, ready=False)], []),
    ("start", stateful_set(1, ordinals={"start": 4}), [member(0)], [["Create db-4"]]),
    ("updates from the top", stateful_set(2), [member(0, OLD), member(1, OLD)], [["Delete db-1"]]),
    ("one after another", stateful_set(2), [member(0, OLD), member(1)], [["Delete db-0"]]),
    (
        "down to the partition",
        stateful_set(3, updateStrategy=rolling(partition=2)),
        [member(0, OLD), member(1, OLD), member(2)],
        [],
    ),
    (
        "several at once",
        stateful_set(3, updateStrategy=rolling(partition=0, maxUnavailable=2)),
        [member(n, OLD) for n in range(3)],
        [["Delete db-2", "Delete db-1"]],
    ),
    ("a share of them, one at least", stateful_set(
        3, updateStrategy=rolling(maxUnavailable="10%")), [member(n, OLD) for n in range(3)], [["Delete db-2"]]
    ),
    ("only by hand", stateful_set(1, updateStrategy={"type": "OnDelete"}), [member(0, OLD)], []),
    ("an adopted pod gets its labels", stateful_set(1), [
        any_pod("db-0", labels={"app": "db", history.LABEL: "db-new"})], [["Repair db-0"]]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sts", "owned", "wanted"), [row[1:] for row in ORDERED], ids=[row[0] for row in ORDERED])
def test_in_order_one_thing_is_done_after_another(sts: Obj, owned: list[Obj], wanted: list[list[str]]) -> None:
    assert said(sts, *owned) == wanted


def test_in_parallel_nothing_waits() -> None:
    sts = stateful_set(3, podManagementPolicy="Parallel")
    assert said(sts) == [["Create db-0", "Create db-1", "Create db-2"]]
    owned = [member(0, ready=False), member(1, OLD), member(3), member(4, ready=False)]
    assert said(sts, *owned) == [["Create db-2"], ["Delete db-4", "Delete db-3"]]


def test_min_ready_seconds_are_waited_for() -> None:
    todo = plan(situation(stateful_set(2, minReadySeconds=60), member(0, since="2026-01-01T00:59:30Z")))
    assert (todo.phases, todo.look_again) == ((), 30)


def test_a_set_under_deletion_is_left_alone() -> None:
    sts = stateful_set()
    sts["metadata"]["deletionTimestamp"] = "x"
    assert plan(situation(sts, member(7))).phases == ()


@pytest.mark.parametrize(("partition", "image"), [(0, "b"), (1, "a")])
def test_a_pod_below_the_partition_is_of_the_old_revision(partition: int, image: str) -> None:
    sts = stateful_set(updateStrategy=rolling(partition=partition))
    ((action,),) = plan(situation(sts)).phases
    assert isinstance(action, Create)
    made, name = action.pod, {"a": "db-old", "b": "db-new"}[image]
    assert made["spec"] == {
        "containers": [{"name": "main", "image": image}],
        "terminationGracePeriodSeconds": 0,
        "hostname": "db-0",
        "subdomain": "db",
    }
    assert made["metadata"]["labels"] == {
        "app": "db",
        "apps.kubernetes.io/pod-index": "0",
        "statefulset.kubernetes.io/pod-name": "db-0",
        "controller-revision-hash": name,
    }


POLICIES = [
    ("Retain", "Retain", False, None),
    ("Retain", "Delete", False, "StatefulSet"),
    ("Retain", "Delete", True, "StatefulSet"),
    ("Delete", "Retain", False, None),
    ("Delete", "Retain", True, "Pod"),
    ("Delete", "Delete", False, "StatefulSet"),
    ("Delete", "Delete", True, "Pod"),
]


@pytest.mark.parametrize(("scaled", "deleted", "away", "owner"), POLICIES)
def test_a_claim_is_owned_by_what_it_is_to_go_with(scaled: str, deleted: str, away: bool, owner: str | None) -> None:
    policy = {"whenScaled": scaled, "whenDeleted": deleted}
    sts, pod = stateful_set(persistentVolumeClaimRetentionPolicy=policy), member(0)
    claim = {"metadata": {**meta("data-db-0"), "ownerReferences": []}}
    found = stateful_claims.references(sts, claim, pod, scaled_away=away)
    assert [(r["kind"], r["controller"]) for r in found or ()] == ([(owner, True)] if owner else [])
    claim["metadata"]["ownerReferences"] = found or []
    assert stateful_claims.references(sts, claim, pod, scaled_away=away) is None
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u", "controller": True}
    claim["metadata"]["ownerReferences"] = [foreign]
    assert stateful_claims.references(sts, claim, pod, scaled_away=away) is None, "somebody else's"


def test_a_pod_with_other_volumes_than_its_claims_is_to_have_them() -> None:
    claims = [{"metadata": {"name": "data"}, "spec": {}}]
    ((action,),) = plan(situation(stateful_set(1, volumeClaimTemplates=claims), member(0))).phases
    assert isinstance(action, Repair)
    assert action.pod["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
    ]


def test_a_revision_that_comes_back_is_renumbered() -> None:
    sts = stateful_set(image="a")
    todo = history.plan(sts, [OLD, NEW], "hash")
    assert (todo.revision, todo.create, todo.number) == (OLD, False, 3)
    assert history.plan(sts, [OLD], "hash") == history.Newest(OLD)
    made = history.plan(sts, [NEW], "hash")
    assert (made.create, made.revision["revision"]) == (True, 3)


def test_status_ends_the_update_with_its_last_pod() -> None:
    sts = stateful_set(2)
    half = stateful_plan.status(situation(sts, member(0, OLD), member(1)))
    assert (half["currentRevision"], half["currentReplicas"], half["updatedReplicas"]) == ("db-old", 1, 1)
    whole = stateful_plan.status(situation(sts, member(0), member(1)))
    assert (whole["currentRevision"], whole["updateRevision"], whole["currentReplicas"]) == ("db-new", "db-new", 2)
    assert whole["collisionCount"] == 0


# Against the server


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, StatefulSetController()) as made:
        yield made


async def make_ready(client: Client, namespace: str, name: str) -> Obj:
    """Plays the node agent for a pod that is to come."""

    async def there() -> bool:
        return any(
            p["metadata"]["name"] == name and "deletionTimestamp" not in p["metadata"]
            for p in (await client.list(POD, namespace)).items
        )

    await eventually(there)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "podIP": "10.9.0.1", "conditions": [ready]}
    return await client.patch(POD, name, namespace, {"status": status}, subresource="status")


async def status_is(client: Client, namespace: str, **wanted: Any) -> None:
    async def reached() -> bool:
        status = (await client.get(STATEFUL_SET, "db", namespace))["status"]
        return all(status.get(name) == value for name, value in wanted.items())

    await eventually(reached)


async def test_a_set_rolls_and_rolls_back_with_its_claims(client: Client, namespace: str) -> None:
    body = stateful_set(2, volumeClaimTemplates=[
        {"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    ])  # fmt: skip
    body["metadata"] = {"name": "db", "namespace": namespace}
    await client.create(STATEFUL_SET, body)
    first = await make_ready(client, namespace, "db-0")
    assert (first["spec"]["hostname"], first["spec"]["subdomain"]) == ("db-0", "db")
    await make_ready(client, namespace, "db-1")
    await status_is(client, namespace, readyReplicas=2, availableReplicas=2, updatedReplicas=2)
    claims = {c["metadata"]["name"]: c for c in (await client.list(PERSISTENT_VOLUME_CLAIM, namespace)).items}
    assert {name: c["metadata"]["labels"] for name, c in claims.items()} == {
        "data-db-0": {"app": "db"},
        "data-db-1": {"app": "db"},
    }
    update = {"template": {"spec": {"containers": [{"name": "main", "image": "b"}]}}}
    (original,) = (await client.list(CONTROLLER_REVISION, namespace)).items
    await client.patch(STATEFUL_SET, "db", namespace, {"spec": update}, type=STRATEGIC)
    for name in ("db-1", "db-0"):
        await eventually(lambda name=name: _image(client, namespace, name, "b"))
        await make_ready(client, namespace, name)
    await status_is(client, namespace, readyReplicas=2, updatedReplicas=2, currentReplicas=2)
    await client.patch(STATEFUL_SET, "db", namespace, original["data"], type=STRATEGIC)
    for name in ("db-1", "db-0"):
        await eventually(lambda name=name: _image(client, namespace, name, "a"))
        await make_ready(client, namespace, name)
    await status_is(client, namespace, currentRevision=original["metadata"]["name"], updatedReplicas=2)
    revisions = {
        r["metadata"]["name"]: r["revision"] for r in (await client.list(CONTROLLER_REVISION, namespace)).items
    }
    assert revisions[original["metadata"]["name"]] == 3
    assert sorted(revisions.values()) == [2, 3]

    async def events() -> set[str]:
        messages = {e["message"] for e in (await client.list(EVENT, namespace)).items}
        return messages if "delete Pod db-1 in StatefulSet db successful" in messages else set()

    assert await eventually(events) >= {
        "create Pod db-0 in StatefulSet db successful",
        "create Claim data-db-0 Pod db-0 in StatefulSet db success",
    }


async def _image(client: Client, namespace: str, name: str, image: str) -> bool:
    return any(
        pod["metadata"]["name"] == name and pod["spec"]["containers"][0]["image"] == image
        for pod in (await client.list(POD, namespace)).items
    )

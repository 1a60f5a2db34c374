"""Priority and fairness: classification, seats, turns, and a greedy client that starves nobody."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.apiserver.authorization.base import Attributes
from hawser.apiserver.flowcontrol import defaults, schemas
from hawser.apiserver.flowcontrol.levels import Level, Levels
from hawser.apiserver.identity import User

from .conftest import Api, Server

Obj = dict[str, Any]
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


def read() -> list[schemas.FlowSchema]:
    made = [{**obj, "metadata": {**obj["metadata"], "uid": "u"}} for obj in defaults.schemas()]
    return schemas.read(made)


ADMIN = User("admin", groups=("system:masters", "system:authenticated"))
JOE = User("joe", groups=("system:authenticated",))
NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))
SCHEDULER = User("system:kube-scheduler")
ACCOUNT = "system:serviceaccount"


def account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"{ACCOUNT}:{namespace}:{name}", groups=groups)


LEASES = "coordination.k8s.io"


@pytest.mark.parametrize(
    ("user", "asked", "name", "flow"),
    [
        (ADMIN, Attributes("get", "", "pods", "", "a"), "exempt", ""),
        (JOE, Attributes("get", path="/healthz"), "probes", ""),
        (JOE, Attributes("get", path="/healthz/etcd"), "global-default", "joe"),
        (JOE, Attributes("list", "apps", "deployments", "", "a"), "global-default", "joe"),
        (NODE, Attributes("patch", "", "nodes", "status", "", "n1"), "system-node-high", NODE.name),
        (NODE, Attributes("update", LEASES, "leases", "", "kube-node-lease"), "system-node-high", NODE.name),
        (NODE, Attributes("patch", "", "pods", "status", "a"), "system-nodes", NODE.name),
        (
            User("system:kube-scheduler"),
            Attributes("update", LEASES, "leases", "", "a"),
            "system-leader-election",
            None,
        ),
        (SCHEDULER, Attributes("create", "", "events", "", "b"), "kube-scheduler", "b"),
        (account("kube-system", "x"), Attributes("get", "", "configmaps", "", "a"), "workload-leader-election", None),
        (account("kube-system", "x"), Attributes("list", "", "pods", "", "a"), "kube-system-service-accounts", "a"),
        (account("shop", "x"), Attributes("list", "", "pods"), "service-accounts", f"{ACCOUNT}:shop:x"),
    ],
)
def test_the_default_schemas_tell_requests_apart(user: User, asked: Attributes, name: str, flow: str | None) -> None:
    found = next(schema for schema in read() if schema.matches(user, asked))
    assert found.name == name
    assert flow is None or found.flow(user, asked) == flow


def level(name: str, shares: int, queues: int = 0, length: int = 0, lends: int = 0, **more: int) -> Obj:
    response: Obj = {"type": "Reject"}
    if queues:
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": 1, "queueLengthLimit": length}}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lends, "limitResponse": response, **more}
    return {"metadata": {"name": name, "uid": name}, "spec": {"type": "Limited", "limited": limited}}


async def test_flows_take_turns() -> None:
    levels = Levels(1)
    levels.configure([level("a", 1, queues=4, length=10)])
    one = levels["a"]
    assert levels.enter(one, "greedy") is None
    waiting = [("greedy", levels.enter(one, "greedy")) for _ in range(3)] + [("shy", levels.enter(one, "shy"))]
    order = []
    for _ in range(4):
        levels.leave(one)
        (flow,) = [flow for flow, future in waiting if future is not None and future.done()]
        order.append(flow)
        waiting = [(name, future) for name, future in waiting if future is not None and not future.done()]
    assert order == ["greedy", "shy", "greedy", "greedy"]
    levels.leave(one)
    assert (one.executing, one.waiting) == (0, 0)


async def test_full_queues_and_levels_without_one_refuse() -> None:
    levels = Levels(2)
    levels.configure([level("queue", 1, queues=2, length=1), level("reject", 1)])
    for name in ("queue", "reject"):
        assert levels.enter(levels[name], "f") is None
    with pytest.raises(APIError) as refused:
        levels.enter(levels["reject"], "f")
    assert (refused.value.code, refused.value.details) == (429, {"retryAfterSeconds": 1})
    assert levels.enter(levels["queue"], "f") is not None
    with pytest.raises(APIError):
        levels.enter(levels["queue"], "f")
    assert levels.enter(levels["queue"], "g") is not None
    with pytest.raises(APIError):
        levels.enter(levels["queue"], "h")


async def test_seats_that_are_free_are_lent_up_to_the_limits() -> None:
    levels = Levels(20)
    levels.configure([level("a", 1), level("b", 1, lends=50)])
    assert [levels.enter(levels["a"], "f") for _ in range(15)] == [None] * 15
    with pytest.raises(APIError):
        levels.enter(levels["a"], "f")
    # b has its own seats all the same.
    assert [levels.enter(levels["b"], "f") for _ in range(10)] == [None] * 10
    levels.configure([level("a", 1, borrowingLimitPercent=0), level("b", 1, lends=50)])
    for _ in range(6):
        levels.leave(levels["a"])
    assert levels.enter(levels["a"], "f") is None
    with pytest.raises(APIError):
        levels.enter(levels["a"], "f")


@given(
    st.lists(st.tuples(st.sampled_from(["enter", "leave", "cancel"]), st.sampled_from("abc"), st.sampled_from("xyz")))
)
def test_no_seat_is_lost_and_nobody_waits_beside_a_free_one(steps: list[tuple[str, str, str]]) -> None:
    async def play() -> None:
        levels = Levels(6)
        levels.configure([level("a", 1, 2, 3, lends=50), level("b", 2, 4, 2), level("c", 0, 1, 1)])
        held: Counter[str] = Counter()
        queue: list[tuple[Level, asyncio.Future[None]]] = []
        for action, name, flow in steps:
            one = levels[name]
            if action == "enter":
                try:
                    future = levels.enter(one, flow)
                except APIError:
                    continue
                if future is None:
                    held[name] += 1
                else:
                    queue.append((one, future))
            elif action == "leave" and held[name]:
                held[name] -= 1
                levels.leave(one)
            elif action == "cancel" and queue:
                queue.pop(0)[1].cancel()
            for waited, future in list(queue):
                if future.done() and not future.cancelled():
                    held[waited.name] += 1
                    queue.remove((waited, future))
            for each in levels:
                assert each.executing == held[each.name]
                alive = [f for waited, f in queue if waited is each and not f.cancelled()]
                assert not alive or each.executing >= each.seats

    asyncio.run(play())


@pytest.fixture
async def own(own_server: Server) -> AsyncIterator[Api]:
    own_server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Api(own_server, session, "default")


@pytest.fixture
async def narrow(own_server: Server) -> AsyncIterator[Api]:
    """A client of a server that does few things at a time."""
    own_server.extra = ["--max-requests-inflight=8", "--max-mutating-requests-inflight=2"]
    own_server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Api(own_server, session, "default")


async def test_answers_say_how_they_were_classified(api: Api) -> None:
    for _ in range(5000):
        found = await api.get(f"{FLOW}/flowschemas/global-default/status")
        if found.status == 200 and (found.json.get("status") or {}).get("conditions"):
            break
        await asyncio.sleep(0.02)
    assert found.json["status"]["conditions"][0] | {"lastTransitionTime": ""} == {
        "type": "Dangling",
        "status": "False",
        "lastTransitionTime": "",
        "reason": "Found",
        "message": (
            'This FlowSchema references the PriorityLevelConfiguration object named "global-default" and it exists'
        ),
    }
    mine = await api.get("/api/v1/namespaces/default/pods", token="joe-token")
    priority = (await api.get(f"{FLOW}/prioritylevelconfigurations/global-default")).json
    assert mine.headers["X-Kubernetes-PF-FlowSchema-UID"] == found.json["metadata"]["uid"]
    assert mine.headers["X-Kubernetes-PF-PriorityLevel-UID"] == priority["metadata"]["uid"]


async def test_a_new_schema_and_level_take_effect_at_once(own: Api) -> None:
    spec = {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}
    made = await own.create(f"{FLOW}/prioritylevelconfigurations", {"metadata": {"name": "tiny"}, "spec": spec})
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "joe"}}],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        ],
    }
    schema = {"priorityLevelConfiguration": {"name": "tiny"}, "matchingPrecedence": 500, "rules": [rule]}
    await own.create(f"{FLOW}/flowschemas", {"metadata": {"name": "joes"}, "spec": schema})
    answer = await own.get("/api/v1/namespaces/default/pods", token="joe-token")
    assert answer.headers["X-Kubernetes-PF-PriorityLevel-UID"] == made["metadata"]["uid"]
    assert (await own.call("DELETE", f"{FLOW}/prioritylevelconfigurations/tiny")).status == 200
    answer = await own.get("/api/v1/namespaces/default/pods", token="joe-token")
    assert answer.headers["X-Kubernetes-PF-PriorityLevel-UID"] != made["metadata"]["uid"]


async def test_a_greedy_client_does_not_starve_another(narrow: Api) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    await narrow.create(f"{rbac}/clusterroles", {"metadata": {"name": "maps"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"}
    subjects = [{"kind": "Group", "name": "system:authenticated", "apiGroup": role["apiGroup"]}]
    await narrow.create(
        f"{rbac}/clusterrolebindings", {"metadata": {"name": "maps"}, "roleRef": role, "subjects": subjects}
    )
    maps = narrow.path("configmaps")
    await narrow.create(maps, {"metadata": {"name": "m"}})
    statuses: Counter[int] = Counter()
    stop = False

    async def greedy() -> None:
        while not stop:
            answer = await narrow.call("POST", maps, {"metadata": {"generateName": "g"}}, token="joe-token")
            statuses[answer.status] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(greedy())
        # Whoever is in another flow is served while a hundred requests wait.
        before = statuses.total()
        for _ in range(20):
            answer = await narrow.get(f"{maps}/m", token="node-token")
            assert answer.status == 200
        stop = True
    assert statuses.total() - before < 20 * 100
    assert set(statuses) <= {201, 429}
    figures = (await narrow.get("/metrics")).body.decode()
    waited = re.search(r'wait_duration_seconds_sum\{priority_level="global-default".*\} (\S+)', figures)
    assert waited and float(waited[1]) > 0

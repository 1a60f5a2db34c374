"""Nodes that go: switched off, cut off, drained, rebooted; what runs there, and what clients feel of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from hawser.api.status import is_ready
from hawser.cli.engine import nodes

from .conftest import HOST_PORTS, Engine, Obj, eventually
from .load import Load, answer, rollout, served
from .machine import Node, assert_clean, reboot
from .several import (
    NAMESPACE,
    engine_of_nodes,
    kept,
    on,
    ready,
    replicated,
    restarted,
    rows,
    serving,
    uids,
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Engine]:
    """An engine of three nodes in three zones."""
    with engine_of_nodes() as made:
        yield made


@pytest.fixture(scope="module")
def names(cluster: Engine) -> list[str]:
    return [row["name"] for row in rows(cluster)]


def test_a_node_that_cannot_be_heard_is_left_and_used_again_when_it_can(cluster: Engine, names: list[str]) -> None:
    node = names[2]
    cluster.apply(replicated("moves"), NAMESPACE)
    cluster.kubectl("rollout", "status", "deployment/moves", "--timeout=120s")

    def there() -> list[str]:
        pods = cluster.list("pods", NAMESPACE, "app=moves")
        return [p["metadata"]["name"] for p in pods if p["spec"].get("nodeName") == node]

    on_it = cluster.list("pods", NAMESPACE, "app=moves")
    if not there():
        cluster.kubectl("delete", "pod", on_it[0]["metadata"]["name"], "--wait=false")
        eventually(there, f"a pod on {node}")
    left = there()[0]
    space = "cut-off"
    cluster.kubectl("create", "namespace", space)
    with served(cluster, space, spread=True) as load:
        eventually(lambda: serving(cluster, space) == {*names}, "a web server on every node")
        _given_up_and_healed(cluster, node, left, there)
    # Cut off is the node from the API server, not its pods from others: they serve until they are taken out.
    assert load.failures == []
    cluster.kubectl("delete", "deployment", "moves", "--wait=false")


def _given_up_and_healed(cluster: Engine, node: str, left: str, there: Callable[[], list[str]]) -> None:
    """left: the pod of the deployment "moves" on the node; there: its pods that the API has on the node."""
    cluster.hawser("node", "partition", node)
    eventually(lambda: ready(cluster, node) == "Unknown", f"{node} not to be Ready")
    found = cluster.get("node", node, NAMESPACE)
    condition = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    assert (condition["reason"], condition["message"]) == (
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
    )

    def tainted() -> bool:
        taints = cluster.get("node", node, NAMESPACE)["spec"].get("taints") or []
        wanted = {("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")}
        return {(t["key"], t["effect"]) for t in taints} == wanted

    eventually(tainted, "its taints")

    def replaced() -> bool:
        pods = cluster.list("pods", NAMESPACE, "app=moves")
        elsewhere = [p for p in pods if p["spec"].get("nodeName") not in (None, node)]
        return sum(is_ready(p) for p in elsewhere) == 3

    eventually(replaced, "three pods on the other nodes")
    old = cluster.get("pod", left, NAMESPACE)
    assert "deletionTimestamp" in old["metadata"]
    conditions = {c["type"]: c for c in old["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "False"
    assert conditions["DisruptionTarget"]["reason"] == "DeletionByTaintManager"
    cluster.wait_event(NAMESPACE, left, "NodeNotReady")
    cluster.wait_event(NAMESPACE, left, "TaintManagerEviction")

    cluster.hawser("node", "heal", node)
    eventually(lambda: ready(cluster, node) == "True", f"{node} Ready again")
    eventually(lambda: left not in there(), "the end of the pod that was left")
    eventually(lambda: not cluster.get("node", node, NAMESPACE)["spec"].get("taints"), "no taints")
    cluster.apply(on(node, "later"), NAMESPACE)
    cluster.wait_ready("later", NAMESPACE)


def test_a_node_that_shuts_down_in_good_order_is_missed_by_nobody(cluster: Engine, names: list[str]) -> None:
    node, space = names[2], "good-order"
    cluster.kubectl("create", "namespace", space)
    with served(cluster, space, spread=True) as load:
        eventually(lambda: serving(cluster, space) == {*names}, "a web server on every node")
        cluster.hawser("node", "stop", node, "--graceful", "--grace", "30")
        eventually(lambda: serving(cluster, space) == {*names[:2]}, "the others only")
        cluster.hawser("node", "start", node)
        eventually(lambda: ready(cluster, node) == "True", f"{node} Ready")
        rollout(cluster, space)
    assert load.failures == []


def test_a_power_cut_is_felt_until_the_node_is_given_up_and_no_longer(cluster: Engine, names: list[str]) -> None:
    node, space = names[2], "power-cut"
    cluster.kubectl("create", "namespace", space)
    cluster.apply(replicated("db", "StatefulSet"), space)

    def members() -> dict[str, Obj]:
        pods = cluster.list("pods", space, "app=db")
        assert len({p["metadata"]["name"] for p in pods}) == len(pods) <= 3
        return {p["spec"]["nodeName"]: p for p in pods if is_ready(p)}

    with served(cluster, space, spread=True) as load, Load(load.address, tries=30) as patient:
        eventually(lambda: serving(cluster, space) == members().keys() == {*names}, "a pod of both on every node")
        name, uid = (members()[node]["metadata"][field] for field in ("name", "uid"))
        cluster.hawser("node", "stop", node)
        eventually(lambda: serving(cluster, space) == {*names[:2]}, "the others only")
        eventually(lambda: all(answer(load.address) for _ in range(30)), "the proxy's word of it")
        # The kernel remembers for two minutes which ports of a client tried the lost pod in vain: another client.
        with Load(load.address, source=rows(cluster)[0]["address"]) as after:
            eventually(lambda: "deletionTimestamp" in cluster.get("pod", name, space)["metadata"], "its eviction")
            # It may run still, for all that is known: there is no second one of its name.
            assert members().keys() == {*names[:2]}
            eventually(lambda: len(after.answers) > 300, "requests")
            cluster.hawser("node", "start", node)
            eventually(lambda: serving(cluster, space) == {*names}, "its web server again")
            eventually(lambda: len(members()) == 3 and uid not in uids(members()), f"another {name}")
    assert (after.failures, patient.failures) == ([], [])
    cluster.kubectl("delete", "namespace", space, "--wait=false")


def test_a_drained_node_is_empty_and_nobody_notices(cluster: Engine, names: list[str]) -> None:
    node, space = names[1], "under-load"
    cluster.kubectl("create", "namespace", space)
    with served(cluster, space, spread=True) as load:
        cluster.kubectl("drain", node, "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        assert [p for p in cluster.list("pods", NAMESPACE) if p["spec"].get("nodeName") == node] == []
        assert node not in {p["spec"].get("nodeName") for p in cluster.list("pods", space)}
        rollout(cluster, space)
        eventually(lambda: serving(cluster, space) == {*names} - {node}, "the others")
        cluster.kubectl("uncordon", node)
        cluster.kubectl("rollout", "restart", "deployment/web", "-n", space)
        rollout(cluster, space)
        assert node in {p["spec"]["nodeName"] for p in cluster.list("pods", space)}
        cluster.kubectl("scale", "deployment/web", "--replicas=2", "-n", space)
        eventually(lambda: len(cluster.list("pods", space)) == 2, "two pods")
    assert load.failures == []


def test_a_drain_waits_for_the_disruption_budget_of_what_runs_there(cluster: Engine, names: list[str]) -> None:
    node = names[1]
    cluster.apply(on(node, "guarded"), NAMESPACE)
    cluster.wait_ready("guarded", NAMESPACE)
    cluster.kubectl("create", "pdb", "guard", "--selector=app=guarded", "--min-available=1")
    refused = cluster.kubectl("drain", node, "--pod-selector=app=guarded", "--force", "--timeout=8s", check=False)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
    cluster.kubectl("patch", "pdb", "guard", "--type=merge", "-p", '{"spec": {"minAvailable": 0}}')
    cluster.kubectl("drain", node, "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
    pods = cluster.list("pods", NAMESPACE)
    assert [p for p in pods if p["spec"].get("nodeName") == node] == []
    cluster.kubectl("uncordon", node)


def test_all_nodes_come_back_after_a_reboot(cluster: Engine, names: list[str]) -> None:
    volumes = [{"name": "ram", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}]
    mounts = [{"name": "ram", "mountPath": "/ram"}, {"name": "disk", "mountPath": "/disk"}]
    script = "echo again >> /disk/starts; exec sleep 1000000"
    for name in names:
        ports = [{"containerPort": 80, "hostPort": HOST_PORTS + 1}]
        container = {"volumeMounts": mounts, "ports": ports}
        cluster.apply(on(name, f"boots-{name}", script, volumes=volumes, container=container), NAMESPACE)
    before = {name: cluster.wait_ready(f"boots-{name}", NAMESPACE) for name in names}
    engine = kept(cluster)
    machines = [Node(nodes.view(engine, node), nodes.namespace(engine, node)) for node in nodes.load(engine)]
    for machine in machines:
        reboot(machine)
    cluster.hawser("up", "--detach")
    for name in names:
        eventually(partial(restarted, cluster, f"boots-{name}"), f"boots-{name} again")
        after = cluster.get("pod", f"boots-{name}", NAMESPACE)
        assert after["metadata"]["uid"] == before[name]["metadata"]["uid"]
        starts = ("exec", f"boots-{name}", "--", "cat", "/disk/starts")
        eventually(lambda starts=starts: cluster.kubectl(*starts).stdout.split() == ["again"] * 2, "its two starts")
    for machine in machines:
        assert_clean(cluster, machine)

"""Several nodes on one machine: pods, Services, logs and images on all of them, and what happens when one goes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from ipaddress import ip_address, ip_network

import pytest

from hawser.cli.engine import nodes
from hawser.node.network.ipam import ADDRESSES, POOLS

from .conftest import HOST_PORTS, Engine, Obj, eventually
from .several import (
    NAMESPACE,
    engine_of_nodes,
    kept,
    on,
    ready,
    rows,
    settled,
)
from .test_down import traces

POOL = f"10.251.{os.getpid() % 256}.0/29"
"""Of addresses that all nodes share; another run on this machine has another, and no engine takes them for itself."""
NODE_PORT = 30_000 + os.getpid() % 80
"""None that a Service gets by itself, and another one than another run's on this machine."""
# Ready is a web server when it answers: not a moment before, nor less because the machine is busy.
_ANSWERS = {
    "readinessProbe": {
        "httpGet": {"path": "/", "port": 8080},
        "periodSeconds": 1,
        "timeoutSeconds": 20,
        "failureThreshold": 20,
    }
}
_GET = 'get() { printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 20 $1 $2 | tail -n 1; }; '


@pytest.fixture(scope="module")
def cluster() -> Iterator[Engine]:
    """An engine of three nodes in three zones, with addresses of both families, and a pool of addresses for all."""
    with engine_of_nodes("--dual-stack", "--ip-pool", f"legacy={POOL}") as made:
        yield made


@pytest.fixture(scope="module")
def names(cluster: Engine) -> list[str]:
    return [row["name"] for row in rows(cluster)]


@pytest.fixture(scope="module")
def web(cluster: Engine, names: list[str]) -> dict[str, Obj]:
    """A web server on every node, which tells the node's name; all behind one Service. By node."""
    serve = "mkdir /www; echo $NODE > /www/index.html; exec httpd -f -p 8080 -h /www"
    env = [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    ports = [{"containerPort": 8080, "hostPort": HOST_PORTS}]
    for name in names:
        server = on(name, f"web-{name}", serve, container={**_ANSWERS, "env": env, "ports": ports})
        server["metadata"]["labels"] = {"app": "web"}
        cluster.apply(server, NAMESPACE)
    port = {"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    cluster.apply({**service, "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [port]}}, NAMESPACE)
    found = {name: cluster.wait_ready(f"web-{name}", NAMESPACE) for name in names}

    def served() -> bool:
        slices = cluster.list("endpointslices", NAMESPACE, "kubernetes.io/service-name=web")
        return sum(e["conditions"]["ready"] for s in slices for e in s.get("endpoints") or ()) == len(names)

    eventually(served, "endpoints of all web servers")
    return found


def test_nodes_have_zones_addresses_and_ranges_of_their_own(cluster: Engine, names: list[str]) -> None:
    listed = [cluster.get("node", name, NAMESPACE) for name in names]
    labels = [node["metadata"]["labels"] for node in listed]
    assert [row["topology.kubernetes.io/zone"] for row in labels] == ["zone-1", "zone-2", "zone-3"]
    assert [row["kubernetes.io/hostname"] for row in labels] == names
    assert len({cidr for node in listed for cidr in node["spec"]["podCIDRs"]}) == 6
    addresses = [a["address"] for node in listed for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
    assert len(set(addresses)) == 6
    shown = json.loads(cluster.hawser("status", "-o", "json").stdout)
    assert [(node["name"], node["ready"]) for node in shown["nodes"]] == [(name, True) for name in names]


def test_pods_reach_pods_services_and_ports_of_every_node(
    cluster: Engine, names: list[str], web: dict[str, Obj]
) -> None:
    service = cluster.get("service", "web", NAMESPACE)["spec"]["clusterIP"]
    hosts = {row["name"]: row["address"] for row in rows(cluster)}
    asked = [(web[name]["status"]["podIP"], 8080) for name in names] + [(hosts[name], HOST_PORTS) for name in names]
    for name in names:
        script = _GET + "; ".join(f"get {address} {port}" for address, port in asked)
        assert cluster.kubectl("exec", f"web-{name}", "--", "sh", "-c", script).stdout.split() == names * 2
        for address, port in ((service, 80), *((host, NODE_PORT) for host in hosts.values())):
            ask = ("exec", f"web-{name}", "--", "sh", "-c", f"{_GET} get {address} {port}")
            eventually(lambda ask=ask: cluster.kubectl(*ask).stdout, f"an answer of {address}:{port} to {name}")
            loop = f"{_GET} for i in 1 2 3 4 5 6; do get {address} {port}; done"
            answers = cluster.kubectl("exec", f"web-{name}", "--", "sh", "-c", loop).stdout.split()
            assert len(answers) == 6, f"{address}:{port} from {name}: {answers}"
            assert set(answers) <= set(names)
        assert cluster.kubectl("logs", f"web-{name}").returncode == 0
        api = "echo | nc -w 20 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT && echo reached"
        assert "reached" in cluster.kubectl("exec", f"web-{name}", "--", "sh", "-c", api).stdout


def _asks(cluster: Engine, source: str, *targets: str, seconds: int = 20) -> list[str]:
    """What web servers answer to a pod, in their order. seconds: how long each may take."""
    script = _GET.replace("-w 20", f"-w {seconds}") + "; ".join(f"get {target} 8080" for target in targets)
    return cluster.kubectl("exec", source, "--", "sh", "-c", script, check=False).stdout.split()


def test_pods_reach_each_other_and_services_by_ipv6(cluster: Engine, names: list[str], web: dict[str, Obj]) -> None:
    six = [next(row["ip"] for row in web[name]["status"]["podIPs"] if ":" in row["ip"]) for name in names]
    both = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"], "selector": {"app": "web"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "six"}}
    cluster.apply({**service, "spec": {**both, "ports": [{"port": 8080}]}}, NAMESPACE)
    virtual = cluster.get("service", "six", NAMESPACE)["spec"]["clusterIP"]
    for name in names:
        assert _asks(cluster, f"web-{name}", *six) == names
        eventually(lambda name=name: _asks(cluster, f"web-{name}", virtual), f"the Service from {name}")
    cluster.kubectl("delete", "service", "six")


def test_a_pod_has_its_fixed_address_on_every_node(cluster: Engine, names: list[str], web: dict[str, Obj]) -> None:
    """An address of the second node's range, one of the first's, and one of the pool that all share."""
    ranges = [cluster.get("node", name, NAMESPACE)["spec"]["podCIDRs"] for name in names]
    (_, second), (four, six) = ranges[0], ranges[1]
    wanted = [str(ip_network(four)[77]), str(ip_network(six)[77])]
    serve = "mkdir /www; echo fixed > /www/index.html; exec httpd -f -p 8080 -h /www"
    for name in (names[2], names[0], names[1]):
        made = on(name, "fixed", serve, container=_ANSWERS)
        made["metadata"]["annotations"] = {ADDRESSES: json.dumps(wanted)}
        cluster.apply(made, NAMESPACE)
        assert [row["ip"] for row in cluster.wait_ready("fixed", NAMESPACE)["status"]["podIPs"]] == wanted
        # Each node learns in its own time where the address is now.
        for other in names:
            ask = partial(_asks, cluster, f"web-{other}", *wanted, seconds=5)
            eventually(lambda ask=ask: ask() == ["fixed", "fixed"], f"the way from {other} to {name}")
        cluster.kubectl("delete", "pod", "fixed", "--now")
    assert ip_address(wanted[1]) not in ip_network(second)


def test_nodes_share_a_pool_of_addresses(cluster: Engine, names: list[str], web: dict[str, Obj]) -> None:
    serve = "mkdir /www; echo $HOSTNAME > /www/index.html; exec httpd -f -p 8080 -h /www"
    for name in names:
        made = on(name, f"pooled-{name}", serve, container=_ANSWERS)
        made["metadata"]["annotations"] = {POOLS[4]: '["legacy"]'}
        cluster.apply(made, NAMESPACE)
    pods = [cluster.wait_ready(f"pooled-{name}", NAMESPACE) for name in names]
    found = [pod["status"]["podIP"] for pod in pods]
    assert len(set(found)) == 3 and all(ip_address(address) in ip_network(POOL) for address in found)
    for name in names:
        ask = partial(_asks, cluster, f"web-{name}", *found, seconds=5)
        eventually(lambda ask=ask: ask() == [f"pooled-{other}" for other in names], f"the way from {name}")
    cluster.kubectl("delete", "pod", "--now", *(f"pooled-{name}" for name in names))


def test_names_and_network_policies_hold_on_every_node(cluster: Engine, names: list[str], web: dict[str, Obj]) -> None:
    address = cluster.get("service", "web", NAMESPACE)["spec"]["clusterIP"]
    for name in names:
        ask = ("exec", f"web-{name}", "--", "nslookup", f"web.{NAMESPACE}.svc.cluster.local")
        eventually(
            lambda ask=ask: address in cluster.kubectl(*ask, check=False).stdout, f"the Service's name on {name}"
        )
    friends = [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}]
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "friends"}}
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": friends}
    cluster.kubectl("label", "pod", f"web-{names[1]}", "friend=yes")
    cluster.apply({**policy, "spec": spec}, NAMESPACE)

    def reached(source: int, target: int) -> bool:
        name = names[target]
        return name in _asks(cluster, f"web-{names[source]}", web[name]["status"]["podIP"], seconds=5)

    # Each node learns of the policy and of its friend in its own time.
    for source, target in ((2, 0), (0, 2)):
        eventually(lambda s=source, t=target: not reached(s, t), "a policy between nodes")
    for target in (0, 2):
        eventually(lambda t=target: reached(1, t), "a friend's way")
    assert not reached(2, 0) and not reached(0, 2)
    cluster.kubectl("delete", "networkpolicy", "friends")
    for source, target in ((2, 0), (0, 2)):
        eventually(lambda s=source, t=target: reached(s, t), "the end of the policy")


def test_a_pod_of_the_hosts_network_has_the_nodes_address_and_name(cluster: Engine, names: list[str]) -> None:
    cluster.apply(on(names[1], "host", hostNetwork=True), NAMESPACE)
    made = cluster.wait_ready("host", NAMESPACE)
    address = rows(cluster)[1]["address"]
    assert (made["status"]["podIP"], made["status"]["hostIP"]) == (address, address)
    assert cluster.kubectl("exec", "host", "--", "hostname").stdout.strip() == names[1]


def test_an_imported_image_is_on_every_node(cluster: Engine, names: list[str]) -> None:
    archive = cluster.data_dir / "images" / "busybox.tar"
    cluster.hawser("image", "import", str(archive))
    for name in names:
        cluster.apply(on(name, f"has-{name}", container={"imagePullPolicy": "Never"}), NAMESPACE)
    for name in names:
        cluster.wait_ready(f"has-{name}", NAMESPACE)


def test_a_node_that_is_off_takes_its_containers_with_it_and_brings_them_back(
    cluster: Engine, names: list[str], web: dict[str, Obj]
) -> None:
    node = names[2]
    others = {name: cluster.get("pod", f"web-{name}", NAMESPACE)["status"]["containerStatuses"] for name in names[:2]}
    cluster.hawser("node", "stop", node)
    view = nodes.view(kept(cluster), nodes.load(kept(cluster))[2])
    assert traces(view.data_dir, view.instance) == []
    assert [row["power"] for row in rows(cluster)] == ["on", "on", "off"]
    cluster.hawser("node", "start", node)
    name = f"web-{node}"

    def again() -> bool:
        statuses = cluster.get("pod", name, NAMESPACE)["status"]["containerStatuses"]
        return all(s["ready"] and s["restartCount"] == 1 for s in statuses)

    eventually(again, f"{name} again")
    assert cluster.get("pod", name, NAMESPACE)["metadata"]["uid"] == web[node]["metadata"]["uid"]
    for other, statuses in others.items():
        assert cluster.get("pod", f"web-{other}", NAMESPACE)["status"]["containerStatuses"] == statuses


def test_a_node_is_added_shut_down_gracefully_and_removed(cluster: Engine, names: list[str]) -> None:
    cluster.hawser("node", "add", "spare", "--zone", "elsewhere", "--cpu", "1", "--memory", "512Mi")
    node = cluster.get("node", "spare", NAMESPACE)
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "elsewhere"
    assert (node["status"]["capacity"]["cpu"], node["status"]["capacity"]["memory"]) == ("1", "512Mi")
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo asked > /dev/termination-log"]}}}
    cluster.apply(on("spare", "told", "trap exit TERM; sleep 100000 & wait", container={"lifecycle": hook}), NAMESPACE)
    cluster.wait_ready("told", NAMESPACE)
    cluster.hawser("node", "stop", "spare", "--graceful", "--grace", "30")
    status = cluster.get("pod", "told", NAMESPACE)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Terminated")
    assert status["containerStatuses"][0]["state"]["terminated"]["message"] == "asked\n"
    cluster.hawser("node", "start", "spare")
    cluster.apply(on("spare", "after"), NAMESPACE)
    cluster.wait_ready("after", NAMESPACE)
    cluster.hawser("node", "remove", "spare")
    assert [row["name"] for row in rows(cluster)] == names
    assert cluster.kubectl("get", "node", "spare", check=False).returncode == 1
    cluster.kubectl("delete", "pod", "told", "after", "--force", "--grace-period=0", check=False)


def test_the_machine_itself_may_be_off_while_others_serve(
    cluster: Engine, names: list[str], web: dict[str, Obj]
) -> None:
    first, other = names[:2]
    cluster.hawser("node", "stop", first)
    script = f"{_GET} get {web[names[2]]['status']['podIP']} 8080"
    assert cluster.kubectl("exec", f"web-{other}", "--", "sh", "-c", script).stdout.strip() == names[2]
    assert cluster.hawser("image", "list").returncode == 0
    cluster.hawser("node", "start", first)
    eventually(partial(settled, cluster, f"web-{first}"), f"web-{first} again")


def test_a_node_whose_making_was_cut_short_is_finished(cluster: Engine, names: list[str]) -> None:
    engine = kept(cluster)
    listed = nodes.load(engine)
    # As `hawser node add` leaves it when it is killed at the first step.
    nodes.save(engine, nodes.grown(listed, len(listed) + 1))
    made = nodes.load(engine)[-1].name
    cluster.hawser("up", "--detach")
    assert ready(cluster, made) == "True"
    cluster.hawser("node", "remove", made)
    assert [row["name"] for row in rows(cluster)] == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["remove", "FIRST"], "is the machine itself"),
        (["partition", "FIRST"], "is the machine itself"),
        (["stop", "nobody"], "there is no node nobody"),
        (["add", "No_Name"], "is no name of a node"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(cluster: Engine, names: list[str], words: list[str], said: str) -> None:
    done = cluster.hawser("node", *[names[0] if word == "FIRST" else word for word in words], check=False)
    assert done.returncode == 1
    assert said in done.stderr


def test_nodes_come_back_after_the_supervisor_was_killed(cluster: Engine, names: list[str]) -> None:
    before = {name: cluster.get("pod", f"web-{name}", NAMESPACE) for name in names}
    shown = json.loads(cluster.hawser("status", "-o", "json").stdout)
    for pid in (process["pid"] for process in shown["processes"] if process["running"]):
        # With the first one, the supervisor, the others are asked to end.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.hawser("up", "--detach")
    eventually(lambda: all(ready(cluster, name) == "True" for name in names), "all nodes Ready")
    for name in names:
        after = eventually(partial(settled, cluster, f"web-{name}"), f"web-{name}")
        assert after["status"]["containerStatuses"] == before[name]["status"]["containerStatuses"]

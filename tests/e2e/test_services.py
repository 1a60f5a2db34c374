"""Services as their users see them: every type, from pods and from the machine."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import HOST_PORTS, Engine, Obj, eventually, pod

SERVER = "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
HOST_PORT = HOST_PORTS + 2


def server(name: str, **spec: Any) -> Obj:
    answers = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 20}}
    made = pod(name, SERVER, **{**spec, "container": {**answers, **spec.get("container", {})}})
    made["metadata"]["labels"] = {"app": "web"}
    return made


def service(name: str, **spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def ask(address: str, port: int = 80) -> str:
    """What answers the machine itself, or why nothing does."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=10) as answer:
            text: str = answer.read().decode().strip()
            return text
    except OSError as error:
        return f"error: {error}"


class Network:
    """Two servers and a client in a namespace."""

    def __init__(self, engine: Engine, namespace: str) -> None:
        self.engine, self.namespace = engine, namespace

    def from_pod(self, host: str, port: int = 80, client: str = "client") -> str:
        """Who answers a pod."""
        return next(iter(self._asked(client, host, port, 1)), "error")

    def many(self, host: str) -> set[str]:
        """Who answers a pod that asks so often that two servers are both chosen, if there are two."""
        return self._asked("client", host, 80, 30)

    def _asked(self, client: str, host: str, port: int, times: int) -> set[str]:
        # busybox's own wget cannot look names up when it is linked statically.
        script = f"""
a={host}
case $a in *[a-z]*) a=$(nslookup {host} 2>/dev/null | awk '/^Address: /{{print $2; exit}}') ;; esac
i=0
while [ $i -lt {times} ]; do
  i=$((i + 1))
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 "$a" {port} | tail -n 1 | grep . || echo error
done"""
        done = self.engine.kubectl("exec", "-n", self.namespace, client, "--", "sh", "-c", script, check=False)
        return set(done.stdout.split())

    def get(self, name: str) -> Obj:
        return self.engine.get("service", name, self.namespace)

    def patch(self, name: str, **spec: Any) -> Obj:
        text = json.dumps({"spec": spec})
        self.engine.kubectl("patch", "service", name, "-n", self.namespace, "--type=merge", "-p", text)
        return self.get(name)

    def until(self, ask_again: Callable[[], Any], wanted: Any, what: str) -> None:
        eventually(lambda: ask_again() == wanted, what)


@pytest.fixture
def network(engine: Engine, namespace: str) -> Network:
    for made in (server("one"), server("two"), pod("client")):
        engine.apply(made, namespace)
    for name in ("one", "two", "client"):
        engine.wait_ready(name, namespace)
    return Network(engine, namespace)


def test_a_load_balancer_has_an_address_that_pods_and_the_machine_reach(network: Network) -> None:
    local = service("web", type="LoadBalancer", externalTrafficPolicy="Local")
    network.engine.apply(local, network.namespace)
    eventually(lambda: network.get("web")["status"].get("loadBalancer"), "an address")
    found = network.get("web")
    (entry,) = found["status"]["loadBalancer"]["ingress"]
    assert entry["ipMode"] == "VIP"
    node_port, check = found["spec"]["ports"][0]["nodePort"], found["spec"]["healthCheckNodePort"]
    eventually(lambda: ask(entry["ip"]) in ("one", "two"), "an answer")
    for host in (entry["ip"], "web"):
        network.until(lambda host=host: network.many(host), {"one", "two"}, f"both servers of {host}")
    assert ask("127.0.0.1", node_port) in ("one", "two")
    eventually(lambda: '"localEndpoints": 2' in ask("127.0.0.1", check).replace("\t", ""), "the health check")
    network.engine.kubectl("delete", "service", "web", "-n", network.namespace)
    network.until(lambda: ask(entry["ip"]).startswith("error"), True, "the end")


def test_a_service_changes_its_type(network: Network) -> None:
    network.engine.apply(service("web", type="NodePort"), network.namespace)
    node_port = network.get("web")["spec"]["ports"][0]["nodePort"]
    network.until(lambda: ask("127.0.0.1", node_port) in ("one", "two"), True, "the node port")
    network.engine.apply(service("other"), network.namespace)
    network.patch("web", type="ExternalName", externalName=f"other.{network.namespace}.svc.cluster.local")
    network.until(lambda: network.from_pod("web") in ("one", "two"), True, "an alias")
    network.until(lambda: ask("127.0.0.1", node_port).startswith("error"), True, "the node port's end")
    back = network.patch("web", type="ClusterIP", externalName=None)
    assert "nodePort" not in back["spec"]["ports"][0] and back["spec"]["clusterIP"]
    network.until(lambda: network.many("web"), {"one", "two"}, "a cluster address")


def test_session_affinity_is_switched_on_and_off(network: Network) -> None:
    network.engine.apply(service("web", sessionAffinity="ClientIP"), network.namespace)
    network.until(lambda: len(network.many("web") - {"error"}), 1, "one server")
    network.patch("web", sessionAffinity="None", sessionAffinityConfig=None)
    network.until(lambda: network.many("web"), {"one", "two"}, "both")
    network.patch("web", sessionAffinity="ClientIP")
    network.until(lambda: len(network.many("web")), 1, "one server again")


def test_endpoints_without_a_selector_and_pods_that_are_not_ready(network: Network) -> None:
    engine, namespace = network.engine, network.namespace
    address = engine.get("pod", "one", namespace)["status"]["podIP"]
    own = service("own")
    del own["spec"]["selector"]
    engine.apply(own, namespace)
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "own"},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "http", "port": 8080}]}],
    }
    engine.apply(endpoints, namespace)
    network.until(lambda: network.many("own"), {"one"}, "the mirrored endpoints")
    never = {"httpGet": {"path": "/missing", "port": 8080}, "periodSeconds": 1}
    waiting = server("waiting", container={"readinessProbe": never})
    waiting["metadata"]["labels"] = {"app": "waiting"}
    engine.apply(waiting, namespace)
    engine.apply(service("hidden", selector={"app": "waiting"}), namespace)
    engine.apply(service("shown", selector={"app": "waiting"}, publishNotReadyAddresses=True), namespace)
    network.until(lambda: network.from_pod("shown"), "waiting", "an address that is not ready")
    assert network.from_pod("hidden") == "error"


def test_host_ports_differ_by_address_and_protocol(engine: Engine, namespace: str) -> None:
    node_ip = engine.list("nodes", namespace)[0]["status"]["addresses"][0]["address"]
    given = {"loop": ("127.0.0.1", "TCP"), "node": (node_ip, "TCP"), "udp": (node_ip, "UDP")}
    for name, (ip, protocol) in given.items():
        ports = [{"containerPort": 8080, "hostPort": HOST_PORT, "hostIP": ip, "protocol": protocol}]
        engine.apply(server(name, container={"ports": ports}), namespace)
    engine.apply(pod("host", hostNetwork=True), namespace)
    for name in (*given, "host"):
        engine.wait_ready(name, namespace)
    network = Network(engine, namespace)
    for ip, name in (("127.0.0.1", "loop"), (node_ip, "node")):
        network.until(lambda ip=ip: ask(ip, HOST_PORT), name, f"the host port of {ip}")
        assert network.from_pod(ip, HOST_PORT, "host") == name
    with socket.socket() as client:
        # Also from the node's own address to its loopback one.
        client.settimeout(20)
        client.bind((node_ip, 0))
        client.connect(("127.0.0.1", HOST_PORT))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(2000)


def test_a_services_status_is_written_with_its_metadata(engine: Engine, namespace: str) -> None:
    engine.apply(service("web", type="LoadBalancer", loadBalancerClass="example.com/other"), namespace)
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    body = json.dumps({"metadata": {"annotations": {"patched": "true"}}, "status": status})
    engine.kubectl("patch", "service", "web", "-n", namespace, "--subresource=status", "--type=merge", "-p", body)
    found = engine.get("service", "web", namespace)
    assert found["metadata"]["annotations"]["patched"] == "true"
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    assert "finalizers" not in found["metadata"], "a class of others is left to them"

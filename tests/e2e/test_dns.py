"""Cluster DNS from pods: with the C library's resolver (getent) and with a DNS client of its own (dnspython).

Follows the cases of Kubernetes' own test/e2e/network/dns.go.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import dns.message
import dns.query
import pytest

from .conftest import ROOT, Engine, Obj, eventually, pod

# The pod's image has neither a C library nor Python: it borrows the machine's.
BORROWED = {"/usr": "/usr", "/lib": "/usr/lib", "/lib64": "/usr/lib64", "/venv": str(ROOT / ".venv")}
LOOKUPS = """
import json, sys, dns.message, dns.query
server = [l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver")][0]
found = {}
for name, kind in json.load(sys.stdin):
    query = dns.message.make_query(name, kind)
    answers = [ask(query, server, timeout=20) for ask in (dns.query.udp, dns.query.tcp)]
    told = [sorted(str(i) for r in a.answer for i in r) for a in answers]
    missing = ["NXDOMAIN"] if answers[0].rcode() == 3 else []
    found[f"{kind} {name}"] = told[0] or missing if told[0] == told[1] else ["UDP and TCP differ", *map(str, told)]
print(json.dumps(found))
"""


def querier(name: str, **spec: Any) -> Obj:
    volumes = [{"name": f"v{i}", "hostPath": {"path": path}} for i, path in enumerate(BORROWED.values())]
    mounts = [{"name": f"v{i}", "mountPath": path, "readOnly": True} for i, path in enumerate(BORROWED)]
    return pod(name, container={"volumeMounts": mounts}, volumes=volumes, **spec)


def service(name: str, **spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}}


def lookups(engine: Engine, namespace: str, name: str, *questions: tuple[str, str]) -> dict[str, list[str]]:
    site = "/venv/lib/" + next((ROOT / ".venv/lib").glob("python3.*")).name + "/site-packages"
    command = ["env", f"PYTHONPATH={site}", "/usr/bin/python3", "-c", LOOKUPS]
    out = engine.kubectl("exec", "-i", name, "-n", namespace, "--", *command, input=json.dumps(questions)).stdout
    found: dict[str, list[str]] = json.loads(out)
    return found


def getent(engine: Engine, namespace: str, pod_name: str, host: str) -> str:
    """The first address that the C library finds, "" for none."""
    done = engine.kubectl(
        "exec", pod_name, "-n", namespace, "--", "/usr/bin/getent", "ahosts", host, check=False
    ).stdout
    return done.split()[0] if done else ""


def test_pods_find_services_and_each_other_by_name(engine: Engine, namespace: str) -> None:
    selector = {"dns-test": "true"}
    engine.apply(service("headless", clusterIP="None", selector=selector), namespace)
    engine.apply(service("regular", selector=selector), namespace)
    engine.apply(service("outside", type="ExternalName", externalName="foo.example.com"), namespace)
    one = querier("querier", hostname="dns-querier-1", subdomain="headless")
    one["metadata"]["labels"] = selector
    engine.apply(one, namespace)
    ip = engine.wait_ready("querier", namespace)["status"]["podIP"]
    cluster_ip = engine.get("service", "regular", namespace)["spec"]["clusterIP"]
    kubernetes = engine.get("service", "kubernetes", "default")["spec"]["clusterIP"]
    svc = f"{namespace}.svc.cluster.local"
    fqdn = f"dns-querier-1.headless.{svc}"
    reverse = ".".join(reversed(cluster_ip.split("."))) + ".in-addr.arpa"
    wanted = {
        "A kubernetes.default.svc.cluster.local": [kubernetes],
        f"A headless.{svc}": [ip],
        f"A regular.{svc}": [cluster_ip],
        f"AAAA regular.{svc}": [],
        f"SRV _http._tcp.headless.{svc}": [f"0 100 80 {fqdn}."],
        f"SRV _http._tcp.regular.{svc}": [f"0 100 80 regular.{svc}."],
        f"PTR {reverse}": [f"regular.{svc}."],
        f"A {fqdn}": [ip],
        f"A {ip.replace('.', '-')}.{namespace}.pod.cluster.local": [ip],
        f"CNAME outside.{svc}": ["foo.example.com."],
        f"A nothing.{svc}": ["NXDOMAIN"],
        "TXT dns-version.cluster.local": ['"1.1.0"'],
    }
    questions = [(key.split()[1], key.split()[0]) for key in wanted]

    def asked() -> bool:
        return lookups(engine, namespace, "querier", *questions) == wanted

    eventually(asked, "the records of Services and pods")
    for host in ("regular", f"regular.{namespace}", f"regular.{namespace}.svc"):
        assert getent(engine, namespace, "querier", host) == cluster_ip
    assert getent(engine, namespace, "querier", "headless") == ip
    assert getent(engine, namespace, "querier", "kubernetes.default") == kubernetes
    # Of the pod's own /etc/hosts:
    assert getent(engine, namespace, "querier", "dns-querier-1") == ip
    assert (
        f"{ip}\t{fqdn}\tdns-querier-1"
        in engine.kubectl("exec", "querier", "-n", namespace, "--", "cat", "/etc/hosts").stdout
    )
    _changes_of_a_service_are_seen(engine, namespace, f"outside.{svc}")


def _changes_of_a_service_are_seen(engine: Engine, namespace: str, name: str) -> None:
    def patch(**spec: Any) -> None:
        engine.kubectl("patch", "service", "outside", "-n", namespace, "-p", json.dumps({"spec": spec}))

    def answers(kind: str) -> list[str]:
        return lookups(engine, namespace, "querier", (name, kind))[f"{kind} {name}"]

    patch(externalName="bar.example.com")
    eventually(lambda: answers("CNAME") == ["bar.example.com."], "the new external name")
    patch(type="ClusterIP", externalName=None)
    address = eventually(
        lambda: engine.get("service", "outside", namespace)["spec"].get("clusterIP"), "a cluster address"
    )
    eventually(lambda: answers("A") == [address], "the cluster address by name")


def test_a_pods_resolv_conf_follows_its_dns_policy(engine: Engine, namespace: str) -> None:
    server = engine.get("service", "kube-dns", "kube-system")["spec"]["clusterIP"]
    searches = [f"{'x' * 59}-{i:02}.example.com" for i in range(27)]
    own = {"nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"], "options": [{"name": "ndots", "value": "2"}]}
    shows = "cat /etc/resolv.conf; echo whole; sleep 1000000"
    for each in (
        pod("first", shows, dnsPolicy="ClusterFirst"),
        pod("none", shows, dnsPolicy="None", dnsConfig=own),
        pod("host", shows, dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True),
        pod("default", shows, dnsPolicy="Default"),
        pod("many", shows, dnsConfig={"searches": searches}),
        pod("servers", shows, dnsConfig={"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3"]}),
    ):
        engine.apply(each, namespace)

    def resolv_conf(name: str) -> list[str]:
        engine.wait_ready(name, namespace)

        def said() -> list[str]:
            lines = engine.kubectl("logs", name, "-n", namespace).stdout.splitlines()
            return lines[:-1] if lines[-1:] == ["whole"] else []

        return eventually(said, "the log")

    cluster = [f"search {namespace}.svc.cluster.local svc.cluster.local cluster.local"]
    for name in ("first", "host"):
        found = resolv_conf(name)
        assert found[0].startswith(cluster[0])
        assert found[1:] == [f"nameserver {server}", "options ndots:5"]
    assert resolv_conf("none") == ["search resolv.conf.local", "nameserver 1.1.1.1", "options ndots:2"]
    assert f"nameserver {server}" not in resolv_conf("default")
    applied = resolv_conf("many")[0].removeprefix("search ")
    assert applied.split()[3:] == searches[:-1]
    words = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
    # An event holds 1024 characters.
    assert engine.wait_event(namespace, "many", "DNSConfigForming")[:1000] == f"{words}{applied}"[:1000]
    assert engine.wait_event(namespace, "servers", "DNSConfigForming") == (
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        f"the applied nameserver line is: {server} 1.1.1.1 1.1.1.2"
    )


def test_names_are_answered_while_the_api_server_does_not(engine: Engine) -> None:
    server = engine.get("service", "kube-dns", "kube-system")["spec"]["clusterIP"]
    process = _pid(engine, "apiserver")
    os.kill(process, signal.SIGSTOP)
    try:
        query = dns.message.make_query("kubernetes.default.svc.cluster.local", "A")
        answer = dns.query.udp(query, server, timeout=20)
    finally:
        os.kill(process, signal.SIGCONT)
    assert answer.answer


def _pid(engine: Engine, role: str) -> int:
    for line in engine.hawser("status").stdout.splitlines():
        words = line.split()
        if words and words[0] == role:
            return int(words[1])
    pytest.fail(f"no process {role}")

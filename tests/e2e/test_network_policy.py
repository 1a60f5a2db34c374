"""NetworkPolicies on a whole engine: pods with servers and probes, a Service, cluster DNS."""

from __future__ import annotations

from typing import Any

from .conftest import Engine, Obj, eventually, pod

ANSWER = "mkdir -p /tmp/www && echo ok > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
PROBE = {"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1}


def policy(name: str, pods: Obj | None = None, **spec: Any) -> Obj:
    types = [word.capitalize() for word in ("ingress", "egress") if word in spec]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": pods or {}, "policyTypes": types, **spec},
    }


def test_policies_hold_from_a_pods_first_moment_and_for_services_by_name(engine: Engine, namespace: str) -> None:
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    to_dns = {"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    engine.apply(policy("deny", ingress=[], egress=[to_dns]), namespace)
    listens = {"readinessProbe": PROBE, "ports": [{"name": "web", "containerPort": 8080}]}
    engine.apply(pod("server", ANSWER, container=listens), namespace)
    ports = [{"port": 80, "targetPort": "web"}]
    engine.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "server"},
            "spec": {"selector": {"app": "server"}, "ports": ports},
        },
        namespace,
    )
    # The node's probe reaches a pod that nobody else does.
    engine.wait_ready("server", namespace)
    engine.apply(pod("client"), namespace)
    engine.wait_ready("client", namespace)
    url = f"http://{engine.get('service', 'server', namespace)['spec']['clusterIP']}/index.html"

    def fetched(patience: int) -> bool:
        command = ["timeout", str(patience), "wget", "-q", "-O", "-", url]
        return engine.kubectl("exec", "client", "-n", namespace, "--", *command, check=False).stdout == "ok\n"

    def found() -> bool:
        command = ["exec", "client", "-n", namespace, "--", "nslookup", f"server.{namespace}.svc.cluster.local"]
        return "Name:" in engine.kubectl(*command, check=False).stdout

    eventually(found, "the server's name")
    assert not fetched(1)
    client = {"podSelector": {"matchLabels": {"role": "client"}}}
    by_name = [{"from": [client], "ports": [{"port": "web"}]}]
    engine.apply(policy("in", {"matchLabels": {"app": "server"}}, ingress=by_name), namespace)
    engine.apply(policy("out", {"matchLabels": {"role": "client"}}, egress=[{"to": [{"podSelector": {}}]}]), namespace)
    assert not fetched(1)
    engine.kubectl("label", "pod", "client", "role=client", "-n", namespace)
    eventually(lambda: fetched(5), "the server's page for the labelled client")
    engine.kubectl("delete", "networkpolicy", "--all", "-n", namespace)
    engine.kubectl("label", "pod", "client", "role-", "-n", namespace)
    eventually(lambda: fetched(5), "the server's page without policies")

"""Deployments and Services: scaling, rolling updates under load, self-healing."""

from __future__ import annotations

import http.client
import threading
import time

from .conftest import Engine, Obj, eventually

REPLICAS = 3


def web(version: str) -> Obj:
    """A web server that says its version; ready when it answers, gone from the endpoints before it stops."""
    labels = {"app": "web"}
    command = f"mkdir -p /tmp/www; echo {version} > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox:1.36",
                            "command": ["sh", "-c", command],
                            "ports": [{"containerPort": 8080, "name": "http"}],
                            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                        }
                    ],
                },
            },
        },
    }


SERVICE: Obj = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
}


def fetch(address: str, port: int = 80) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode().strip()
    finally:
        connection.close()


class Load:
    """Requests one after the other, each on a connection of its own, until stopped."""

    def __init__(self, address: str) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(fetch(self._address))
            except (OSError, http.client.HTTPException, AssertionError) as e:
                self.failures.append(f"{time.time():.3f} {e!r}")
            time.sleep(0.005)


def rollout(engine: Engine, namespace: str) -> None:
    engine.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=90s", timeout=100)


def test_a_rolling_update_under_load_loses_no_request(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    assert len(engine.list("pods", namespace, "app=web")) == REPLICAS
    address = engine.get("service", "web", namespace)["spec"]["clusterIP"]
    eventually(lambda: _answers(address) == "v1", "the service's answer")

    engine.kubectl("scale", "deployment/web", "--replicas=5", "-n", namespace)
    rollout(engine, namespace)
    ready = [p for p in engine.list("pods", namespace, "app=web") if _is_ready(p)]
    assert len(ready) == 5

    second = web("v2")
    second["spec"]["replicas"] = 5
    with Load(address) as load:
        engine.apply(second, namespace)
        rollout(engine, namespace)
        eventually(lambda: len(engine.list("pods", namespace, "app=web")) == 5, "the old pods' end")
    assert load.failures == []
    assert load.answers[-1] == "v2"
    assert {"v1", "v2"} == set(load.answers)


def test_deleted_pods_are_replaced(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    rollout(engine, namespace)
    before = {p["metadata"]["name"] for p in engine.list("pods", namespace, "app=web")}
    engine.kubectl("delete", "pod", sorted(before)[0], "-n", namespace)
    rollout(engine, namespace)
    after = {p["metadata"]["name"] for p in engine.list("pods", namespace, "app=web")}
    assert len(after) == REPLICAS
    assert len(after & before) == REPLICAS - 1


def test_pods_reach_a_service_and_themselves_through_it(engine: Engine, namespace: str) -> None:
    one = web("v1")
    one["spec"]["replicas"] = 1
    engine.apply(one, namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    address = engine.get("service", "web", namespace)["spec"]["clusterIP"]
    name = engine.list("pods", namespace, "app=web")[0]["metadata"]["name"]
    for _ in range(3):
        got = engine.kubectl("exec", name, "-n", namespace, "--", "wget", "-qO-", f"http://{address}/")
        assert got.stdout == "v1\n"


def test_deleting_a_deployment_deletes_what_it_owns(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    rollout(engine, namespace)
    engine.kubectl("delete", "deployment", "web", "-n", namespace)
    eventually(lambda: engine.list("replicasets", namespace) == [], "the ReplicaSet's deletion")
    eventually(lambda: engine.list("pods", namespace) == [], "the pods' deletion")


def test_orphaned_pods_stay(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    rollout(engine, namespace)
    replica_set = engine.list("replicasets", namespace)[0]["metadata"]["name"]
    engine.kubectl("delete", "deployment", "web", "-n", namespace, "--cascade=orphan")
    engine.kubectl("delete", "replicaset", replica_set, "-n", namespace, "--cascade=orphan")
    pods = engine.list("pods", namespace, "app=web")
    assert len(pods) == REPLICAS
    assert not any(p["metadata"].get("ownerReferences") for p in pods)


def test_a_deleted_namespace_takes_everything_with_it(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    engine.kubectl("delete", "namespace", namespace, "--timeout=90s", timeout=100)
    gone = engine.kubectl("get", "pods", "-n", namespace, "-o", "name")
    assert gone.stdout == ""
    assert engine.kubectl("get", "namespace", namespace, check=False).returncode == 1


def _answers(address: str) -> str:
    try:
        return fetch(address)
    except OSError:
        return ""


def _is_ready(pod: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

"""A web server behind a Service, and clients that ask it all the time."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
                    "terminationGracePeriodSeconds": 10,
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox:1.36",
                            "command": ["sh", "-c", command],
                            "ports": [{"containerPort": 8080, "name": "http"}],
                            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                            "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
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


def fetch(address: str, port: int = 80, *, timeout: float = 5.0, source: str = "") -> str:
    connection = http.client.HTTPConnection(address, port, timeout=timeout, source_address=(source, 0))
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode().strip()
    finally:
        connection.close()


class Load:
    """Requests one after the other, each on a connection of its own, until stopped.

    tries: how often a request is tried, for a second each time, before it counts as failed; 1: once, for half a minute.
    source: the address that it comes from, "" for any.
    """

    def __init__(self, address: str, *, tries: int = 1, source: str = "") -> None:
        self.address = address
        self._source = source
        self._tries = tries
        self.answers: list[str] = []
        self.failures: list[str] = []
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
            self._ask()
            time.sleep(0.005)

    def _ask(self) -> None:
        for left in reversed(range(self._tries)):
            try:
                self.answers.append(fetch(self.address, timeout=30 if self._tries == 1 else 1, source=self._source))
                return
            except (OSError, http.client.HTTPException, AssertionError) as e:
                if not left:
                    self.failures.append(f"{time.time():.3f} {e!r}")


def rollout(engine: Engine, namespace: str) -> None:
    engine.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=120s")


def answer(address: str) -> str:
    try:
        return fetch(address)
    except (OSError, http.client.HTTPException):
        return ""


@contextmanager
def served(engine: Engine, namespace: str, *, spread: bool = False) -> Iterator[Load]:
    """The web server behind its Service under load, afterwards nothing of it. spread: a pod a node, if possible."""
    manifest = web("v1")
    if spread:
        constraint = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        selected = {"labelSelector": manifest["spec"]["selector"], "matchLabelKeys": ["pod-template-hash"]}
        manifest["spec"]["template"]["spec"]["topologySpreadConstraints"] = [{**constraint, **selected}]
    engine.apply(manifest, namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    address = engine.get("service", "web", namespace)["spec"]["clusterIP"]
    eventually(lambda: answer(address) == "v1", "the service's answer")
    with Load(address) as load:
        yield load
    engine.kubectl("delete", "deployment/web", "service/web", "-n", namespace)

"""The public Python client library, unmodified, against the engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from .conftest import Engine, pod


def config_map(name: str, **labels: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data={"a": "1"})


@pytest.fixture
def core(engine: Engine) -> Iterator[client.CoreV1Api]:
    with engine.client() as made:
        yield client.CoreV1Api(made)


def test_objects_round_trip(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, config_map("a", tier="db"))
    assert made.metadata.uid
    assert made.metadata.creation_timestamp
    made.data["b"] = "2"
    changed = core.replace_namespaced_config_map("a", namespace, made)
    assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("a", namespace, made)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    assert [c.metadata.name for c in core.list_namespaced_config_map(namespace, label_selector="tier=db").items] == [
        "a"
    ]
    core.delete_namespaced_config_map("a", namespace)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("a", namespace)
    assert gone.value.status == 404


def test_pages_cover_a_list(core: client.CoreV1Api, namespace: str) -> None:
    for n in range(25):
        core.create_namespaced_config_map(namespace, config_map(f"c{n:02}"))
    names: list[str] = []
    token = ""
    while True:
        page = core.list_namespaced_config_map(namespace, limit=10, _continue=token)
        assert len(page.items) <= 10
        names += [c.metadata.name for c in page.items]
        token = page.metadata._continue
        if not token:
            break
    # Every namespace has one of its own.
    assert [name for name in names if name != "kube-root-ca.crt"] == [f"c{n:02}" for n in range(25)]


def test_a_watch_sees_every_change_from_a_version_on(core: client.CoreV1Api, namespace: str) -> None:
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        for event in watch.Watch().stream(
            core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=120
        ):
            if event["object"].metadata.name == "kube-root-ca.crt":
                continue  # Which a controller puts into every namespace, now or a little earlier.
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                return

    thread = threading.Thread(target=follow)
    thread.start()
    made = core.create_namespaced_config_map(namespace, config_map("a"))
    made.data["b"] = "2"
    core.replace_namespaced_config_map("a", namespace, made)
    core.delete_namespaced_config_map("a", namespace)
    thread.join(120)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_generated_names_and_dry_runs(core: client.CoreV1Api, namespace: str) -> None:
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="gen-"))
    one, two = (core.create_namespaced_config_map(namespace, body).metadata.name for _ in range(2))
    assert one != two
    assert one.startswith("gen-")
    core.create_namespaced_config_map(namespace, config_map("dry"), dry_run="All")
    with pytest.raises(ApiException):
        core.read_namespaced_config_map("dry", namespace)


def test_finalizers_hold_a_deletion(core: client.CoreV1Api, namespace: str) -> None:
    body = config_map("held")
    body.metadata.finalizers = ["example.test/hold"]
    core.create_namespaced_config_map(namespace, body)
    core.delete_namespaced_config_map("held", namespace)
    held = core.read_namespaced_config_map("held", namespace)
    assert held.metadata.deletion_timestamp
    core.patch_namespaced_config_map("held", namespace, {"metadata": {"finalizers": None}})
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("held", namespace)
    assert gone.value.status == 404


def test_exec_over_a_websocket(engine: Engine, core: client.CoreV1Api, namespace: str) -> None:
    engine.apply(pod("a"), namespace)
    engine.wait_ready("a", namespace)
    said = stream(
        core.connect_get_namespaced_pod_exec,
        "a",
        namespace,
        command=["sh", "-c", "echo hello; echo err >&2"],
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
        _preload_content=False,
    )
    said.run_forever(timeout=120)
    assert said.read_stdout() == "hello\n"
    assert said.read_stderr() == "err\n"
    assert said.returncode == 0
    said.close()
    # The library leaves the socket open when the server ended the stream first.
    said.sock.shutdown()

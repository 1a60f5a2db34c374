"""Kept root file systems: what a container writes is there for the next one of its name, on the same image."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Engine, Obj, eventually, pod

IMAGE = "docker.io/library/busybox:1.36"


def keeper(name: str, **annotations: str) -> Obj:
    manifest = pod(name, runtimeClassName="rich")
    rich = {"init": "minimal", "rootfs": "keep", **{key.replace("_", "-"): value for key, value in annotations.items()}}
    manifest["metadata"]["annotations"] = {f"rich.hawser.dev/{key}": value for key, value in rich.items()}
    return manifest


def sh(engine: Engine, namespace: str, name: str, script: str) -> str:
    return engine.kubectl("exec", name, "-n", namespace, "--", "sh", "-c", script).stdout.strip()


def stop(engine: Engine, namespace: str, name: str) -> None:
    """Has the container end and start again; what asks for that may end with it before it is told of."""
    engine.kubectl("exec", name, "-n", namespace, "--", "kill", "-TERM", "1", check=False)


def mounts(engine: Engine) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if line.startswith("hawser-kept ") and str(engine.data_dir) in line]


def restarts(engine: Engine, namespace: str, name: str) -> int:
    return int(engine.get("pod", name, namespace)["status"]["containerStatuses"][0]["restartCount"])


def test_what_a_container_writes_outlives_it_and_its_pod(engine: Engine, namespace: str) -> None:
    template = keeper("db")
    del template["apiVersion"], template["kind"], template["metadata"]["name"]
    spec = {"serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}}, "template": template}
    engine.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}, namespace)
    eventually(lambda: engine.list("pods", namespace), "the pod")
    first = engine.wait_ready("db-0", namespace)
    sh(engine, namespace, "db-0", "echo mine > /etc/motd; rm /etc/group; mkdir -m 700 /srv; chown 5 /srv; touch /tmp/t")

    stop(engine, namespace, "db-0")
    eventually(lambda: restarts(engine, namespace, "db-0") == 1, "the restart")
    engine.wait_ready("db-0", namespace)
    look = "cat /etc/motd; ls /etc/group 2>/dev/null; stat -c %a:%u /srv; ls /tmp"
    assert sh(engine, namespace, "db-0", look).split() == ["mine", "700:5", "t"]

    engine.kubectl("delete", "pod", "db-0", "-n", namespace)

    def another() -> bool:
        found = engine.list("pods", namespace)
        return bool(found) and found[0]["metadata"]["uid"] != first["metadata"]["uid"]

    eventually(another, "another pod")
    engine.wait_ready("db-0", namespace)
    assert sh(engine, namespace, "db-0", look).split() == ["mine", "700:5", "t"]
    changed = engine.hawser("rich", "diff", "db-0", "-n", namespace).stdout
    assert {line.split()[-1] for line in changed.splitlines()[1:]} == {"/etc/group", "/etc/motd", "/srv", "/tmp/t"}

    # Another image: the files that were changed of the old one are no part of it.
    engine.hawser("rich", "commit", "db-0", "-n", namespace, "-t", "localhost/other:1")
    other = {"name": "main", "image": "localhost/other:1", "imagePullPolicy": "Never"}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [other]}}}})
    engine.kubectl("patch", "statefulset", "db", "-n", namespace, "-p", patch)
    engine.kubectl("rollout", "status", "statefulset/db", "-n", namespace, "--timeout=120s")
    sh(engine, namespace, "db-0", "rm /etc/motd")
    place = engine.data_dir / "agent/rootfs" / namespace / "db-0/main"
    assert (place / "previous/etc/motd").read_text() == "mine\n"
    assert not (place / "upper/srv").exists()

    engine.kubectl("delete", "statefulset", "db", "-n", namespace)
    eventually(lambda: not engine.list("pods", namespace), "the end")
    eventually(lambda: not mounts(engine), "the end of the mounts")


def test_a_kept_root_file_system_is_full_at_its_size(engine: Engine, namespace: str) -> None:
    engine.apply(keeper("big", rootfs_size="20Mi"), namespace)
    engine.wait_ready("big", namespace)
    written = sh(engine, namespace, "big", "dd if=/dev/zero of=/file bs=64k count=640 2>&1; wc -c </file").splitlines()
    assert "No space left on device" in written[0]
    assert 20 << 20 <= int(written[-1]) < 25 << 20
    stop(engine, namespace, "big")
    eventually(lambda: restarts(engine, namespace, "big") == 1, "the restart")
    engine.wait_ready("big", namespace)
    assert sh(engine, namespace, "big", "rm /file; echo x >/small; ls -A / | grep -c small") == "1"
    changed = engine.hawser("rich", "diff", "big", "-n", namespace).stdout
    assert [line.split()[-1] for line in changed.splitlines()[1:]] == ["/small"]


def test_a_limit_that_is_none_is_refused(engine: Engine, namespace: str) -> None:
    engine.apply(keeper("odd", rootfs_size="much"), namespace)
    assert "is not a size such as 500Mi" in engine.wait_event(namespace, "odd", "Failed")

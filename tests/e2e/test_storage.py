"""Claims get volumes with nothing installed: a set keeps its data, an ephemeral volume goes with its pod."""

from __future__ import annotations

from pathlib import Path
from subprocess import run

from .conftest import Engine, Obj, eventually, pod

CLAIM: Obj = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
MOUNT = [{"name": "data", "mountPath": "/data"}]


def _set() -> Obj:
    """Pods that say who was here before, write that they were here too, and are no root."""
    command = "cat /data/log; echo $HOSTNAME >> /data/log; exec sleep 1000000"
    container = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", command], "volumeMounts": MOUNT}
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 1000},
            "containers": [container],
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 2,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": CLAIM}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
        },
    }


def _rolled(engine: Engine, namespace: str) -> None:
    engine.kubectl("rollout", "status", "statefulset/db", "-n", namespace, "--timeout=120s")


def _folders(engine: Engine, namespace: str) -> dict[str, Path]:
    """The folder of each bound claim."""
    found = {}
    for claim in engine.list("pvc", namespace):
        volume = engine.get("pv", claim["spec"]["volumeName"], namespace)
        found[claim["metadata"]["name"]] = Path(volume["spec"]["local"]["path"])
    return found


def _said(file: Path) -> str:
    """What a container has written into a file, "" before."""
    return file.read_text() if file.exists() else ""


def test_a_set_finds_its_data_again_and_its_volumes_go_with_it(engine: Engine, namespace: str) -> None:
    engine.apply(_set(), namespace)
    _rolled(engine, namespace)
    folders = _folders(engine, namespace)
    assert set(folders) == {"data-db-0", "data-db-1"}
    # Said a moment after it is Ready.
    for name in ("db-0", "db-1"):
        log = folders[f"data-{name}"] / "log"
        eventually(lambda log=log, name=name: _said(log) == f"{name}\n", f"the first word of {name}")
    engine.kubectl("delete", "pod", "db-0", "-n", namespace)
    _rolled(engine, namespace)
    # What the set says of itself may be from before: the new pod is made, and makes its container, after that.
    logs = ("logs", "db-0", "-n", namespace)
    eventually(lambda: engine.kubectl(*logs, check=False).stdout == "db-0\n", "the second db-0's words")
    volume = engine.get("pv", folders["data-db-0"].name, namespace)
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [engine.get("pod", "db-0", namespace)["spec"]["nodeName"]]
    engine.kubectl("delete", "statefulset", "db", "-n", namespace)
    eventually(lambda: not engine.list("pvc", namespace), "the claims' end")
    eventually(lambda: not any(folder.exists() for folder in folders.values()), "the folders' end")
    names = {folder.name for folder in folders.values()}
    eventually(
        lambda: not names & {one["metadata"]["name"] for one in engine.list("pv", namespace)}, "the volumes' end"
    )


def test_an_ephemeral_volume_is_there_for_its_pod_alone(engine: Engine, namespace: str) -> None:
    wanted = pod("scratch", "echo hello > /data/file && cat /data/file; exec sleep 1000000")
    wanted["spec"]["volumes"] = [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}}]
    wanted["spec"]["containers"][0]["volumeMounts"] = MOUNT
    engine.apply(wanted, namespace)
    engine.wait_ready("scratch", namespace)
    folder = _folders(engine, namespace)["scratch-data"]
    eventually(lambda: _said(folder / "file") == "hello\n", "its word")
    engine.kubectl("delete", "pod", "scratch", "-n", namespace, "--grace-period=0", "--force")
    eventually(lambda: not engine.list("pvc", namespace), "the claim's end")
    eventually(lambda: not folder.exists(), "the folder's end")


def test_a_disk_is_full_at_its_size_and_larger_for_the_next_pod(engine: Engine, namespace: str) -> None:
    def writer(name: str) -> Obj:
        wanted = pod(name, "dd if=/dev/zero of=/data/full bs=1M 2>/dev/null; du -m /data/full; exec sleep 1000000")
        wanted["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "small"}}]
        wanted["spec"]["containers"][0]["volumeMounts"] = MOUNT
        return wanted

    def written(name: str) -> int:
        engine.wait_ready(name, namespace)
        words = eventually(lambda: engine.kubectl("logs", name, "-n", namespace).stdout.split(), "how much was written")
        return int(words[0])

    def status() -> Obj:
        return engine.get("pvc", "small", namespace)["status"]

    spec = {**CLAIM, "storageClassName": "disk", "resources": {"requests": {"storage": "16Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "small"}, "spec": spec}
    engine.apply(claim, namespace)
    engine.apply(writer("first"), namespace)
    assert 8 <= written("first") <= 16
    disk = _folders(engine, namespace)["small"]
    engine.kubectl("delete", "pod", "first", "-n", namespace, "--grace-period=0", "--force")
    eventually(lambda: not run(["losetup", "-j", disk], capture_output=True, check=True).stdout, "the disk's release")
    more = '{"spec": {"resources": {"requests": {"storage": "48Mi"}}}}'
    engine.kubectl("patch", "pvc", "small", "-n", namespace, "-p", more)
    eventually(lambda: status().get("allocatedResourceStatuses"), "the larger disk")
    engine.apply(writer("second"), namespace)
    assert 32 <= written("second") <= 48
    eventually(lambda: status()["capacity"]["storage"] == "48Mi", "the claim's new size")
    engine.kubectl("delete", "pod", "second", "-n", namespace, "--grace-period=0", "--force")
    engine.kubectl("delete", "pvc", "small", "-n", namespace)
    eventually(lambda: not disk.exists(), "the disk's end")

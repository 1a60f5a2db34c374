"""StatefulSets and DaemonSets as kubectl shows, rolls and undoes them, with real containers."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Engine, Obj, eventually

KINDS = ("statefulset", "daemonset")


def workload(kind: str, version: str, **spec: Any) -> Obj:
    """Pods that say their host name and version, and end at once."""
    command = f"echo $HOSTNAME {version}; exec sleep 1000000"
    return {
        "apiVersion": "apps/v1",
        "kind": {"statefulset": "StatefulSet", "daemonset": "DaemonSet"}[kind],
        "metadata": {"name": kind, "annotations": {"kubernetes.io/change-cause": f"to {version}"}},
        "spec": {
            "selector": {"matchLabels": {"app": kind}},
            "template": {
                "metadata": {"labels": {"app": kind}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", command]}],
                },
            },
            **spec,
        },
    }


def both(version: str) -> list[Obj]:
    return [
        workload("statefulset", version, replicas=2, serviceName="db"),
        workload("daemonset", version, updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
    ]


def logs(engine: Engine, namespace: str, kind: str) -> set[str]:
    return {
        engine.kubectl("logs", pod["metadata"]["name"], "-n", namespace, check=False).stdout.strip()
        for pod in engine.list("pods", namespace, f"app={kind}")
        if not pod["metadata"].get("deletionTimestamp")
    }


def settled(engine: Engine, namespace: str) -> None:
    for kind in KINDS:
        engine.kubectl("rollout", "status", f"{kind}/{kind}", "-n", namespace, "--timeout=120s")


@pytest.fixture
def rolled(engine: Engine, namespace: str) -> str:
    """A namespace with both, of a second version."""
    for version in ("v1", "v2"):
        for manifest in both(version):
            engine.apply(manifest, namespace)
        settled(engine, namespace)
    return namespace


def test_they_roll_show_their_history_and_go_back(engine: Engine, rolled: str) -> None:
    names = {"statefulset-0 v2", "statefulset-1 v2"}
    eventually(lambda: logs(engine, rolled, "statefulset") == names, "the second version")
    eventually(lambda: len(engine.list("pods", rolled, "app=daemonset")) == 1, "the end of the first version")
    (daemon,) = engine.list("pods", rolled, "app=daemonset")
    said = {f"{daemon['metadata']['name']} v2"}
    eventually(lambda: logs(engine, rolled, "daemonset") == said, "the daemon's word")
    for kind in KINDS:
        history = engine.kubectl("rollout", "history", f"{kind}/{kind}", "-n", rolled).stdout
        assert [line.split(maxsplit=1) for line in history.splitlines()[2:4]] == [["1", "to v1"], ["2", "to v2"]]
        undone = engine.kubectl("rollout", "undo", f"{kind}/{kind}", "-n", rolled).stdout
        assert f"{kind}.apps/{kind} rolled back" in undone
    settled(engine, rolled)
    names = {"statefulset-0 v1", "statefulset-1 v1"}
    eventually(lambda: logs(engine, rolled, "statefulset") == names, "the first version again")
    kept = engine.list("controllerrevisions", rolled)
    assert sorted((r["metadata"]["ownerReferences"][0]["kind"], r["revision"]) for r in kept) == [
        *(("DaemonSet", number) for number in (2, 3)),
        *(("StatefulSet", number) for number in (2, 3)),
    ]
    shown = engine.kubectl("get", "statefulset,daemonset", "-n", rolled, "--no-headers").stdout.split("\n")
    assert shown[0].split()[:2] == ["statefulset.apps/statefulset", "2/2"]
    assert next(line for line in shown if "daemonset.apps" in line).split()[1:6] == ["1"] * 5
    told = "delete Pod statefulset-1 in StatefulSet statefulset successful"
    described = ("describe", "statefulset", "statefulset", "-n", rolled)
    eventually(lambda: told in engine.kubectl(*described).stdout, "the event of a deletion")
    engine.kubectl("scale", "statefulset/statefulset", "--replicas=0", "-n", rolled)
    engine.kubectl("delete", "daemonset", "daemonset", "-n", rolled)
    eventually(lambda: engine.list("pods", rolled) == [], "the pods' end")

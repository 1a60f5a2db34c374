"""An unmodified kubectl does its everyday work."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from .conftest import Engine, eventually, pod

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "busybox:1.36", command: [sleep, "1000000"]}
"""


def test_version_and_discovery(engine: Engine) -> None:
    version = json.loads(engine.kubectl("version", "-o", "json").stdout)
    assert version["serverVersion"]["minor"] == "36"
    resources = engine.kubectl("api-resources", "-o", "name").stdout.split()
    assert {"pods", "deployments.apps", "runtimeclasses.node.k8s.io"} <= set(resources)
    assert "apps/v1" in engine.kubectl("api-versions").stdout.split()


def test_the_node_is_ready(engine: Engine) -> None:
    lines = engine.kubectl("get", "nodes").stdout.splitlines()
    assert lines[0].split()[:2] == ["NAME", "STATUS"]
    assert lines[1].split()[1] == "Ready"
    described = engine.kubectl("describe", "node").stdout
    assert "KubeletReady" in described or "Ready" in described
    assert "containerd://" in described


def test_create_get_label_describe_delete(engine: Engine, namespace: str) -> None:
    n = ("-n", namespace)
    engine.kubectl("create", "configmap", "c", "--from-literal=a=1", *n)
    engine.kubectl("label", "configmap", "c", "tier=db", *n)
    engine.kubectl("annotate", "configmap", "c", "note=hello world", *n)
    assert engine.kubectl("get", "cm", "-l", "tier in (db)", "-o", "name", *n).stdout.split() == ["configmap/c"]
    assert "note: hello world" in engine.kubectl("describe", "cm", "c", *n).stdout
    assert engine.kubectl("delete", "cm", "c", *n).stdout.startswith('configmap "c" deleted')
    missing = engine.kubectl("get", "cm", "c", *n, check=False)
    assert missing.returncode == 1
    assert missing.stderr.strip() == 'Error from server (NotFound): configmaps "c" not found'


def test_apply_is_repeatable_and_merges(engine: Engine, namespace: str) -> None:
    apply = ("apply", "-n", namespace, "-f", "-")
    assert "created" in engine.kubectl(*apply, input=DEPLOYMENT).stdout
    assert "unchanged" in engine.kubectl(*apply, input=DEPLOYMENT).stdout
    engine.kubectl("scale", "deployment", "web", "--replicas=2", "-n", namespace)
    changed = DEPLOYMENT.replace("labels: {app: web}}\nspec", "labels: {app: web, new: label}}\nspec").replace(
        "  replicas: 1\n", ""
    )
    assert "configured" in engine.kubectl(*apply, input=changed).stdout
    web = engine.get("deployment", "web", namespace)
    assert web["metadata"]["labels"] == {"app": "web", "new": "label"}


def test_deployment_scale_rollout_undo(engine: Engine, namespace: str) -> None:
    n = ("-n", namespace)
    engine.apply(DEPLOYMENT, namespace)
    engine.kubectl("rollout", "status", "deployment/web", "--timeout=120s", *n)
    engine.kubectl("scale", "deployment/web", "--replicas=2", *n)
    engine.kubectl("rollout", "status", "deployment/web", "--timeout=120s", *n)
    engine.kubectl("set", "env", "deployment/web", "COLOR=blue", *n)
    engine.kubectl("rollout", "status", "deployment/web", "--timeout=120s", *n)
    assert len(engine.kubectl("rollout", "history", "deployment/web", *n).stdout.strip().splitlines()) == 4
    engine.kubectl("rollout", "undo", "deployment/web", *n)
    engine.kubectl("rollout", "status", "deployment/web", "--timeout=120s", *n)
    template = engine.get("deployment", "web", namespace)["spec"]["template"]
    assert "env" not in template["spec"]["containers"][0]
    row = engine.kubectl("get", "deploy", "web", *n).stdout.splitlines()[1].split()
    assert row[:4] == ["web", "2/2", "2", "2"]


def test_edit_with_an_editor(engine: Engine, namespace: str, tmp_path: Path) -> None:
    engine.kubectl("create", "configmap", "c", "--from-literal=a=1", "-n", namespace)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "2"/\' "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    engine.kubectl("edit", "configmap", "c", "-n", namespace, env={"KUBE_EDITOR": str(editor)})
    assert engine.get("cm", "c", namespace)["data"] == {"a": "2"}


@pytest.mark.parametrize(
    ("patch_type", "patch"),
    [
        ("merge", '{"data": {"a": null, "b": "2"}}'),
        ("json", '[{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/b", "value": "2"}]'),
        ("strategic", '{"data": {"a": null, "b": "2"}}'),
    ],
)
def test_every_patch_type(engine: Engine, namespace: str, patch_type: str, patch: str) -> None:
    engine.kubectl("create", "configmap", "c", "--from-literal=a=1", "-n", namespace)
    engine.kubectl("patch", "configmap", "c", "-n", namespace, "--type", patch_type, "-p", patch)
    assert engine.get("cm", "c", namespace)["data"] == {"b": "2"}


def test_explain_knows_fields(engine: Engine) -> None:
    text = engine.kubectl("explain", "pod.spec.containers.livenessProbe.httpGet").stdout
    assert "FIELD: httpGet <HTTPGetAction>" in text
    assert "port" in text
    assert "IntOrString" in text
    assert "strategy" in engine.kubectl("explain", "deployment.spec", "--recursive").stdout


def test_logs_exec_and_cp_like_streams(engine: Engine, namespace: str) -> None:
    n = ("-n", namespace)
    engine.apply(pod("a", "echo one; echo two >&2; sleep 1000000"), namespace)
    engine.wait_ready("a", namespace)
    eventually(lambda: "two" in engine.kubectl("logs", "a", *n).stdout, "log lines")
    assert engine.kubectl("logs", "a", "--tail=1", *n).stdout in ("one\n", "two\n")
    assert engine.kubectl("exec", "a", *n, "--", "sh", "-c", "echo out; echo err >&2").stdout == "out\n"
    failed = engine.kubectl("exec", "a", *n, "--", "sh", "-c", "exit 7", check=False)
    assert failed.returncode == 7
    body = "x" * 300_000 + "\n"
    assert engine.kubectl("exec", "-i", "a", *n, "--", "sh", "-c", "cat", input=body).stdout == body
    missing = engine.kubectl("exec", "a", *n, "--", "/no/such", check=False)
    assert missing.returncode != 0
    assert 'exec: "/no/such": stat /no/such: no such file or directory: unknown' in missing.stderr


def test_hawser_logs_and_exec(engine: Engine, namespace: str) -> None:
    engine.apply(pod("a", "echo hello; sleep 1000000"), namespace)
    engine.wait_ready("a", namespace)
    eventually(lambda: engine.hawser("logs", "a", "-n", namespace).stdout == "hello\n", "log line")
    done = engine.hawser("exec", "-n", namespace, "-i", "a", "--", "sh", "-c", "cat; exit 3", input="in\n", check=False)
    assert (done.returncode, done.stdout) == (3, "in\n")
    absent = engine.hawser("logs", "nope", "-n", namespace, check=False)
    assert absent.returncode == 1
    assert 'pods "nope" not found' in absent.stderr


def test_wait_and_delete_graceful(engine: Engine, namespace: str) -> None:
    engine.apply(pod("a"), namespace)
    engine.wait_ready("a", namespace)
    engine.kubectl("delete", "pod", "a", "-n", namespace, "--timeout=120s")
    assert engine.list("pods", namespace) == []


def test_wide_tables_show_where_pods_are(engine: Engine, namespace: str) -> None:
    engine.apply(pod("a"), namespace)
    ready = engine.wait_ready("a", namespace)
    header, row = (
        line.split() for line in engine.kubectl("get", "pods", "-o", "wide", "-n", namespace).stdout.splitlines()
    )
    assert header[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert row[:4] == ["a", "1/1", "Running", "0"]
    assert row[5] == ready["status"]["podIP"]

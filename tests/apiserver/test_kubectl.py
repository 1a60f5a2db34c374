"""kubectl, unmodified, against the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


async def test_apply_creates_then_changes_then_changes_nothing(api: Any, kubectl: Any) -> None:
    space = api.namespace
    assert kubectl("apply", "-f", "-", stdin=MANIFEST, namespace=space).splitlines() == [
        "deployment.apps/web created",
        "service/web created",
    ]
    again = kubectl("apply", "-f", "-", stdin=MANIFEST, namespace=space)
    assert again.splitlines() == ["deployment.apps/web unchanged", "service/web unchanged"]
    changed = kubectl("apply", "-f", "-", stdin=MANIFEST.replace("nginx:1", "nginx:2"), namespace=space)
    assert "deployment.apps/web configured" in changed
    assert "nginx:2" in kubectl("get", "deploy", "web", "-o", "wide", namespace=space)
    assert "service/web" in kubectl("get", "all", namespace=space)


async def test_generators_send_protobuf(api: Any, kubectl: Any) -> None:
    space = api.namespace
    kubectl("create", "configmap", "c", "--from-literal=k=v", namespace=space)
    kubectl("create", "secret", "generic", "s", "--from-literal=k=v", namespace=space)
    kubectl("create", "deployment", "d", "--image=nginx", "--replicas=3", "--port=80", namespace=space)
    kubectl("create", "service", "nodeport", "n", "--tcp=80:8080", namespace=space)
    kubectl("create", "serviceaccount", "a", namespace=space)
    kubectl("run", "p", "--image=busybox", "--", "sleep", "1", namespace=space)
    deployment = json.loads(kubectl("get", "deploy", "d", "-o", "json", namespace=space))
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP"}
    ]
    service = json.loads(kubectl("get", "svc", "n", "-o", "json", namespace=space))
    assert service["spec"]["ports"][0]["targetPort"] == 8080


async def test_everyday_verbs(api: Any, kubectl: Any, tmp_path: Path) -> None:
    space = api.namespace
    kubectl("apply", "-f", "-", stdin=MANIFEST, namespace=space)
    assert "scaled" in kubectl("scale", "deploy", "web", "--replicas=5", namespace=space)
    assert "labeled" in kubectl("label", "deploy", "web", "tier=front", namespace=space)
    assert "web" in kubectl("get", "deploy", "-l", "tier=front", "-o", "name", namespace=space)
    assert "annotated" in kubectl("annotate", "svc", "web", "a=b", namespace=space)
    assert "image updated" in kubectl("set", "image", "deploy/web", "c=nginx:9", namespace=space)
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"c","imagePullPolicy":"Never"}]}}}}'
    assert "patched" in kubectl("patch", "deploy", "web", "-p", patch, namespace=space)
    described = kubectl("describe", "deploy", "web", namespace=space)
    assert "nginx:9" in described
    kubectl("wait", "svc/web", "--for=jsonpath={.spec.type}=ClusterIP", "--timeout=120s", namespace=space)
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i 's/replicas: 5/replicas: 7/' \"$1\"\n")
    editor.chmod(0o755)
    assert "edited" in kubectl("edit", "deploy", "web", namespace=space, EDITOR=str(editor))
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}", namespace=space) == "7"
    assert "replaced" in kubectl(
        "replace", "-f", "-", stdin=kubectl("get", "svc", "web", "-o", "yaml", namespace=space), namespace=space
    )
    assert "deleted" in kubectl("delete", "deploy,svc", "--all", namespace=space)


def test_documents_that_kubectl_shows(kubectl: Any) -> None:
    assert "containers" in kubectl("explain", "pod.spec")
    assert "deployments" in kubectl("api-resources")
    assert "apps/v1" in kubectl("api-versions")
    assert "Server Version: v1.36" in kubectl("version")
    assert "admin" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "delete", "pods").strip() == "yes"

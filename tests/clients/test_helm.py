"""Helm, by its own Go library: client-go speaks protobuf for the kinds that are built in, as every Go program does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Kubectl

# Its wheels are for few machines.
helm = pytest.importorskip("helm_python")

CHART = {
    "Chart.yaml": "{apiVersion: v2, name: tide, version: 0.1.0, appVersion: '1'}",
    "values.yaml": "{replicas: 2, image: 'nginx:1'}",
    "crds/boat.yaml": """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.tide.example.com}
spec:
  group: tide.example.com
  scope: Namespaced
  names: {kind: Boat, plural: boats}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
""",
    "templates/boat.yaml": """
apiVersion: tide.example.com/v1
kind: Boat
metadata: {name: {{ .Release.Name }}}
spec: {size: {{ .Values.replicas }}}
""",
    "templates/deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {app.kubernetes.io/managed-by: {{ .Release.Service }}}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers: [{name: c, image: {{ .Values.image | quote }}, ports: [{containerPort: 80}]}]
{{- if not (.Capabilities.APIVersions.Has "apps/v1/Deployment") }}{{ fail "no deployments" }}{{ end }}
""",
    "templates/rest.yaml": """
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ .Release.Name }}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: {{ .Release.Name }}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .Release.Name }}}
subjects: [{kind: ServiceAccount, name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-found}
data: {space: {{ (lookup "v1" "Namespace" "" .Release.Namespace).metadata.name | default "none" | quote }}}
""",
    "templates/hook.yaml": """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
data: {revision: {{ .Release.Revision | quote }}}
""",
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A small chart with definitions, a hook, a workload and its rights."""
    for name, text in CHART.items():
        file = tmp_path / "tide" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "tide"


@pytest.fixture
def cluster(kubectl: Kubectl) -> Iterator[Any]:
    """Helm's connection, in the namespace of kubectl."""
    path = kubectl.server.kubeconfig
    with helm.Config(kubeconfig_path=path, namespace=kubectl.namespace) as config:
        yield config


def test_a_release_is_installed_upgraded_rolled_back_and_removed(kubectl: Kubectl, cluster: Any, chart: Path) -> None:
    first = cluster.install(chart, "tide", {"replicas": 1}, timeout=120)
    assert (first["revision"], first["status"]) == (1, "deployed")
    assert kubectl("get", "boat", "tide", "-o", "jsonpath={.spec.size}") == "1"
    assert kubectl("get", "cm", "tide-found", "-o", "jsonpath={.data.space}") == kubectl.namespace
    assert kubectl("get", "cm", "tide-hook", "-o", "jsonpath={.data.revision}") == "1"
    managers = kubectl(
        "get", "deploy", "tide", "--show-managed-fields", "-o", "jsonpath={..managedFields[*].operation}"
    )
    assert managers.split() == ["Apply"]

    second = cluster.upgrade(chart, "tide", {"replicas": 3, "image": "nginx:2"}, timeout=120)
    assert (second["revision"], second["status"]) == (2, "deployed")
    assert kubectl("get", "deploy", "tide", "-o", "jsonpath={.spec.replicas} {..image}") == "3 nginx:2"
    assert kubectl("get", "cm", "tide-hook", "-o", "jsonpath={.data.revision}") == "2"

    cluster.rollback("tide", version=1)
    assert kubectl("get", "deploy", "tide", "-o", "jsonpath={.spec.replicas} {..image}") == "1 nginx:1"
    assert [entry["status"] for entry in cluster.history("tide")] == ["superseded", "superseded", "deployed"]
    assert [item["name"] for item in cluster.list()] == ["tide"]
    assert cluster.get_values("tide") == {"replicas": 1}

    cluster.uninstall("tide")
    assert kubectl("get", "all,boats,secrets,roles,rolebindings", "-o", "name").split() == []
    kubectl("delete", "crd", "boats.tide.example.com", "--timeout=120s")


def test_a_failed_upgrade_leaves_the_release_as_it_was(kubectl: Kubectl, cluster: Any, chart: Path) -> None:
    cluster.install(chart, "tide", timeout=120)
    with pytest.raises(helm.HelmError, match="must be greater than or equal to 0"):
        cluster.upgrade(chart, "tide", {"replicas": -1}, timeout=120)
    assert kubectl("get", "deploy", "tide", "-o", "jsonpath={.spec.replicas}") == "2"
    with pytest.raises(helm.HelmError, match="cannot reuse a name"):
        cluster.install(chart, "tide", timeout=120)
    cluster.uninstall("tide")
    kubectl("delete", "crd", "boats.tide.example.com", "--timeout=120s")

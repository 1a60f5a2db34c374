"""The objects that bring rich containers to a cluster. Pure.

Least privilege: the agent reads the node's file systems and its container runtime's socket, and may do to the API what
it is for and no more; only its init container, which prepares the node, writes to the node.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hawser
from hawser.cli.installing import dropins
from hawser.cli.writable.names import AGENT_CONTAINER, AGENT_LABEL, AGENT_ROOT
from hawser.cli.writable.names import AGENT_NAMESPACE as NAMESPACE
from hawser.rich.profiles.server import SOCKET
from hawser.runtime.install import STATE

NAME = "hawser-rich"
Obj = dict[str, Any]
_LABELS = dict([AGENT_LABEL.split("=")])


def manifests(image: str, *, restart: bool = True, socket: str = "") -> list[Obj]:
    """All objects, in the order in which they are applied.

    image: what `hawser image build-agent` made; restart: whether a node's runtime is restarted after a change; socket:
    where the runtime listens, if not where containerd and CRI-O usually do.
    """
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": _security()}},
        *_custom_resources(),
        _runtime_class(),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        _role(),
        _binding(),
        _daemon_set(image, restart, socket),
    ]


def _custom_resources() -> list[Obj]:
    path = Path(hawser.__file__).parent / "rich/profiles/crd.json"
    return [json.loads(path.read_text())]


def _metadata(namespaced: bool = True) -> Obj:
    return {"name": NAME, **({"namespace": NAMESPACE} if namespaced else {}), "labels": dict(_LABELS)}


def _security() -> dict[str, str]:
    return {"pod-security.kubernetes.io/enforce": "privileged"}


def _runtime_class() -> Obj:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": dropins.HANDLER, "labels": dict(_LABELS)},
        "handler": dropins.HANDLER,
    }


def _role() -> Obj:
    rules = [
        {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
        {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get"]},
        {"apiGroups": ["rich.hawser.dev"], "resources": ["richprofiles"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["rich.hawser.dev"], "resources": ["richprofiles/status"], "verbs": ["patch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": _metadata(namespaced=False),
        "rules": rules,
    }


def _binding() -> Obj:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _metadata(namespaced=False),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    }


def _daemon_set(image: str, restart: bool, socket: str) -> Obj:
    # Rich containers wait for the agent then: without it nobody knows which profiles they have.
    arguments = ["--root", AGENT_ROOT, "--profiles", str(SOCKET), *(["--restart"] if restart else [])]
    runtime = [{"name": "CONTAINER_RUNTIME_ENDPOINT", "value": socket}] if socket else []
    node = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    host = {"name": "host", "mountPath": AGENT_ROOT, "mountPropagation": "HostToContainer"}
    installer = {
        "name": "install",
        "image": image,
        "command": ["hawser", "rich", "install-node", *arguments],
        "volumeMounts": [host],
        # nsenter into the node's first process, to restart its container runtime.
        # chroot: the node's Python is asked for byte code.
        "securityContext": {"privileged": True} if restart else _capabilities("SYS_CHROOT"),
    }
    agent = {
        "name": AGENT_CONTAINER,
        "image": image,
        "command": ["hawser", "rich", "agent", "--root", AGENT_ROOT],
        "env": [node, *runtime],
        "volumeMounts": [
            {**host, "readOnly": True},
            {"name": "run", "mountPath": "/run", "mountPropagation": "HostToContainer"},
            {"name": "lib", "mountPath": STATE},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": _capabilities("SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "DAC_READ_SEARCH"),
    }
    spec = {
        "serviceAccountName": NAME,
        "priorityClassName": "system-node-critical",
        "hostPID": True,
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "terminationGracePeriodSeconds": 5,
        "initContainers": [installer],
        "containers": [agent],
        "volumes": [
            {"name": "host", "hostPath": {"path": "/"}},
            {"name": "run", "hostPath": {"path": "/run"}},
            {"name": "lib", "hostPath": {"path": STATE, "type": "DirectoryOrCreate"}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": _metadata(),
        "spec": {
            "selector": {"matchLabels": dict(_LABELS)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {"metadata": {"labels": dict(_LABELS)}, "spec": spec},
        },
    }


def _capabilities(*added: str) -> Obj:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": [*added, "DAC_OVERRIDE", "CHOWN", "FOWNER"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }

"""A pod for a lifted machine: what --manifest writes. Pure."""

from __future__ import annotations

import re
from typing import Any

from hawser.cli.images.lifting.report import Report

_GIB = 1 << 30
_DATA = "/var/lib/hawser-lifted"  # on the node
_SEED = """\
set -e
for pair in "$@"; do
	from=${pair%%=*} to=${pair#*=}
	[ -n "$(ls -A "$to")" ] && continue
	chown --reference="$from" "$to" && chmod --reference="$from" "$to"
	cp -a "$from/." "$to/"
done
"""


def manifest(report: Report, stateful: bool = False) -> list[dict[str, Any]]:
    """A Pod with its data on the node, or a Service and a StatefulSet with claims of the default StorageClass.

    Volumes start with the image's content.
    """
    name = app_name(report.name)
    ports = [
        {"name": f"{port.protocol}-{port.number}", "containerPort": port.number, "protocol": port.protocol.upper()}
        for port in report.ports
        if not port.local
    ]
    container: dict[str, Any] = {"name": "machine", "image": report.name, "imagePullPolicy": "IfNotPresent"}
    if ports:
        container["ports"] = ports
    spec: dict[str, Any] = {"runtimeClassName": "rich", "terminationGracePeriodSeconds": 60, "containers": [container]}
    annotations = {"rich.hawser.dev/init": report.init}
    labels = {"app.kubernetes.io/name": name}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    if report.volumes:
        names = _volume_names([volume.path for volume in report.volumes])
        annotations["rich.hawser.dev/container"] = "machine"
        _mount(spec, report, names)
    if not stateful:
        if report.volumes:
            spec["volumes"] = [
                _on_node(names[volume.path], f"{_DATA}/{name}{volume.path}") for volume in report.volumes
            ]
        return [{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]
    claims = [
        {
            "metadata": {"name": names[volume.path]},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": f"{max(1, -(-2 * volume.size // _GIB))}Gi"}},
            },
        }
        for volume in report.volumes
    ]
    offered = [{"name": p["name"], "port": p["containerPort"], "protocol": p["protocol"]} for p in ports]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            **({"ports": offered} if offered else {}),
        },
    }
    controller = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
            **({"volumeClaimTemplates": claims} if claims else {}),
        },
    }
    return [service, controller]


def _on_node(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}


def _mount(spec: dict[str, Any], report: Report, names: dict[str, str]) -> None:
    """Mounts the volumes, and has the first start fill them."""
    container = spec["containers"][0]
    container["volumeMounts"] = [{"name": names[v.path], "mountPath": v.path} for v in report.volumes]
    spec["initContainers"] = [
        {
            "name": "first-content",
            "image": report.name,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", _SEED, "sh", *(f"{v.path}=/volumes/{names[v.path]}" for v in report.volumes)],
            "volumeMounts": [{"name": names[v.path], "mountPath": f"/volumes/{names[v.path]}"} for v in report.volumes],
        }
    ]


def app_name(reference: str) -> str:
    """A DNS label (RFC 1035, at most 40 characters) of an image reference."""
    last = reference.rpartition("/")[2].partition("@")[0].partition(":")[0]
    label = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40].strip("-")
    return label if label[:1].isalpha() else f"machine-{label}".rstrip("-")


def _volume_names(paths: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for path in paths:
        base = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:40].strip("-") or "root"
        name, number = base, 1
        while name in names.values():
            number += 1
            name = f"{base}-{number}"
        names[path] = name
    return names

"""Reading a pod: small accessors that every decision about one shares."""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.types import Obj

MIRROR = "kubernetes.io/config.mirror"
"""Annotation of a pod that only shows a static pod of its node; its value names the manifest."""
SOURCE = "kubernetes.io/config.source"
"""Annotation: where a pod comes from; ``file`` for static pods."""


def uid(pod: Obj) -> str:
    return str(pod["metadata"]["uid"])


def key(pod: Obj) -> tuple[str, str]:
    """Namespace and name."""
    return pod["metadata"].get("namespace") or "default", pod["metadata"]["name"]


def full_name(pod: Obj) -> str:
    """``name_namespace(uid)``, as kubelet writes pods into messages."""
    namespace, name = key(pod)
    return f"{name}_{namespace}({uid(pod)})"


def is_static(pod: Obj) -> bool:
    """Whether a pod comes from elsewhere than the API, as from a file of the node."""
    return bool((pod["metadata"].get("annotations") or {}).get(SOURCE, "api") != "api")


def is_mirror(pod: Obj) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def deleting(pod: Obj) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def init_containers(pod: Obj) -> list[Obj]:
    return list(pod["spec"].get("initContainers") or ())


def containers(pod: Obj) -> list[Obj]:
    return list(pod["spec"].get("containers") or ())


def ephemeral_containers(pod: Obj) -> list[Obj]:
    return list(pod["spec"].get("ephemeralContainers") or ())


def every_container(pod: Obj) -> Iterator[tuple[str, Obj]]:
    """Each container with the field that it stands in: ``initContainers``, ``containers``, ``ephemeralContainers``."""
    spec = pod["spec"]
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield field, container


def find(pod: Obj, name: str) -> Obj | None:
    """A container of the pod by its name."""
    return next((container for _, container in every_container(pod) if container["name"] == name), None)


def volumes(pod: Obj) -> list[Obj]:
    """The volumes that some container uses; others are not set up."""
    rows = pod["spec"].get("volumes") or ()
    if not rows:
        return []
    used: set[str] = set()
    for _, container in every_container(pod):
        used |= used_by(container)
    return [row for row in rows if row["name"] in used]


def used_by(container: Obj) -> set[str]:
    """The names of the volumes that a container mounts, maps or takes variables from."""
    used = {row["name"] for field in ("volumeMounts", "volumeDevices") for row in container.get(field) or ()}
    for entry in container.get("env") or ():
        if file := (entry.get("valueFrom") or {}).get("fileKeyRef"):
            used.add(file["volumeName"])
    return used


def container_type(pod: Obj, name: str) -> str:
    """``container`` or ``init_container``, as metrics tell them apart."""
    return "init_container" if any(c["name"] == name for c in init_containers(pod)) else "container"


def is_sidecar(container: Obj) -> bool:
    """Whether an init container is to keep running beside the app (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def restart_policy(pod: Obj) -> str:
    return pod["spec"].get("restartPolicy") or "Always"


def host_network(pod: Obj) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def grace_period(pod: Obj) -> int:
    """Seconds that containers get to end by themselves; a deletion's own period goes before the spec's."""
    metadata, spec = pod["metadata"], pod["spec"]
    if deleting(pod) and metadata.get("deletionGracePeriodSeconds") is not None:
        return max(1, int(metadata["deletionGracePeriodSeconds"]))
    seconds = spec.get("terminationGracePeriodSeconds")
    return max(1, int(30 if seconds is None else seconds))


def field_path(pod: Obj, name: str) -> str:
    """The part of a pod that events about a container name: ``spec.containers{web}``."""
    for field, container in every_container(pod):
        if container["name"] == name:
            return f"spec.{field}{{{name}}}"
    return ""

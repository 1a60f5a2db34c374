"""Static pods: manifests in a folder of the node, run by the agent whether there is an API server or not.

Source: Kubernetes documentation, "Create static Pods"; the annotations are kubelet's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.notices import CLOSE_WRITE, CREATE, DELETE, DELETE_SELF, MODIFY, MOVED_FROM, MOVED_TO, Notices

log = logging.getLogger(__name__)

# How often the folder is read although the kernel said nothing of a change.
_SECONDS = 20.0
_CHANGES = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF
_REFERENCES = {
    "configMap": "configmaps",
    "secret": "secrets",
    "persistentVolumeClaim": "persistentvolumeclaims",
}


def parse(text: bytes, path: str, node: str) -> Obj:
    """The pod of a manifest, JSON or YAML, with kubelet's uid, name and annotations for it. Raises ValueError."""
    import yaml

    try:
        pod: Any = next(yaml.safe_load_all(text), None)
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ValueError(f"couldn't parse as pod: {err}") from None
    if not isinstance(pod, dict) or pod.get("kind") != "Pod" or pod.get("apiVersion") != "v1":
        raise ValueError("couldn't parse as pod: it is not a Pod of apiVersion v1")
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    if not metadata.get("name") or not spec.get("containers"):
        raise ValueError("invalid pod: metadata.name and spec.containers are required")
    for resource in _api_references(spec):
        raise ValueError(f"static pods may not reference {resource}")
    uid = metadata.get("uid") or hashlib.md5(b"\n".join([node.encode(), path.encode(), text])).hexdigest()
    metadata["uid"] = uid
    metadata["name"] = f"{metadata['name']}-{node}"
    metadata.setdefault("namespace", "default")
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        "kubernetes.io/config.hash": uid,
        view.SOURCE: "file",
    }
    spec["nodeName"] = node
    spec.setdefault("restartPolicy", "Always")
    # Nothing drives a static pod from its node.
    tolerations = list(spec.get("tolerations") or ())
    everything = {"operator": "Exists", "effect": "NoExecute"}
    spec["tolerations"] = tolerations if everything in tolerations else [*tolerations, everything]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def _api_references(spec: Obj) -> Iterator[str]:
    """The kinds of objects that a pod wants from the API: a static pod is to run without it."""
    if spec.get("serviceAccountName"):
        yield "serviceaccounts"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    for volume in spec.get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        yield from (resource for source in sources for field, resource in _REFERENCES.items() if source.get(field))
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            values = [entry.get("valueFrom") or {} for entry in container.get("env") or ()]
            for source in (*values, *(container.get("envFrom") or ())):
                if source.get("configMapKeyRef") or source.get("configMapRef"):
                    yield "configmaps"
                if source.get("secretKeyRef") or source.get("secretRef"):
                    yield "secrets"


def read(folder: Path, node: str) -> dict[str, Obj]:
    """The pods of all manifests in a folder, or of one file, by uid. What cannot be read is told in the log."""
    pods: dict[str, Obj] = {}
    paths = sorted(folder.iterdir()) if folder.is_dir() else [folder] if folder.is_file() else []
    for path in paths:
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            pod = parse(path.read_bytes(), str(path), node)
        except (OSError, ValueError) as err:
            log.error("static pod %s: %s", path, err)
            continue
        pods[view.uid(pod)] = pod
    return pods


class Folder:
    """Follows a folder of manifests. changed: called with all of its pods, by uid."""

    def __init__(self, path: Path, node: str, changed: Callable[[dict[str, Obj]], None]) -> None:
        self._path = path
        self._node = node
        self._changed = changed
        self._stamps: list[tuple[str, int, int]] | None = None

    def look(self) -> None:
        """Reads the manifests when some file is another than before."""
        paths = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path] if self._path.exists() else []
        stamps = []
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                continue
            stamps.append((path.name, stat.st_mtime_ns, stat.st_ino))
        if stamps != self._stamps:
            self._stamps = stamps
            self._changed(read(self._path, self._node))

    async def run(self) -> None:
        """Follows the folder until cancelled."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def heard(notices: Notices) -> None:
            notices.read()
            event.set()

        notices: Notices | None = None
        try:
            notices = Notices(_CHANGES)
            loop.add_reader(notices.descriptor, heard, notices)
        except OSError as err:
            log.warning("%s is only read every %g s: %s", self._path, _SECONDS, err)
        try:
            while True:
                if notices is not None:
                    # The folder may have been made, or made anew, since the last time.
                    with contextlib.suppress(OSError):
                        notices.watch(self._path)
                self.look()
                try:
                    async with asyncio.timeout(_SECONDS):
                        await event.wait()
                except TimeoutError:
                    pass
                event.clear()
        finally:
            if notices is not None:
                loop.remove_reader(notices.descriptor)
                notices.close()

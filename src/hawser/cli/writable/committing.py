"""A container's changes as a new image: one more layer on top of the image's own.

Source: the OCI image specification 1.0 (config.md for history, manifest.md).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from hawser.cli.context import Failure
from hawser.cli.images.oci import BLOBS, LAYER, LAYOUT, machine_architecture
from hawser.cli.tables import size_text
from hawser.node.writable.names import shown

ALWAYS = ("run", "tmp", "dev", "proc", "sys", "var/lib/hawser/release")
"""What lives until a container ends, and what a release keeps in it."""
IDENTITY = (
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/log/journal",
    "etc/ssh/ssh_host_*_key*",
)
"""What makes one machine differ from another: every container of the new image makes its own."""
WHITEOUT = ".wh."
_LATEST = 253402300799  # the end of the year 9999
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER + "+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
}


def patterns(exclude: Sequence[str], keep_identity: bool) -> list[str]:
    """What a commit leaves out: paths and patterns, each with all below. Pure."""
    return [*ALWAYS, *(() if keep_identity else IDENTITY), *(pattern.strip("/") for pattern in exclude)]


def left_out(changes: Iterable[dict[str, Any]], without: Sequence[str]) -> list[str]:
    """The paths of a diff that these patterns leave out. Pure."""
    paths = [str(change["path"]).strip("/") for change in changes]
    found = [path for path in paths if any(_matches(path, pattern) for pattern in without)]
    return sorted({*ALWAYS, *found})


def dated(changes: Iterable[dict[str, Any]]) -> int:
    """When the newest file was changed, in seconds since 1970; times that no calendar has do not count. Pure."""
    return max((change["mtime"] for change in changes if 0 <= change.get("mtime", -1) <= _LATEST), default=0)


def check(changes: Iterable[dict[str, Any]], free: int) -> None:
    """Raises Failure for changes that no layer can have, or of which two are more than the bytes that are free.

    A sparse file counts with its holes: a container can make one of any size, and in a layer they are zeros.
    """
    sizes = {str(change["path"]): int(change.get("size", 0)) for change in changes}
    if odd := next((path for path in sizes if path.rpartition("/")[2].startswith(WHITEOUT)), ""):
        what = f"in an image the name of {shown(odd)} means a file that was deleted"
        raise Failure(what, "rename it in the container, or leave it out with --exclude")
    if 2 * sum(sizes.values()) > free:
        path = max(sizes, key=lambda path: sizes[path])
        what = f"the layer has {size_text(sum(sizes.values()))}, and twice that is not free here"
        raise Failure(what, f"the largest file is {shown(path)} with {size_text(sizes[path])}: --exclude leaves it out")


def kept(changes: Iterable[dict[str, Any]], without: Sequence[str]) -> list[dict[str, Any]]:
    """The changes of a diff that are in the commit. Pure."""
    gone = frozenset(without)  # a container may have made any number of what is left out
    return [c for c in changes if gone.isdisjoint(_way(str(c["path"]).strip("/")))]


def _way(path: str) -> Iterator[str]:
    """A path, and the directories that it is below."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _matches(path: str, pattern: str) -> bool:
    return _below(path, pattern) or fnmatch.fnmatchcase(path, pattern)


def extend(base: Path, layer: Path, name: str, created: int, created_by: str, destination: Path) -> str:
    """Writes an OCI archive of the image in an archive with a layer on top; the manifest's digest.

    base: an OCI archive of one image; layer: a tar file; name: the new full reference; created: seconds since 1970.
    Raises Failure when the archive can not be read.
    """
    with tarfile.open(base) as tar:
        manifest, config = _image(tar)
        with layer.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        top: dict[str, Any] = {"mediaType": LAYER, "digest": digest, "size": layer.stat().st_size}
        layers = [
            {**one, "mediaType": _OCI_TYPES.get(one["mediaType"], one["mediaType"])} for one in manifest["layers"]
        ]
        blobs: dict[str, bytes] = {}
        made = {
            "schemaVersion": 2,
            "mediaType": _OCI_MANIFEST,
            "config": _described(blobs, with_layer(config, digest, created, created_by), _OCI_CONFIG),
            "layers": [*layers, top],
        }
        reference = _described(blobs, made, _OCI_MANIFEST)
        annotations = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
        index = {"schemaVersion": 2, "manifests": [{**reference, "annotations": annotations}]}
        temporary = destination.with_name(destination.name + ".new")
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as out:
            _bytes(out, "oci-layout", LAYOUT)
            for one in {one["digest"]: one for one in layers}.values():
                _file(out, one["digest"], int(one["size"]), _blob(tar, one["digest"]))
            with layer.open("rb") as file:
                _file(out, digest, top["size"], file)
            for blob in sorted(blobs):
                _bytes(out, BLOBS + blob.removeprefix("sha256:"), blobs[blob])
            _bytes(out, "index.json", _json(index))
    temporary.replace(destination)
    return str(reference["digest"])


def with_layer(config: dict[str, Any], digest: str, created: int, created_by: str) -> dict[str, Any]:
    """An image's configuration with one layer more; what its containers run stays. Pure."""
    when = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    below = list((config.get("rootfs") or {}).get("diff_ids") or ())
    # An image that tells nothing of its layers still has them: one entry each.
    told = config.get("history") or [{"created": config.get("created", when)} for _ in below]
    history = [*told, {"created": when, "created_by": created_by}]
    rootfs = {"type": "layers", "diff_ids": [*below, digest]}
    return {**config, "created": when, "rootfs": rootfs, "history": history}


def _image(tar: tarfile.TarFile) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        document = json.loads(_read(tar, "index.json"))
        # An index may hold images of many platforms, of which a runtime has its own only.
        while "manifests" in document:
            document = json.loads(_blob(tar, _chosen(tar, document["manifests"])).read())
        return document, json.loads(_blob(tar, document["config"]["digest"]).read())
    except (KeyError, ValueError, StopIteration) as error:
        raise Failure(f"the node's archive of the image can not be read: {error!r}") from None


def _chosen(tar: tarfile.TarFile, manifests: Sequence[dict[str, Any]]) -> str:
    names = set(tar.getnames())
    there = [one for one in manifests if BLOBS + one["digest"].removeprefix("sha256:") in names]
    mine = [one for one in there if (one.get("platform") or {}).get("architecture") == machine_architecture()]
    return str(next(iter(mine or there))["digest"])


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _blob(tar: tarfile.TarFile, digest: str) -> IO[bytes]:
    name = BLOBS + digest.removeprefix("sha256:")
    try:
        file = tar.extractfile(name)
    except KeyError:
        hint = "containerd drops unpacked layers with discard_unpacked_layers = true: pull the image again without it"
        raise Failure(f"the node does not have the image's layer {digest[:19]} any more", hint) from None
    if file is None:
        raise KeyError(name)
    return file


def _described(blobs: dict[str, bytes], document: dict[str, Any], media_type: str) -> dict[str, Any]:
    content = _json(document)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    import io

    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o644, len(content)
    tar.addfile(info, io.BytesIO(content))


def _file(tar: tarfile.TarFile, digest: str, size: int, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(BLOBS + digest.removeprefix("sha256:"))
    info.mode, info.size = 0o644, size
    tar.addfile(info, content)

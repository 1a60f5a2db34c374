"""Writing OCI images without a container engine: layers as tar files, an image layout as a tar archive.

Source: the OCI image specification 1.0 (config.md, layer.md, image-layout.md). The same input gives the same bytes.
Layers stay uncompressed: these images go into a container store on the same machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

EPOCH = "1970-01-01T00:00:00Z"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
BLOBS = "blobs/sha256/"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


def machine_architecture() -> str:
    """This machine's architecture, as images call it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class ImageConfig:
    """How an image's containers start; the OCI image configuration's `config`."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    ports: tuple[str, ...] = ()  # "8080/tcp"
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON object, without what is not set."""
        fields = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "Env": [f"{name}={value}" for name, value in self.env.items()],
            "User": self.user,
            "WorkingDir": self.workdir,
            "ExposedPorts": {port: {} for port in self.ports},
            "StopSignal": self.stop_signal,
            "Labels": dict(self.labels),
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class Entry:
    """One file of a layer; a directory unless it has content, a link target or a hard link's target."""

    path: str
    content: bytes | None = None
    link: str = ""
    hard_link: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


def write_layer(destination: Path, entries: Iterable[Entry]) -> Path:
    """A layer of the entries, in their order."""
    with destination.open("wb") as file:
        layer_into(file, entries)
    return destination


def layer_into(file: IO[bytes], entries: Iterable[Entry], mtime: int = 0) -> None:
    """Writes a layer of the entries, in their order; all of one modification time (seconds since 1970)."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path.strip("/"))
            info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, mtime
            if entry.content is not None:
                info.size = len(entry.content)
            elif entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
            elif entry.hard_link:
                info.type, info.linkname = tarfile.LNKTYPE, entry.hard_link.strip("/")
            else:
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(entry.content) if entry.content is not None else None)


def directory_entries(root: Path) -> Iterable[Entry]:
    """What lies below a directory as entries that go on top of another layer: owned by root, writable for no one else.

    A directory with content and the usual mode has no entry, so that the layer below keeps its owner and mode.
    Raises ValueError for what is neither file, directory nor symbolic link.
    """
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        mode = path.lstat().st_mode & 0o7755
        if path.is_symlink():
            yield Entry(name, link=str(path.readlink()))
        elif path.is_dir():
            if mode != 0o755 or not any(path.iterdir()):
                yield Entry(name, mode=mode)
        elif path.is_file():
            yield Entry(name, content=path.read_bytes(), mode=mode)
        else:
            raise ValueError(f"{path} is neither a file, a directory nor a symbolic link")


@dataclass(frozen=True)
class Image:
    """An image for an archive: its full reference, tag included; its layers as tar files, lowest first."""

    name: str
    layers: tuple[Path, ...]
    config: ImageConfig


def write_archive(destination: Path, name: str, layers: Iterable[Path], config: ImageConfig) -> str:
    """An image layout in a tar archive that `ctr images import` and others read; returns the manifest's digest.

    `name` is the full reference, tag included; `layers` are tar files, lowest first.
    """
    return write_images(destination, [Image(name, tuple(layers), config)])[name]


def write_images(destination: Path, images: Iterable[Image]) -> dict[str, str]:
    """The same of several images, whose common layers are there once; the manifests' digests by name."""
    blobs: dict[str, bytes | Path] = {}
    descriptors: dict[Path, dict[str, Any]] = {}
    manifests: list[dict[str, Any]] = []
    digests: dict[str, str] = {}
    for image in images:
        if "/" not in image.name or ":" not in image.name.rpartition("/")[2]:
            raise ValueError(
                f'image name "{image.name}" is not a full reference such as docker.io/library/busybox:1.36'
            )
        for layer in image.layers:
            if layer not in descriptors:
                descriptors[layer] = _blob(blobs, layer, LAYER)
        known = [descriptors[layer] for layer in image.layers]
        documents, index, digests[image.name] = describe(image.name, known, image.config)
        blobs |= documents
        manifests += json.loads(index)["manifests"]
    temporary = destination.with_name(destination.name + ".new")
    with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", LAYOUT)
        for blob in sorted(blobs):
            _add(tar, BLOBS + blob, blobs[blob])
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
    temporary.replace(destination)
    return digests


def describe(
    name: str, layers: list[dict[str, Any]], config: ImageConfig, created: str = EPOCH
) -> tuple[dict[str, bytes], bytes, str]:
    """The documents of an image by their digests, its index and its manifest's digest.

    `layers` are their descriptors, lowest first; `created` as in RFC 3339.
    """
    blobs: dict[str, bytes | Path] = {}
    image = {
        "created": created,
        "architecture": machine_architecture(),
        "os": "linux",
        "config": config.document(),
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, _json(image), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    reference = _blob(blobs, _json(manifest), "application/vnd.oci.image.manifest.v1+json")
    tag = name.rpartition(":")[2]
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "manifests": [{**reference, "annotations": annotations}]}
    documents = {digest: content for digest, content in blobs.items() if isinstance(content, bytes)}
    return documents, _json(index), str(reference["digest"])


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _blob(blobs: dict[str, bytes | Path], content: bytes | Path, media_type: str) -> dict[str, Any]:
    if isinstance(content, bytes):
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
    else:
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = content.stat().st_size
    blobs[digest] = content
    return {"mediaType": media_type, "digest": "sha256:" + digest, "size": size}


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    if isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        return
    info.size = content.stat().st_size
    with content.open("rb") as file:
        tar.addfile(info, file)

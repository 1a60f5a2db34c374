"""A local image for tests: busybox in an OCI archive, made without any registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

BUSYBOX = "hawser.test/busybox:1"
PAUSE = "hawser.test/pause:1"
USER = "hawser.test/user:1"
NAMED = "hawser.test/named:1"
ENTRY = "hawser.test/entry:1"
LAYERED = "hawser.test/layered:1"


def archive(path: Path) -> None:
    """Writes an OCI archive with the test images: busybox, as a pause image, with users, with an entry point."""
    layer = _layer()
    blobs: dict[str, bytes] = {}
    packed = gzip.compress(layer, 1, mtime=0)
    manifests = [
        _image(blobs, packed, layer, PAUSE, {"Entrypoint": ["/bin/sleep", "2147483647"]}),
        _image(blobs, packed, layer, BUSYBOX, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}),
        _image(blobs, packed, layer, USER, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "User": "1000:1000"}),
        _image(blobs, packed, layer, NAMED, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "User": "user"}),
        _image(blobs, packed, layer, ENTRY, {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["cmd"], "Env": ["I=image"]}),
        _image(blobs, packed, layer, LAYERED, {"Cmd": ["/bin/sh"]}, _upper()),
    ]
    with tarfile.open(path, "w") as tar:
        _file(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _file(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
        for digest, data in blobs.items():
            _file(tar, f"blobs/sha256/{digest}", data)


def blobs_of(content: str) -> tuple[dict[str, bytes], bytes]:
    """An image of busybox and a file ``/content``: its blobs by digest, and its manifest."""
    layer = _layer(content)
    packed = gzip.compress(layer, 1, mtime=0)
    blobs: dict[str, bytes] = {}
    entry = _image(blobs, packed, layer, "x", {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]})
    assert isinstance(entry, dict)
    manifest = blobs[str(entry["digest"]).removeprefix("sha256:")]
    return {f"sha256:{digest}": data for digest, data in blobs.items()}, manifest


def _image(
    blobs: dict[str, bytes], packed: bytes, layer: bytes, name: str, settings: dict[str, object], *more: bytes
) -> object:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in (layer, *more)],
        },
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [
            _blob(blobs, packed, "application/vnd.oci.image.layer.v1.tar+gzip"),
            *(_blob(blobs, one, "application/vnd.oci.image.layer.v1.tar") for one in more),
        ],
    }
    entry = _blob(blobs, json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": name}
    return entry


def _blob(blobs: dict[str, bytes], data: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _upper() -> bytes:
    """A layer that changes a file of the one below and removes another."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _file(tar, "etc/group", b"changed:x:0:\n")
        _file(tar, "etc/.wh.passwd", b"")
    return out.getvalue()


def _layer(content: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "run"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(info)
        _file(tar, "bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
        _file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
        if content:
            _file(tar, "content", content.encode())
        _file(tar, "etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:5000:user\n")
        for name in ("sh", "sleep", "cat", "ls", "id", "env", "echo", "true", "false", "nc", "httpd", "touch", "stat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


def _file(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))

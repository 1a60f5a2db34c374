"""An image archive written in one go: the machine's layer goes straight to its place, and exists once on disk."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from hawser.cli.images.oci import BLOBS, LAYER, LAYOUT, Entry, ImageConfig, describe, layer_into

_BLOCK = 512


class StreamedArchive:
    """An OCI archive whose first layer is written by `write`, piece by piece; `finish` adds the rest.

    As a context it removes what is unfinished.
    """

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._temporary = destination.with_name(destination.name + ".new")
        self._file = self._temporary.open("wb")
        self._digest = hashlib.sha256()
        self._size = 0
        self._finished = False
        self._member("oci-layout", LAYOUT)
        self._start = self._file.tell()
        self._file.write(bytes(_BLOCK))  # the header's place: its name is the digest

    def __enter__(self) -> StreamedArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._finished:
            self._temporary.unlink(missing_ok=True)

    def write(self, data: bytes, /) -> int:
        """The next bytes of the first layer."""
        self._digest.update(data)
        self._size += len(data)
        return self._file.write(data)

    def finish(self, name: str, upper: Iterable[Entry], config: ImageConfig, epoch: int = 0) -> str:
        """Writes the upper layer, the configuration and the index; the manifest's digest.

        `name` is the full reference; `epoch`, in seconds since 1970, is when all that is generated was made.
        """
        self._file.write(bytes(-self._size % _BLOCK))
        end = self._file.tell()
        self._file.seek(self._start)
        self._file.write(_header(BLOBS + self._digest.hexdigest(), self._size))
        self._file.seek(end)
        top = io.BytesIO()
        layer_into(top, upper, epoch)
        content = top.getvalue()
        layers = [_descriptor(self._digest.hexdigest(), self._size)]
        layers.append(_descriptor(hashlib.sha256(content).hexdigest(), len(content)))
        created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        documents, index, digest = describe(name, layers, config, created)
        blobs = {hashlib.sha256(content).hexdigest(): content, **documents}
        for blob in sorted(blobs):
            self._member(BLOBS + blob, blobs[blob])
        self._member("index.json", index)
        self._file.write(bytes(2 * _BLOCK))
        self._file.close()
        self._temporary.replace(self._destination)
        self._finished = True
        return digest

    def _member(self, name: str, content: bytes) -> None:
        self._file.write(_header(name, len(content)) + content + bytes(-len(content) % _BLOCK))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o644, size
    # GNU's form takes sizes above 8 GiB in the same single block.
    return info.tobuf(tarfile.GNU_FORMAT)


def _descriptor(digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": LAYER, "digest": "sha256:" + digest, "size": size}

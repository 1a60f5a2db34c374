"""A container that a release goes to: scripts run in it through the API's exec, as `kubectl exec` would."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hawser.cli.context import Failure
from hawser.cli.exec import converse
from hawser.cli.releasing import scripts
from hawser.cli.releasing.files import Files, digests, parse
from hawser.client.client import Client

Sent = Callable[[int], None]


@dataclass(frozen=True)
class Survey:
    """What a container is like. unfinished: releases whose push ended half-way."""

    root: bool
    systemd: bool
    unfinished: tuple[str, ...]


@dataclass(frozen=True)
class Inside:
    """One container of one pod."""

    client: Client
    namespace: str
    pod: str
    container: str

    async def run(
        self, script: str, *args: str, stdin: bytes | IO[bytes] | None = None, sent: Sent | None = None
    ) -> str:
        """Runs a script; what it printed. Raises Failure with what it complained about, APIError."""
        written, complaints = io.BytesIO(), io.BytesIO()
        feed = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
        command = ["sh", "-c", script, "hawser-release", *args]
        code = await converse(
            self.client,
            self.pod,
            self.namespace,
            self.container,
            command,
            written,
            complaints,
            feed,  # type: ignore[arg-type]  # what tempfile makes is a BinaryIO in all but name
            sent or _nobody,
        )
        if code:
            said = complaints.getvalue().decode(errors="replace").strip() or f"a script ended with {code}"
            raise Failure(" ".join(said.split("\n")[-3:]), code=1)
        return written.getvalue().decode(errors="surrogateescape")

    async def survey(self, destination: str, release: str = "") -> Survey:
        """Looks at the container; with a release's name, keeps others out until it is done."""
        user, kind, *states = (await self.run(scripts.SURVEY, destination, release)).splitlines()
        unfinished = [line.split()[0] for line in states if line.split()[-1] in ("saved", "applying", "applied")]
        return Survey(user == "0", kind == "systemd", tuple(sorted(unfinished, reverse=True)))

    async def files(self, destination: str, paths: Sequence[str], others: bool) -> Files:
        """What is at these paths below a directory; with `others`, all that is below it."""
        names = _zeros(paths)
        text = await self.run(scripts.LIST, destination, str(len(names)), "yes" if others else "no", stdin=names)
        listing, _, links = text.partition(scripts.SEPARATOR)
        return parse(listing, links)

    async def digests(self, destination: str, paths: Sequence[str]) -> dict[str, str]:
        """SHA-256 digests of files."""
        names = _zeros(paths)
        return digests(await self.run(scripts.SUMS, destination, str(len(names)), stdin=names))

    async def upload(
        self, release: str, name: str, content: bytes | IO[bytes], size: int, sent: Sent | None = None
    ) -> None:
        """Puts a file beside what is kept of a release."""
        await self.run(scripts.UPLOAD, release, name, str(size), stdin=content, sent=sent)


def pack(root: Path, files: Files, paths: Sequence[str]) -> tuple[IO[bytes], int]:
    """An archive of files with these owners, modes and times, and its size. The caller closes it."""
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    # This format rather than pax: busybox reads its long names, too.
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in paths:
            file = files[path]
            info = tarfile.TarInfo(path)
            info.mode, info.uid, info.gid, info.mtime = file.mode & 0o7777, file.uid, file.gid, file.mtime
            if file.is_directory:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif file.is_regular:
                with (root / path).open("rb") as content:
                    info.size = file.size
                    tar.addfile(info, content)
            else:
                info.type, info.linkname = tarfile.SYMTYPE, file.target
                tar.addfile(info)
    size = archive.tell()
    archive.seek(0)
    return archive, size


def lines(paths: Sequence[str]) -> bytes:
    """Paths, one a line."""
    return "".join(f"./{path}\n" for path in paths).encode(errors="surrogateescape")


def _zeros(paths: Sequence[str]) -> bytes:
    return "".join(f"./{path}\0" for path in paths).encode(errors="surrogateescape")


def _nobody(_size: int) -> None: ...

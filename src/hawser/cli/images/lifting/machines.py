"""Machines to lift: where their files and what only a running machine tells come from."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from hawser.cli.images.lifting import facts
from hawser.cli.images.lifting.facts import Facts
from hawser.cli.images.lifting.report import Running
from hawser.cli.images.lifting.selection import Rule, Selection, foreign_mounts
from hawser.runtime import host

_ZSTD = b"\x28\xb5\x2f\xfd"
_SAID_LINES = 8


class MachineError(Exception):
    """A machine's files can not be read; `hint` says what to do."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class Machine(Protocol):
    """A machine to lift."""

    @property
    def source(self) -> str:
        """What the report calls it."""

    def rules(self) -> tuple[Rule, ...]:
        """What is left out of this machine in particular. Raises MachineError."""

    def running(self) -> Running:
        """What the machine tells while it runs; nothing for one that does not."""

    def files(self, selection: Selection, telling: bool) -> contextlib.AbstractContextManager[IO[bytes]]:
        """The files as a tar stream; `telling` when those that the report reads are enough. Raises MachineError."""


class Rootfs:
    """A directory of this machine; `/` is the machine itself. `without` are paths that are not to be lifted."""

    def __init__(self, root: Path, source: str = "", without: Sequence[Path] = ()) -> None:
        self.root = root.resolve()
        self.source = source or str(self.root)
        self.without = [path.resolve() for path in without]
        self._facts = facts.of_this_machine() if self.root == Path("/") else Facts()
        if not (self.root / "etc").is_dir():
            raise MachineError(f"{self.root} is no root file system: it has no directory etc")

    def rules(self) -> tuple[Rule, ...]:
        own = [
            Rule(str(path.relative_to(self.root)), "Hawser's own")
            for path in self.without
            if path.is_relative_to(self.root)
        ]
        mounts = foreign_mounts(host.mountinfo(), str(self.root))
        try:
            swaps = facts.fstab_swap((self.root / "etc/fstab").read_text(errors="replace"))
        except OSError:
            swaps = ()
        return (*own, *mounts, *swaps)

    def running(self) -> Running:
        return self._facts.running

    @contextlib.contextmanager
    def files(self, selection: Selection, telling: bool) -> Iterator[IO[bytes]]:
        command = facts.tar_command(facts.tar_help(), str(self.root), selection.early())
        with output_of(command, "tar") as stream:
            yield stream


class Tarball:
    """A tar file of a root, compressed or not; `-` is the standard input."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = str(path)
        if str(path) != "-" and not path.is_file():
            raise MachineError(f"{path} is not a file")

    def rules(self) -> tuple[Rule, ...]:
        return ()

    def running(self) -> Running:
        return Running()

    @contextlib.contextmanager
    def files(self, selection: Selection, telling: bool) -> Iterator[IO[bytes]]:
        if str(self.path) == "-":
            with os.fdopen(os.dup(0), "rb") as stream:
                yield stream
            return
        with self.path.open("rb") as file:
            packed = file.read(4) == _ZSTD
            file.seek(0)
            if not packed:
                yield file
                return
        with output_of(["zstd", "-dcq", str(self.path)], "zstd") as stream:
            yield stream


@contextlib.contextmanager
def output_of(command: Sequence[str], package: str) -> Iterator[IO[bytes]]:
    """What a command writes, as a stream; its end is checked. Raises MachineError.

    tar's code 1 means that files changed while it read them: a running machine's do.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        except FileNotFoundError:
            raise MachineError(f"{command[0]} is missing", f"install the package {package}") from None
        assert process.stdout is not None
        try:
            yield process.stdout
            while process.stdout.read(1 << 16):
                pass  # what tar pads its last record with
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, Exception) and (text := _said(said)):
                raise MachineError(f"{error}; {command[0]} said: {text}") from None
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        if code > 1 or code < 0:
            raise MachineError(f"{command[0]} ended with {code}: {_said(said)}")


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-_SAID_LINES:])

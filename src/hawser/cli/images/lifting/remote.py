"""A running machine on the other side of ssh. Nothing is installed there: it needs sh and GNU tar."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO

from hawser.cli.images.lifting import facts
from hawser.cli.images.lifting.facts import Facts
from hawser.cli.images.lifting.machines import MachineError, output_of
from hawser.cli.images.lifting.report import Running
from hawser.cli.images.lifting.selection import Rule, Selection, foreign_mounts

# Where the facts of the report are: all that a dry run asks for.
_TELLING = (
    "./etc",
    "./lib/systemd/system",
    "./usr/lib/systemd",
    "./lib/systemd/systemd",
    "./usr/lib/os-release",
    "./sbin/init",
)
_DESTINATION = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[^\]\s]+)\]|(?P<host>[^:@\s]+))(?::(?P<port>\d{1,5}))?")


class Remote:
    """A machine that ssh reaches: one connection for its facts, one for its files."""

    def __init__(self, destination: str, options: Sequence[str] = (), sudo: bool = False, sizes: bool = False) -> None:
        self.source = f"ssh://{destination}"
        self._ssh = ssh_command(destination, options)
        self._sudo = ["sudo", "-n"] if sudo else []
        self._facts = self._ask(sizes)

    def _ask(self, sizes: bool) -> Facts:
        script = ("SIZES=1\n" if sizes else "SIZES=\n") + facts.SCRIPT
        try:
            ran = subprocess.run(
                [*self._ssh, shlex.join([*self._sudo, "sh", "-s"])],
                input=script,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            raise MachineError("ssh is missing", "install the package openssh-client") from None
        found = facts.parse(ran.stdout)
        if not found.complete:
            hint = "give the user sudo without a password, or log in as root" if self._sudo else ""
            raise MachineError(f"{self.source}: {ran.stderr.strip() or f'ssh ended with {ran.returncode}'}", hint)
        if found.uid != 0:
            raise MachineError(f"{self.source}: only root reads all files there", "use --sudo, or log in as root")
        if "--format" not in found.tar_help:
            raise MachineError(
                f"{self.source}: it has no GNU tar", "install tar there, or bring its files by --from-tar"
            )
        return found

    def rules(self) -> tuple[Rule, ...]:
        return (*foreign_mounts(self._facts.mountinfo), *self._facts.swaps)

    def running(self) -> Running:
        return self._facts.running

    def sizes(self) -> dict[str, int]:
        """Bytes by directory, when they were asked for."""
        return self._facts.sizes

    @contextlib.contextmanager
    def files(self, selection: Selection, telling: bool) -> Iterator[IO[bytes]]:
        members = _TELLING if telling else (".",)
        command = facts.tar_command(self._facts.tar_help, "/", selection.early(), members)
        # What a dry run names may not be there on every machine, which is no failure.
        ending = " 2>/dev/null || true" if telling else ""
        remote = facts.quoted(command)
        if self._sudo:
            remote = shlex.join([*self._sudo, "sh", "-c", remote])
        with output_of([*self._ssh, remote + ending], "openssh-client") as stream:
            yield stream


def ssh_command(destination: str, options: Sequence[str] = ()) -> list[str]:
    """The words that run something at [USER@]HOST[:PORT]. Raises MachineError."""
    found = _DESTINATION.fullmatch(destination)
    if found is None or destination.startswith("-"):
        raise MachineError(f'"{destination}" is not [USER@]HOST[:PORT]')
    words = ["ssh", "-T", "-o", "ServerAliveInterval=30"]
    for option in options:
        words += ["-o", option]
    if found["port"]:
        words += ["-p", found["port"]]
    if found["user"]:
        words += ["-l", found["user"]]
    return [*words, "--", found["six"] or found["host"]]

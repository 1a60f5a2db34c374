"""A process that serves files of the view: found again, waited for, ended. Nothing here looks into its file system.

It is nobody's child in particular: it goes on when the agent that started it ends, and the next one finds it by its
file of the process id. What keeps it alive is in manager.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

from hawser.rich.view.containers import mounted_device, mounts_of

_DETACH = 2  # MNT_DETACH, umount(2)
_NOSUID, _NODEV = 2, 4  # MS_, mount(2)
_libc = ctypes.CDLL(None, use_errno=True)


class ServerError(Exception):
    """A server of the view does not run; the text says why."""


class Server:
    """A running one. pid: its process id; place: where it is mounted; device: of its file system."""

    def __init__(self, pid: int, place: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.place = place
        self._process = process
        self._fd = os.pidfd_open(pid)

    @property
    def device(self) -> str:
        """``MAJOR:MINOR`` of what is mounted; "" when nothing is."""
        return mounted_device(str(self.place), mounts_of(Path("/proc/self")))

    async def ended(self) -> None:
        """Returns when the process has ended."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(self._fd)
        self._reap()

    def kill(self) -> None:
        """Ends it at once; the kernel then answers for its files with an error, and nobody waits for it any more."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):  # another's child
            os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Lets go of a process, which goes on."""
        os.close(self._fd)
        if self._process is not None:
            self._process.returncode = 0  # waited for above, or nobody's to wait for


def pid_file(place: Path) -> Path:
    """Where the process that serves at a place is noted."""
    return place.with_name(place.name + ".pid")


def find(place: Path, program: str) -> Server | None:
    """The server that an earlier agent started at a place. program: a word of its command line, or a path's last."""
    try:
        pid = int(pid_file(place).read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if str(place) not in arguments or program not in {word.rpartition("/")[2] for word in arguments}:
            return None
        found = Server(pid, place)
    except (OSError, ValueError):
        return None
    if found.device:
        return found
    found.kill()
    found.close()
    return None


def mount(place: Path, source: str, kind: str, options: str) -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), os.fsencode(place), kind.encode(), _NOSUID | _NODEV, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(place))


def unmount(place: Path) -> None:
    """Takes away whatever is mounted at a place, dead or alive, without asking it."""
    while _libc.umount2(os.fsencode(place), _DETACH) == 0:
        pass

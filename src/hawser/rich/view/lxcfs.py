"""The process of lxcfs: started, found again, waited for, ended. Nothing here looks into its file system.

It is nobody's child in particular: it goes on when the agent that started it ends, and the next one finds it by its
file of the process id. What keeps it alive is in manager.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from pathlib import Path

from hawser.rich.view.containers import SOURCE, mounted_device, parse

_DETACH = 2  # MNT_DETACH, umount(2)
_MOUNT_SECONDS = 5.0
_LOOK_SECONDS = 0.01


class LxcfsError(Exception):
    """lxcfs does not run; the text says why."""


class Lxcfs:
    """A running lxcfs. pid: its process id; place: where it is mounted; device: of its file system."""

    def __init__(self, pid: int, place: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.place = place
        self._process = process
        self._fd = os.pidfd_open(pid)

    @property
    def device(self) -> str:
        """``MAJOR:MINOR`` of what is mounted; "" when nothing is."""
        return mounted_device(str(self.place), parse(Path("/proc/self/mountinfo").read_text()))

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


def find(home: Path) -> Lxcfs | None:
    """The lxcfs that an earlier agent started below a view directory."""
    place = home / "lxcfs"
    try:
        pid = int((home / "lxcfs.pid").read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if str(place).encode() not in arguments or Path(arguments[0].decode()).name != "lxcfs":
            return None
        found = Lxcfs(pid, place)
    except (OSError, ValueError):
        return None
    if found.device:
        return found
    found.kill()
    found.close()
    return None


async def start(home: Path) -> Lxcfs:
    """Starts lxcfs below a view directory and waits until it is mounted. Raises LxcfsError, OSError."""
    binary = shutil.which("lxcfs")
    if binary is None:
        raise LxcfsError("lxcfs is not installed on this node")
    place = home / "lxcfs"
    unmount(place)
    place.mkdir(parents=True, exist_ok=True)
    (home / "lxcfs.pid").unlink(missing_ok=True)
    process = _spawn(binary, home, place)
    running = Lxcfs(process.pid, place, process)
    try:
        async with asyncio.timeout(_MOUNT_SECONDS):
            while not running.device:
                if process.poll() is not None:
                    raise LxcfsError(f"lxcfs ended with {process.returncode}: {_last_line(home / 'lxcfs.log')}")
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        running.kill()
        running.close()
        raise LxcfsError(f"lxcfs was not mounted within {_MOUNT_SECONDS:g} s") from None
    except BaseException:
        running.kill()
        running.close()
        raise
    return running


def _spawn(binary: str, home: Path, place: Path) -> subprocess.Popen[bytes]:
    words = ["-f", "-l", "--enable-cfs", "--enable-pidfd", "-o", f"fsname={SOURCE}", "-p", str(home / "lxcfs.pid")]
    with (home / "lxcfs.log").open("wb") as log:
        return subprocess.Popen(
            [binary, *words, str(place)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def unmount(place: Path) -> None:
    """Takes away whatever is mounted at a place, dead or alive, without asking it."""
    libc = ctypes.CDLL(None)
    while libc.umount2(os.fsencode(place), _DETACH) == 0:
        pass


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:200]

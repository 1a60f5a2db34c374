"""Starting lxcfs, whose files show a container's limits as the machine's size."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

from hawser.rich.view.containers import SOURCE
from hawser.rich.view.server import Server, ServerError, pid_file, unmount

NAME = "lxcfs"
"""Of its place below a view directory, and of the program."""
_MOUNT_SECONDS = 5.0
_LOOK_SECONDS = 0.01


async def start(home: Path) -> Server:
    """Starts lxcfs below a view directory and waits until it is mounted. Raises ServerError, OSError."""
    binary = shutil.which("lxcfs")
    if binary is None:
        raise ServerError("lxcfs is not installed on this node")
    place = home / NAME
    unmount(place)
    place.mkdir(parents=True, exist_ok=True)
    pid_file(place).unlink(missing_ok=True)
    process = _spawn(binary, home, place)
    running = Server(process.pid, place, process)
    try:
        async with asyncio.timeout(_MOUNT_SECONDS):
            while not running.device:
                if process.poll() is not None:
                    raise ServerError(f"lxcfs ended with {process.returncode}: {_last_line(home / 'lxcfs.log')}")
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        running.kill()
        running.close()
        raise ServerError(f"lxcfs was not mounted within {_MOUNT_SECONDS:g} s") from None
    except BaseException:
        running.kill()
        running.close()
        raise
    return running


def _spawn(binary: str, home: Path, place: Path) -> subprocess.Popen[bytes]:
    words = ["-f", "-l", "--enable-cfs", "--enable-pidfd", "-o", f"fsname={SOURCE}", "-p", str(pid_file(place))]
    with (home / "lxcfs.log").open("wb") as log:
        return subprocess.Popen(
            [binary, *words, str(place)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:200]

"""Starting the server of the files that lxcfs has not: statistics.py, a process for all containers of a node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hawser.rich.view.containers import SOURCE
from hawser.rich.view.server import Server, mount, pid_file, unmount

NAME = "own"
"""Of its place below a view directory."""
PROGRAM = "hawser.rich.view.statistics"


def start(home: Path) -> Server:
    """Mounts its file system below a view directory, and starts what serves it. Raises OSError."""
    place = home / NAME
    unmount(place)
    place.mkdir(parents=True, exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        mount(place, SOURCE, "fuse", options)
        with (home / f"{NAME}.log").open("wb") as log:
            words = [sys.executable, "-m", PROGRAM, str(place)]
            process = subprocess.Popen(words, stdin=device, stdout=log, stderr=log, start_new_session=True)
    finally:
        os.close(device)  # the process has it: with its end, the kernel answers in its place
    note = home / f"{NAME}.pid.new"
    note.write_text(f"{process.pid}\n")
    note.replace(pid_file(place))
    return Server(process.pid, place, process)

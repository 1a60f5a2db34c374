"""Other nodes than this one, as far as a mount namespace can show them: pure cgroup v1, pure cgroup v2, newer runtimes.

A version 2 made that way has few controllers or none, as the host's version 1 holds them: what limits resources is
tried in a virtual machine (tests/vm).
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from tests.clients.debian import Unavailable, program, unpacked

NEWER = "sid"
_TREE = ("crun", "runc", "containerd")
_V1 = "umount -l /sys/fs/cgroup/unified 2>/dev/null || :"
_V2 = "umount -R -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup"
LAYOUTS = {"v1": _V1, "v2": _V2}


@cache
def newer(name: str) -> Path:
    """containerd 2, crun or runc as Debian's newest release has them. Skips the test where they cannot be had."""
    try:
        tree = unpacked(NEWER, _TREE, dependencies="lib*")
        return program(tree, name)
    except Unavailable as error:
        pytest.skip(f"no {name} of {NEWER}: {error}")


def release() -> tuple[int, int]:
    """The kernel's version."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return int(major), int(minor)


def within(layout: str, destination: Path, words: Sequence[str]) -> Path:
    """Writes a program that runs another one where the host's control groups have that layout; its path.

    The mount of the host is left as it is. On a host of pure version 2 there is no version 1 to show.
    """
    if layout == "v1" and not Path("/sys/fs/cgroup/systemd").is_dir():
        pytest.skip("the host has cgroup v2 alone")
    command = " ".join(f"'{word}'" for word in words)
    inner = destination.with_name(destination.name + ".within")
    inner.write_text(f'#!/bin/sh\n{LAYOUTS[layout]}\nexec {command} "$@"\n')
    destination.write_text(f'#!/bin/sh\nexec unshare --mount --propagation slave {inner} "$@"\n')
    for path in (inner, destination):
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return destination


def remove_groups(layout: str, name: str) -> None:
    """Removes a control group of the tests, with what is below it, from a hierarchy that only its namespace mounts."""
    script = f"{LAYOUTS[layout]}; find /sys/fs/cgroup/*/{name} /sys/fs/cgroup/{name} -depth -type d -delete 2>/dev/null"
    subprocess.run(["unshare", "--mount", "--propagation", "slave", "sh", "-c", script], check=False)

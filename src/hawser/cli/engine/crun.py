"""Whether crun can run this machine's containers, and by which program.

It does in a third of runc's instructions what runc does. Source: crun(1), libcrun's cgroup.c for what it refuses.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from hawser.native import compiler
from hawser.native.compiler import BuildError

_OLDEST = (1, 8)
"""Debian 12's, with which the tests pass; older ones miss what CRI asks for."""
_V2_BESIDE_V1 = Path("/sys/fs/cgroup/unified/cgroup.controllers")


class Crun(NamedTuple):
    """path: what is to be executed as crun, "" when it cannot be; why: the reason then."""

    path: str
    why: str = ""


def find(folder: Path) -> Crun:
    """The crun of this machine. folder: where the program goes that executes it (crun.c)."""
    path = shutil.which("crun")
    if path is None:
        return Crun("", "it is not installed")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    if (version := version_of(said)) is None or version < _OLDEST:
        return Crun("", f"{' '.join(said.split()[:3]) or 'it'} is older than {'.'.join(map(str, _OLDEST))}")
    refuses = refuses_cgroups()
    try:
        return Crun(str(provide(folder / "crun", path, hybrid=refuses)))
    except (OSError, BuildError) as err:
        if not refuses:
            return Crun(path)
        return Crun("", f"it refuses a cgroup v2 that has controllers beside v1, and what hides that: {err}")


def version_of(text: str) -> tuple[int, int] | None:
    """Major and minor version in what `crun --version` prints."""
    found = re.search(r"^crun version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def refuses_cgroups(controllers: Path = _V2_BESIDE_V1) -> bool:
    """Whether cgroup v2 has controllers beside v1, which crun does not take. controllers: the file that lists them."""
    try:
        return bool(controllers.read_text().strip())
    except OSError:
        return False


def provide(target: Path, path: str, *, hybrid: bool) -> Path:
    """Puts a program into place that executes the crun at a path. Raises BuildError, OSError."""
    return compiler.provide(target, "crun.c", {"CRUN": path, "HIDDEN": str(_V2_BESIDE_V1.parent) if hybrid else ""})

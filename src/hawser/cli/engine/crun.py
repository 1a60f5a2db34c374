"""Whether crun can run this machine's containers, and by which program.

It does in a third of runc's instructions what runc does. Source: crun(1), libcrun's cgroup.c for what it refuses.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from hawser.native import compiler
from hawser.native.compiler import BuildError

_OLDEST = (1, 8)
"""Debian 12's, with which the tests pass; older ones miss what CRI asks for."""
# What containerd writes into the bundles of containers; newer ones at most the newest.
_SPECS = {(1, 6): "1.0.2", (1, 7): "1.2.0"}
_NEWEST = "1.3.0"
_V2_BESIDE_V1 = Path("/sys/fs/cgroup/unified/cgroup.controllers")


class Crun(NamedTuple):
    """path: what is to be executed as crun, "" when it cannot be; why: the reason then."""

    path: str
    why: str = ""


def find(folder: Path, containerd: tuple[int, int] | None = None) -> Crun:
    """The crun of this machine. folder: where the program goes that executes it (crun.c).

    containerd: the version of the one that calls it, None for the newest.
    """
    path = shutil.which("crun")
    if path is None:
        return Crun("", "it is not installed")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    if (version := version_of(said)) is None or version < _OLDEST:
        return Crun("", f"{' '.join(said.split()[:3]) or 'it'} is older than {'.'.join(map(str, _OLDEST))}")
    refuses = refuses_cgroups()
    try:
        program = str(provide(folder / "crun", path, hybrid=refuses))
    except (OSError, BuildError) as err:
        if refuses:
            return Crun("", f"it refuses a cgroup v2 that has controllers beside v1, and what hides that: {err}")
        program = path
    spec = _SPECS.get(containerd, _NEWEST) if containerd else _NEWEST
    if not takes(program, spec):
        return Crun(
            "",
            f"it takes no container of version {spec} of the OCI's runtime specification, as containerd makes them",
        )
    return Crun(program)


def takes(program: str, spec: str) -> bool:
    """Whether a crun runs containers that name a version of the OCI's runtime specification."""
    bundle = {"ociVersion": spec, "linux": {}, "mounts": [], "root": {"path": "nowhere"}}
    with tempfile.TemporaryDirectory(prefix="hawser-crun-") as folder:
        Path(folder, "config.json").write_text(json.dumps({**bundle, "process": {"cwd": "/", "args": ["true"]}}))
        words = [program, "--root", f"{folder}/state", "run", "--bundle", folder, "hawser-try"]
        # It fails either way: there is no root file system.
        said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    return "unknown version" not in said


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

"""Builds and installs `hawser-runtime`: one executable file, a shell launcher with the Python program behind it.

A shell stops reading at the launcher's last exec, and what follows there the program reads as an archive (entry.py). It
holds byte code for the interpreter that installs it, and the sources for any other.
"""

from __future__ import annotations

import marshal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .entry import PROGRAM

_HERE = Path(__file__).parent
_PACKAGE = "hawser_runtime"
_MODULES = (
    *("application", "bundle", "edited", "elf", "entry", "equip", "facts", "faketime", "hookplan", "hookrun", "hooks"),
    *("host", "initd", "kept", "keptdisk", "leftovers", "light", "main", "minimal", "notes", "options", "preload"),
    *("profile", "quoting", "records", "rootfs", "scripts", "spawn", "systemd", "trees", "unit", "units", "verbs"),
    *("view", "watch", "witness"),
)


PYTHON = ("/usr/bin/python3",)
VIEW = "/run/hawser/view"  # of a cluster's node; an engine has one of its own
STATE = "/var/lib/hawser-runtime"
"""What it keeps on a node; not in an engine's data directory, which an engine has for itself."""
ROOTS = f"{STATE}/rootfs"


def build(
    oci_runtime: str = "",
    profiles: str = "",
    view: str = VIEW,
    roots: str = ROOTS,
    python: Sequence[str] = PYTHON,
) -> bytes:
    """The executable's bytes.

    `oci_runtime` is the real runtime's path, "" to look for runc and crun at each call; `profiles` is the socket that
    answers for RichProfiles, "" for none; `view` is the node's view directory, `roots` that of kept root file systems;
    `python` is the command of the interpreter that will run it and is asked for byte code; without that a start takes
    longer.
    """
    for path in (oci_runtime, profiles, view, roots):
        if not all(char.isalnum() or char in "/._+-" for char in path):
            raise ValueError(f"the path has characters that a shell would read: {path!r}")
    sources = {_PACKAGE: ""} | {f"{_PACKAGE}.{name}": (_HERE / f"{name}.py").read_text() for name in _MODULES}
    launcher = (_HERE / "launcher.sh").read_text()
    places = {"@PROGRAM@": PROGRAM, "@REAL@": oci_runtime, "@PROFILES@": profiles, "@VIEW@": view, "@ROOTS@": roots}
    for name, path in places.items():
        launcher = launcher.replace(name, path)
    shell = launcher.encode() + b"exit 1\n"
    written = marshal.dumps(sources, 2)
    magic, codes = _compiled(python, written)
    return shell + marshal.dumps((magic, codes, written), 2) + b"%08d" % len(shell)


def install(
    destination: str | Path,
    oci_runtime: str = "",
    profiles: str | Path = "",
    view: str | Path = VIEW,
    roots: str | Path = ROOTS,
    python: Sequence[str] = PYTHON,
) -> Path:
    """Writes the executable to `destination`, atomically; returns its path.

    The engine installs it into its data directory, a cluster's node into /usr/local/bin.
    """
    path = Path(destination)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = build(oci_runtime, str(profiles), str(view), str(roots), python)
    if path.exists() and path.read_bytes() == content:
        return path
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    temporary.replace(path)
    return path


def _compiled(python: Sequence[str], sources: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Magic number and byte code, without docstrings, by another interpreter; none when that does not run."""
    program = (
        "import sys, marshal, _frozen_importlib_external as external\n"
        "sources = marshal.load(sys.stdin.buffer)\n"
        "codes = {name: compile(text, name, 'exec', dont_inherit=True, optimize=2) for name, text in sources.items()}\n"
        "codes = {name: marshal.dumps(code) for name, code in codes.items()}\n"
        "sys.stdout.buffer.write(marshal.dumps((external.MAGIC_NUMBER, codes), 2))\n"
    )
    try:
        ran = subprocess.run([*python, "-I", "-S", "-c", program], input=sources, capture_output=True)
    except OSError:
        return b"", {}
    magic, codes = marshal.loads(ran.stdout) if ran.returncode == 0 else (b"", {})
    return magic, codes

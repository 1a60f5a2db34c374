"""Building small programs from C on the machine that runs them: where a program starts hundreds of times, in Python or
Go it does little else. Each has another way for machines without a compiler.

Any C compiler does; tcc is the small one (1 MB).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

_FOLDER = Path(__file__).parent
_HEADER = _FOLDER / "bare.h"
_COMPILERS = ("cc", "gcc", "clang")
# Nothing that a compiler adds by itself: there is no library that would have it.
_COMPILE = (
    *("-O2", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector"),
    *("-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables"),
)
_LINK = ("-z", "noexecstack", "--build-id=none")
_LONGEST = 107
"""Bytes of the path of a socket, unix(7)."""


class BuildError(Exception):
    """Something could not be built; the text says why."""


def find_compiler() -> str:
    """A compiler's name, "" when there is none."""
    found = next((name for name in _COMPILERS if shutil.which(name)), "")
    return found or ("tcc" if shutil.which("tcc") and shutil.which("ld") else "")


def _run(*command: str) -> None:
    """Runs a compiler or linker. Raises BuildError with what it said."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BuildError(f"{command[0]} ended with {ran.returncode}: {' '.join(ran.stderr.split())[:300]}")


def provide(
    target: Path, source: str, texts: Mapping[str, str], paths: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Puts a program into place, built first unless that was done before; what runs it meanwhile keeps the old one.

    source: the name of a file beside this one. texts: strings that it is compiled with. paths: strings that are put
    into what was compiled, because they differ between engines. Raises BuildError, OSError.
    """
    rooms = {name: name.ljust(_LONGEST, ".") for name in paths}
    defines = [f"-D{name}={_literal(text)}" for name, text in {**texts, **rooms}.items()]
    parts = (*defines, *_COMPILE, _HEADER.read_text(), (_FOLDER / source).read_text())
    kept = _place(target) / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    if not kept.exists():
        build(find_compiler(), _FOLDER / source, kept, "-static", (*_COMPILE, *defines), _LINK)
    content = kept.read_bytes()
    for name, room in rooms.items():
        if len(path := os.fsencode(paths[name])) > _LONGEST or room.encode() not in content:
            raise BuildError(f"{paths[name]} is too long")
        content = content.replace(room.encode(), path.ljust(_LONGEST, b"\0"))
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(content)
        fresh.chmod(0o755)
        fresh.replace(target)
    return target


def _place(target: Path) -> Path:
    """Where what was built is kept: beside Hawser's own files, for all engines; where that cannot be, for this one."""
    folder = Path(sys.prefix) / "lib" / "hawser"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass
    if not os.access(folder, os.W_OK):
        folder = target.parent / ".built"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(compiler: str, source: Path, target: Path, kind: str, flags: Sequence[str], linking: Sequence[str]) -> None:
    """Compiles a source file and links it, atomically. Raises BuildError, OSError.

    compiler: one that was found; kind: -static or -shared; flags: of those tcc knows -D; linking: ld's.
    """
    if not compiler:
        raise BuildError("there is no C compiler")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        made, between = Path(folder) / target.name, Path(folder) / "between.o"
        if compiler == "tcc":
            _run("tcc", "-c", *(flag for flag in flags if flag.startswith("-D")), "-o", str(between), str(source))
            _run("ld", kind, *linking, "-o", str(made), str(between))
        else:
            _run(compiler, kind, *flags, ",".join(("-Wl", *linking)), "-o", str(made), str(source))
        made.replace(target)


def _literal(text: str) -> str:
    """A string of C."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

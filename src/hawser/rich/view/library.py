"""Building the libraries that programs in containers get, from C, and putting them where containers find them.

``python -m hawser.rich.view.library`` builds them when Hawser is installed, beside Hawser's own files; where that was
not done, the first rich container's node does it.

Any C compiler does. tcc is the small one (1 MB), but a library that it links has no PT_GNU_STACK header, by which glibc
would make the stack of every process executable: what tcc compiles is linked by ld.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from hawser.native import compiler as compilers
from hawser.native.compiler import BuildError, find_compiler
from hawser.runtime.view import LIBRARY, STEADY

SOURCES = {LIBRARY: Path(__file__).with_name("shim.c"), STEADY: Path(__file__).with_name("steady.c")}
# Nothing that a compiler adds by itself: each would be a symbol that some C library lacks.
_COMPILE = (
    *("-fPIC", "-O2", "-nostdlib", "-ffreestanding", "-fvisibility=default"),
    *("-fno-stack-protector", "-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables"),
)
_LINK = ("-z", "relro", "-z", "now", "-z", "noexecstack", "--hash-style=both", "--build-id=none")


def build(target: Path, compiler: str) -> None:
    """Builds the library of `target`'s name there, atomically. Raises BuildError, OSError."""
    linking = (*_LINK, "-soname", target.name)
    compilers.build(compiler, SOURCES[target.name], target, "-shared", _COMPILE, linking)
    target.chmod(0o644)


def built() -> Path:
    """The folder where the libraries of these sources are kept; it need not be there."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES.values())).hexdigest()[:12]
    return Path(sys.prefix) / "lib" / "hawser" / digest


def provide(folder: Path) -> str:
    """Puts the libraries into a folder, built first if need be; why that could not be done, "" when they are there."""
    try:
        for name in SOURCES:
            _provide(built() / name, folder / name)
    except (OSError, BuildError) as err:
        return str(err)
    return ""


def _provide(kept: Path, target: Path) -> None:
    if kept.exists():
        content = kept.read_bytes()
        if not target.exists() or target.read_bytes() != content:
            temporary = target.with_name(target.name + ".new")
            temporary.write_bytes(content)
            temporary.chmod(0o644)
            temporary.replace(target)
    elif not target.exists():
        build(target, find_compiler())


def main() -> None:
    """Builds the libraries where they are kept, unless they are there."""
    missing = [name for name in SOURCES if not (built() / name).exists()]
    if missing and not (compiler := find_compiler()):
        sys.exit("no C compiler (cc, or tcc and ld)")
    try:
        for name in missing:
            built().mkdir(parents=True, exist_ok=True)
            build(built() / name, compiler)
    except (BuildError, OSError) as err:
        sys.exit(str(err))


if __name__ == "__main__":
    main()

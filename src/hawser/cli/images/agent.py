"""The image that `hawser rich install`'s DaemonSet runs: Python of the host's distribution, and this Hawser.

No registry and no build service: what this Hawser runs from is copied, the rest are the distribution's packages.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hawser
from hawser.cli.images.description import RichImage
from hawser.cli.images.oci import Entry, ImageConfig, write_archive, write_layer
from hawser.cli.images.rich import CACHE, RichBuildError, build_base

_HOME = "opt/hawser"
# A Python of the distribution, and nsenter.
PACKAGES = ("python3", "util-linux")
_START = f"""\
#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "/{_HOME}")
from hawser.cli.main import main
main()
"""


def build(
    name: str, destination: Path, cache: Path = CACHE, progress: Callable[[str], None] = lambda _line: None
) -> Path:
    """Builds the archive of the image `name`; about 40 s the first time. Raises RichBuildError."""
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = build_base(RichImage(name, PACKAGES), cache, progress, plain=True)
    progress("adding hawser")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        layer = write_layer(Path(scratch) / "hawser.tar", _entries(wanted))
        config = ImageConfig(
            entrypoint=("/usr/bin/hawser",),
            cmd=("rich", "agent"),
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        write_archive(destination, name, [base, layer], config)
    return destination


def _entries(version: str) -> Iterator[Entry]:
    """Hawser and all that it imports, which its own metadata names."""
    if not Path(f"/usr/bin/python{version}").exists():
        raise RichBuildError(f"this Hawser runs Python {version}, which is not the distribution's: its packages differ")
    yield Entry("usr/bin/hawser", content=_START.encode(), mode=0o755)
    yield Entry("opt")
    yield Entry(_HOME)
    seen: set[str] = set()
    for root, path in sorted(_files()):
        target = f"{_HOME}/{path.relative_to(root).as_posix()}"
        for parent in reversed(Path(target).parents):
            folder = parent.as_posix()
            if folder.startswith(_HOME + "/") and folder not in seen:
                seen.add(folder)
                yield Entry(folder)
        yield Entry(target, content=path.read_bytes(), mode=0o755 if path.suffix == ".sh" else 0o644)


def _files() -> Iterator[tuple[Path, Path]]:
    package = Path(hawser.__file__).parent
    for path in package.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield package.parent, path
    for name in sorted(_needed("hawser")):
        distribution = importlib.metadata.distribution(name)
        root = Path(str(distribution.locate_file(""))).resolve()
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file))).resolve()
            if path.is_relative_to(root) and path.is_file() and "__pycache__" not in path.parts:
                yield root, path


def _needed(name: str, found: set[str] | None = None) -> set[str]:
    """The distributions that one requires, directly or not, without extras."""
    found = set() if found is None else found
    for text in importlib.metadata.requires(name) or ():
        wanted, _, marker = text.partition(";")
        if "extra" in marker:
            continue
        requirement = wanted.split("[")[0].split("(")[0].strip()
        for sign in "=<>!~ ":
            requirement = requirement.partition(sign)[0]
        if requirement.lower() in found:
            continue
        try:
            importlib.metadata.distribution(requirement)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or version of Python
        found.add(requirement.lower())
        _needed(requirement, found)
    return found

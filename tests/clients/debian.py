"""Programs from packages of any Debian release, unpacked into a cache folder; the host stays as it is.

The mirror is the host's own, packages are verified by apt with the host's keys. The cache is
``~/.cache/hawser-tests`` (``HAWSER_TEST_CACHE``), so a package is fetched once a machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from hawser.cli.images.sources import host_sources, os_release

CACHE = Path(os.environ.get("HAWSER_TEST_CACHE") or Path.home() / ".cache" / "hawser-tests")
MINUTES = 10


class Unavailable(Exception):
    """The packages cannot be had here; the text says why."""


def unpacked(suite: str, names: Sequence[str], *, dependencies: str = "") -> Path:
    """The root of a tree with these packages of a release. Unavailable when apt cannot get them.

    dependencies: a pattern of names; what the packages depend on is unpacked as well when it matches.
    """
    key = hashlib.sha256(" ".join((suite, dependencies, *sorted(names))).encode()).hexdigest()[:12]
    root = CACHE / f"{suite}-{names[0]}-{key}"
    with _locked(CACHE / f"{suite}.lock"):
        if not root.is_dir():
            fresh = root.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            (fresh / "packages").mkdir(parents=True)
            apt = _Apt(suite)
            wanted = [*names, *apt.depended(names, dependencies)] if dependencies else list(names)
            apt("download", *wanted, folder=fresh / "packages")
            for package in sorted((fresh / "packages").glob("*.deb")):
                _run(["dpkg-deb", "-x", str(package), str(fresh)])
            shutil.rmtree(fresh / "packages")
            fresh.rename(root)
    return root


def source(suite: str, package: str) -> Path:
    """The tree of a source package of a release, as upstream has it. Unavailable when apt cannot get it."""
    root = CACHE / f"{suite}-{package}-source"
    with _locked(CACHE / f"{suite}.lock"):
        if not root.is_dir():
            fresh = root.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            (fresh / "tree").mkdir(parents=True)
            _Apt(suite, "deb-src")("source", "--download-only", package, folder=fresh)
            (archive,) = fresh.glob("*.orig.tar.*")
            _run(["tar", "xf", str(archive), "-C", str(fresh / "tree"), "--strip-components=1"])
            (fresh / "tree").rename(root)
            shutil.rmtree(fresh)
    return root


def program(tree: Path, name: str) -> Path:
    """A program of a tree, made to run with the tree's own C library, which may be newer than the host's.

    The tree has to have it: `unpacked` with dependencies "lib*". A script that calls the tree's ld.so would not do:
    runc executes itself again, by /proc/self/exe.
    """
    place = next(path for path in (tree / "usr/bin" / name, tree / "usr/sbin" / name) if path.is_file())
    made = tree / "run" / name
    if not made.exists():
        made.parent.mkdir(exist_ok=True)
        libraries = tree / "usr/lib/x86_64-linux-gnu"
        patchelf = unpacked(host_sources()[0], ["patchelf"]) / "usr/bin/patchelf"
        options = ("--set-interpreter", str(libraries / "ld-linux-x86-64.so.2"), "--set-rpath", str(libraries))
        fresh = made.with_name(f"{name}.{os.getpid()}")
        _run([str(patchelf), *options, "--output", str(fresh), str(place)])
        fresh.rename(made)
    return made


class _Apt:
    """apt-get with folders of its own: another release's lists, nothing installed."""

    def __init__(self, suite: str, kind: str = "deb") -> None:
        if shutil.which("apt-get") is None or os_release(Path("/etc/os-release").read_text()).get("ID") != "debian":
            raise Unavailable("packages of Debian releases are got with the apt of a Debian host")
        here = CACHE / "apt" / (suite if kind == "deb" else f"{suite}-{kind}")
        for folder in ("lists/partial", "cache/archives/partial"):
            (here / folder).mkdir(parents=True, exist_ok=True)
        (here / "status").touch()
        (here / "sources.list").write_text("\n".join(_sources(suite, kind)) + "\n")
        self._options = [
            *(
                f"-oDir::State={here}",
                f"-oDir::State::Lists={here / 'lists'}",
                f"-oDir::State::status={here / 'status'}",
            ),
            *(f"-oDir::Cache={here / 'cache'}", f"-oDir::Etc::SourceList={here / 'sources.list'}"),
            *("-oDir::Etc::SourceParts=/dev/null", "-oAcquire::Languages=none", "-oAcquire::Retries=3"),
            *("-oAPT::Sandbox::User=", "-oAPT::Install-Recommends=false", "-oDebug::NoLocking=true"),
        ]
        self("update", "-q")

    def __call__(self, *arguments: str, folder: Path | None = None) -> str:
        return _run(["apt-get", *self._options, *arguments], folder)

    def depended(self, names: Sequence[str], pattern: str) -> list[str]:
        """What the packages depend on, directly or not, by apt's own choice."""
        plan = self("install", "--simulate", "-q", *names)
        installed = (line.split()[1] for line in plan.splitlines() if line.startswith("Inst "))
        return [name for name in installed if fnmatch(name, pattern) and name not in names]


def _sources(suite: str, kind: str) -> Iterator[str]:
    """The host's sources of its release itself, with another release in its place."""
    try:
        host, sources = host_sources()
    except LookupError as error:
        raise Unavailable(str(error)) from None
    for source in sources:
        words = source.split()
        place = words.index(host) if host in words else 0
        if place:
            yield " ".join([kind, *words[1:place], suite, "main"])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60 * MINUTES)
    if done.returncode:
        raise Unavailable(f"{command[0]} {command[-1]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout

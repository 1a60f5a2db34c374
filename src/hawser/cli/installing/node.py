"""Making one node ready for rich containers: hawser-runtime, and the drop-in of its container runtime."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hawser.cli.installing import dropins
from hawser.runtime.install import install

_OLDEST = 9  # of Python 3
_RUNTIMES = ("runc", "crun")
_PLACES = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_INITS = ("catatonit", "tini-static", "docker-init", "tini", "dumb-init")


class NodeError(Exception):
    """A node that can not have rich containers; the text says what it lacks."""


@dataclass(frozen=True)
class Done:
    """What was written, and which services have to start again to see it. notes: what works only in part."""

    files: tuple[str, ...]
    restart: tuple[str, ...]
    notes: tuple[str, ...] = ()


def prepare(root: Path, runtime: str = dropins.RUNTIME, profiles: str = "") -> Done:
    """Writes what a node lacks. Quiet about what is there. Raises NodeError, OSError.

    root: the node's root directory. profiles: where an agent answers for RichProfiles, "" for nodes without one.
    """
    if not _has(root, "python3"):
        raise NodeError(
            "the node has no python3, which hawser-runtime needs (3.9 or newer, all of its standard library)"
        )
    if old := _too_old(root):
        raise NodeError(f"the node's newest Python is {old}; hawser-runtime needs 3.9 or newer")
    if not any(_has(root, name) for name in _RUNTIMES):
        raise NodeError("the node has neither runc nor crun")
    containerd = _has(root, "containerd") or (root / dropins.CONTAINERD[1:]).exists()
    crio = _has(root, "crio") or (root / "etc/crio").is_dir()
    if not containerd and not crio:
        raise NodeError("the node has neither containerd nor CRI-O where they usually are")
    written, restart = [], []
    binary = root / runtime.lstrip("/")
    before = binary.read_bytes() if binary.exists() else b""
    python = ["chroot", str(root), "/usr/bin/python3"]  # what runs it there; this image's own may be another
    if install(binary, profiles=profiles, python=python).read_bytes() != before:
        written.append(runtime)
    if containerd:
        files = _containerd(root, runtime)
        written += files
        restart += ["containerd"] if files else []
    if crio and _write(root, dropins.CRIO_DROP_IN, dropins.crio_drop_in(runtime)):
        written.append(dropins.CRIO_DROP_IN)
        restart.append("crio")
    notes = () if any(_has(root, name) for name in _INITS) else ("no static init: `init: minimal` is refused here",)
    return Done(tuple(written), tuple(restart), notes)


def remove(root: Path, runtime: str = dropins.RUNTIME) -> Done:
    """Takes away what `prepare` wrote. Raises OSError."""
    gone = []
    for path in (runtime, dropins.CONTAINERD_DROP_IN, dropins.CRIO_DROP_IN):
        if (root / path.lstrip("/")).exists():
            (root / path.lstrip("/")).unlink()
            gone.append(path)
    main = root / dropins.CONTAINERD[1:]
    if main.exists() and (text := dropins.removed(main.read_text())) != main.read_text():
        _write(root, dropins.CONTAINERD, text)
        gone.append(dropins.CONTAINERD)
    restart = [name for name in ("containerd", "crio") if any(name in path for path in gone)]
    return Done(tuple(gone), tuple(restart))


def restart(services: tuple[str, ...], run: Callable[[list[str]], str]) -> None:
    """Restarts services of the node's systemd; their containers go on. run: runs a command on the node."""
    for service in services:
        run(["systemctl", "restart", service])


def on_host(command: list[str]) -> str:
    """Runs a command in the namespaces of the node's first process. Raises NodeError."""
    ran = subprocess.run(["nsenter", "--target", "1", "--mount", "--", *command], capture_output=True, text=True)
    if ran.returncode:
        raise NodeError(f"{' '.join(command)}: {ran.stderr.strip() or ran.returncode}")
    return ran.stdout


def _containerd(root: Path, runtime: str) -> list[str]:
    main = root / dropins.CONTAINERD[1:]
    folder = root / "etc/containerd/conf.d"
    imported = {"/" + str(p.relative_to(root)): p.read_text() for p in sorted(folder.glob("*.toml"))}
    try:
        files = dropins.containerd_files(main.read_text() if main.exists() else "", imported, runtime)
    except dropins.ConfigError as error:
        raise NodeError(str(error)) from None
    for path, text in files.items():
        _write(root, path, text)
    return list(files)


def _write(root: Path, path: str, text: str) -> bool:
    place = root / path.lstrip("/")
    if place.exists() and place.read_text() == text:
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(place.name + ".new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(place)
    return True


def _too_old(root: Path) -> str:
    """The version of the newest Python 3 that can be told by its name, if hawser-runtime does not run on it."""
    found = [int(path.suffix[1:]) for path in (root / "usr/bin").glob("python3.*") if path.suffix[1:].isdigit()]
    return f"3.{max(found)}" if found and max(found) < _OLDEST else ""


def _has(root: Path, name: str) -> bool:
    return any((root / place / name).exists() or (root / place / name).is_symlink() for place in _PLACES)

"""The files of a release: what a directory here holds, and what a container has in its place."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hawser.cli.context import Failure
from hawser.cli.images.lifting.selection import Rule, Selection


@dataclass(frozen=True, slots=True)
class File:
    """One file. mode: its type and permissions as in inode(7); mtime: seconds; target: of a symbolic link."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: str = ""
    to_directory: bool = False
    """A symbolic link that leads to a directory."""

    @property
    def kind(self) -> int:
        """The type's bits."""
        return stat.S_IFMT(self.mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)


Files = dict[str, File]
"""By path below the directory, parents first."""


def excluded(patterns: Sequence[str]) -> Selection:
    """What is left out: patterns as in rsync's simple cases; one without a slash matches at any depth."""
    rules = []
    for pattern in patterns:
        clean = pattern.strip("/")
        rules.append(Rule(clean, pattern))
        if "/" not in pattern.strip("/") and not pattern.startswith("/"):
            rules.append(Rule("**/" + clean, pattern))
    return Selection(rules)


def local(root: Path, selection: Selection, owner: tuple[int, int] | None = None) -> Files:
    """What a directory holds. owner: who shall own all of it. Raises Failure for what a release can not carry."""
    if not root.is_dir():
        raise Failure(f"{root} is not a directory", "--src names the directory whose content is released")
    found: Files = {}

    def walk(folder: str) -> None:
        with os.scandir(root / folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if selection.left_out(path) is not None:
                continue
            if "\n" in path:
                raise Failure(f"{path!r} has a line break in its name", "leave it out with --exclude")
            info = entry.stat(follow_symlinks=False)
            uid, gid = owner or (info.st_uid, info.st_gid)
            if stat.S_ISDIR(info.st_mode):
                found[path] = File(info.st_mode, uid, gid, 0, int(info.st_mtime))
                walk(path)
            elif stat.S_ISLNK(info.st_mode):
                found[path] = File(info.st_mode, uid, gid, 0, int(info.st_mtime), os.readlink(entry.path))  # noqa: PTH115
            elif stat.S_ISREG(info.st_mode):
                found[path] = File(info.st_mode, uid, gid, info.st_size, int(info.st_mtime))
            else:
                raise Failure(f"{path} is neither a file, a directory nor a symbolic link", "leave it out: --exclude")

    walk("")
    return found


def parse(listing: str, links: str) -> Files:
    """What a container told of its files; see ``scripts.LIST`` for the form of both parts."""
    targets = {}
    for record in links.split("//\n"):
        kind, _, rest = record.partition(" ")
        path, separator, target = rest.partition("//")
        if separator:
            targets[path.removeprefix("./")] = (target, kind == "d")
    found: Files = {}
    for record in listing.split("//\n"):
        fields = record.split(" ", 5)
        if len(fields) < 6 or fields[5] == ".":
            continue
        path = fields[5].removeprefix("./")
        mode, (uid, gid, size, mtime) = int(fields[0], 16), map(int, fields[1:5])
        target, leads = targets.get(path, ("", False))
        found[path] = File(mode, uid, gid, size if stat.S_ISREG(mode) else 0, mtime, target, leads)
    return dict(sorted(found.items()))


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(text: str) -> dict[str, str]:
    """What sha256sum(1) printed: digests by path; it writes a backslash ahead of names that it had to escape."""
    found = {}
    for line in text.splitlines():
        value, _, path = line.partition("  ")
        if value.startswith("\\"):
            value, path = value[1:], path.replace("\\\\", "\\")
        found[path.removeprefix("./")] = value
    return found


def deepest_first(paths: Iterable[str]) -> list[str]:
    """In the order in which they can be removed."""
    return sorted(paths, key=lambda path: (path.count("/"), path), reverse=True)

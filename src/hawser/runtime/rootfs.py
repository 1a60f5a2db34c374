# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH115, PTH118, PTH123, PTH208
"""Looking into a container's file system from outside, before it runs, as the container will see it.

Absolute symbolic links are the container's own, bind mounts of the bundle count, and nothing is ever followed out of
the root file system: an image is untrusted input. So is a volume, which another container of the pod may change at the
same time: what is read is opened part by part, and no link that came meanwhile is followed.
"""

from __future__ import annotations

import os
import stat

from .light import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing import BinaryIO

_MAX_LINKS = 40  # what the kernel follows, path_resolution(7)
# Every container has them, whatever is mounted at /dev: "Default Devices" of the OCI runtime specification.
_ALWAYS = {"/dev": stat.S_IFDIR, "/dev/null": stat.S_IFCHR}


class Mount(NamedTuple):
    """A mount of the bundle: where it will appear, and the host's path behind it ("" when only the kernel knows)."""

    destination: str
    source: str


class RootFS:
    """The file system of a bundle: its root directory and what is bind-mounted into it."""

    def __init__(self, root: str, mounts: list[Mount]) -> None:
        self._root = root
        # The last mount over a place wins, and so does the deepest.
        self._mounts = sorted(mounts, key=lambda mount: len(mount.destination), reverse=True)

    @classmethod
    def of_bundle(cls, bundle: str, spec: dict[str, Any]) -> RootFS:
        """The file system that an OCI bundle describes; relative paths in it are relative to the bundle."""
        mounts = []
        for mount in spec.get("mounts") or []:
            options = mount.get("options") or []
            bind = mount.get("type") == "bind" or "bind" in options or "rbind" in options
            source = os.path.join(bundle, mount.get("source", "")) if bind else ""
            mounts.append(Mount(os.path.normpath(mount["destination"]), source))
        return cls(os.path.join(bundle, spec["root"]["path"]), mounts)

    def resolve(self, path: str) -> str | None:
        """The path without symbolic links, as the container sees it; None when it does not exist."""
        todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
                continue
            here = "/" + "/".join([*done, part])
            mode = self._mode(here)
            if mode is None:
                return None
            if not stat.S_ISLNK(mode):
                done.append(part)
                continue
            links += 1
            target = os.readlink(self._host(here) or "")
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                done = []
            todo.extend(piece for piece in reversed(target.split("/")) if piece not in ("", "."))
        return "/" + "/".join(done)

    def executable(self, path: str) -> bool:
        """Whether the path leads to a regular file with an execute bit."""
        real = self.resolve(path)
        mode = self._mode(real) if real else None
        return mode is not None and stat.S_ISREG(mode) and bool(mode & 0o111)

    def same(self, one: str, other: str) -> bool:
        """Whether two paths lead to the same file, hard links included."""
        found = [self.resolve(path) for path in (one, other)]
        hosts = [self._host(path) for path in found if path]
        if len(hosts) < 2 or not hosts[0] or not hosts[1]:
            return False
        return os.path.samestat(os.lstat(hosts[0]), os.lstat(hosts[1]))

    def hidden(self, path: str) -> bool:
        """Whether the path lies on a mount whose content only the kernel knows, a tmpfs for one."""
        return self._host(os.path.normpath(path)) is None

    def own(self, path: str) -> str:
        """The host's path of a file of the image itself, which nobody changes before the container runs; else ""."""
        real = self.resolve(path)
        base, below = self._base(real) if real else ("", "")
        return os.path.join(base, below) if base == self._root else ""

    def open(self, path: str) -> BinaryIO | None:
        """A regular file, to be read and closed; None when there is none, or only the kernel knows."""
        real = self.resolve(path)
        base, below = self._base(real) if real else ("", "")
        if not base:
            return None
        here = -1
        try:
            here = os.open(base, os.O_PATH | os.O_CLOEXEC)
            for part in filter(None, below.split("/")):
                there = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = there
            # Not before it is known what it is: a pipe waits for a writer, and a device may do anything.
            return open(f"/proc/self/fd/{here}", "rb") if stat.S_ISREG(os.fstat(here).st_mode) else None
        except OSError:
            return None
        finally:
            if here >= 0:
                os.close(here)

    def read(self, path: str, limit: int = 1 << 20) -> str | None:
        """Up to `limit` bytes of a regular file as text; None when there is none."""
        file = self.open(path)
        if file is None:
            return None
        with file:
            return file.read(limit).decode("utf-8", "replace")

    def names(self, path: str) -> list[str]:
        """What a directory holds; nothing when there is none."""
        real = self.resolve(path)
        try:
            return os.listdir(self._host(real) or "") if real else []
        except OSError:
            return []

    def _base(self, path: str) -> tuple[str, str]:
        """The host's path of the mount that a path lies on, "" when only the kernel knows, and what follows it."""
        for mount in self._mounts:
            if path == mount.destination or path.startswith(mount.destination.rstrip("/") + "/"):
                return mount.source, path[len(mount.destination) :].lstrip("/")
        return self._root, path.lstrip("/")

    def _host(self, path: str) -> str | None:
        base, below = self._base(path)
        return os.path.join(base, below).rstrip("/") if base else None

    def _mode(self, path: str) -> int | None:
        host = self._host(path)
        try:
            return os.lstat(host).st_mode if host else _ALWAYS.get(path)
        except OSError:
            return _ALWAYS.get(path)

# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH115, PTH118, PTH123, PTH208
"""Looking into a container's file system from outside, before it runs, as the container will see it.

Absolute symbolic links are the container's own, bind mounts of the bundle count, and nothing is ever followed out of
the root file system: an image is untrusted input.
"""

from __future__ import annotations

import os
import stat

from .light import Any, NamedTuple

_MAX_LINKS = 40  # what the kernel follows, path_resolution(7)


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

    def host(self, path: str) -> str:
        """The host's path of what a path leads to; "" when it does not exist or only the kernel knows."""
        real = self.resolve(path)
        return (self._host(real) or "") if real else ""

    def host_path(self, path: str) -> str | None:
        """The host's path of a regular file; None when there is none, or only the kernel knows."""
        real = self.resolve(path)
        mode = self._mode(real) if real else None
        return self._host(real) if real and mode is not None and stat.S_ISREG(mode) else None

    def read(self, path: str, limit: int = 1 << 20) -> str | None:
        """Up to `limit` bytes of a regular file as text; None when there is none."""
        host = self.host_path(path)
        if host is None:
            return None
        with open(host, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")

    def names(self, path: str) -> list[str]:
        """What a directory holds; nothing when there is none."""
        real = self.resolve(path)
        try:
            return os.listdir(self._host(real) or "") if real else []
        except OSError:
            return []

    def _host(self, path: str) -> str | None:
        for mount in self._mounts:
            if path == mount.destination or path.startswith(mount.destination.rstrip("/") + "/"):
                rest = path[len(mount.destination) :].lstrip("/")
                return os.path.join(mount.source, rest).rstrip("/") if mount.source else None
        return os.path.join(self._root, path.lstrip("/"))

    def _mode(self, path: str) -> int | None:
        host = self._host(path)
        try:
            return os.lstat(host).st_mode if host else None
        except OSError:
            return None

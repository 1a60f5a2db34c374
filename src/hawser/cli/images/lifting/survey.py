"""What a stream of files tells about the machine they come from, gathered while they pass."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from hawser.cli.images.lifting.masking import KINDS
from hawser.cli.images.lifting.selection import Rule

CAPTURED_BYTES = 256 * 1024  # a configuration file is smaller
UNIT_DIRECTORIES = (
    "etc/systemd/system/",
    "usr/local/lib/systemd/system/",
    "usr/lib/systemd/system/",
    "lib/systemd/system/",
)
_UNIT = re.compile(r"[^/]+\.(?:" + "|".join(KINDS) + ")")
_SHARED = re.compile(r"(?:usr/)?lib(?:64|/[^/]+)?(?:/systemd)?/libsystemd-(?:shared|core)-(\d+)[^/]*\.so")
_RC_LINK = re.compile(r"etc/(?:rc\.d/)?rc[2345]\.d/S\d\d(.+)")
# What a sysv init and OpenRC start at boot.
_START = re.compile(r"etc/(?:(?:rc\.d/)?rc[S2345]\.d/S\d\d|runlevels/[^/]+/)(.+?)(?:\.sh)?")
_SYSINIT = re.compile(r"^[^#:\n]*:[^:\n]*:sysinit:", re.MULTILINE)  # an entry of inittab(5) that upstart does not have
_SCRIPT = re.compile(r"etc/(?:rc\.d/)?init\.d/([^/.]+)")
_INITS = frozenset({"sbin/init", "usr/sbin/init"})
_NO_SCRIPTS = frozenset(
    {"README", "functions", "rc", "rcS", "skeleton", "halt", "reboot", "single", "sendsigs", "killall"}
)


@dataclass(frozen=True)
class Captured:
    """A file's content, with what is needed to write it again."""

    content: bytes
    mode: int
    uid: int
    gid: int

    @property
    def text(self) -> str:
        """The content, whatever its encoding."""
        return self.content.decode(errors="replace")


@dataclass
class Survey:
    """Facts about a machine's files. Paths are from the root, without a leading slash."""

    files: dict[str, Captured] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)  # directories and programs that decide something
    sizes: Counter[str] = field(default_factory=Counter)  # bytes by directory, up to three deep
    left_out: Counter[Rule] = field(default_factory=Counter)  # how many paths were seen and left out
    devices: int = 0
    total: int = 0
    count: int = 0
    sparse: dict[str, int] = field(default_factory=dict)  # large sparse files with their whole size
    systemd: int = 0
    notes: list[str] = field(default_factory=list)

    def wants(self, path: str, size: int) -> bool:
        """Whether the content of a regular file is to be captured."""
        known = path.startswith(("etc/", *UNIT_DIRECTORIES)) or path == "usr/lib/os-release"
        return known and size <= CAPTURED_BYTES

    def directory(self, path: str) -> None:
        """A directory passes."""
        if path.count("/") <= 2:
            self.paths.add(path)

    def link(self, path: str, target: str) -> None:
        """A symbolic link passes."""
        if (
            path.startswith("etc/")
            or path.startswith(UNIT_DIRECTORIES)
            or "/" not in path
            or path.endswith("sbin/init")
        ):
            self.links[path] = target

    def file(self, path: str, size: int) -> None:
        """A regular file (or the first of its hard links) passes; `size` in bytes that it takes."""
        self.count += 1
        self.total += size
        parts = path.split("/")[:-1]
        for depth in range(min(3, len(parts))):
            self.sizes["/".join(parts[: depth + 1])] += size
        if path.endswith(("/systemd/systemd", "bin/init", "bin/busybox")):
            self.paths.add(path)
        if found := _SHARED.fullmatch(path):
            self.systemd = max(self.systemd, int(found[1]))

    def units(self) -> set[str]:
        """The names of the units and sysv scripts that are there; without systemd of the scripts that start."""
        if self.init() == "init":
            return set(self.starts())
        found = set()
        for path in (*self.files, *self.links):
            name = path.rpartition("/")[2]
            if any(path == start + name for start in UNIT_DIRECTORIES) and _UNIT.fullmatch(name):
                if self.links.get(path) != "/dev/null":
                    found.add(name)
            elif (script := _SCRIPT.fullmatch(path)) and script[1] not in _NO_SCRIPTS:
                found.add(script[1] + ".service")
        return found

    def masked(self) -> set[str]:
        """Units that the machine's administrator has masked."""
        start = UNIT_DIRECTORIES[0]
        return {path[len(start) :] for path, to in self.links.items() if path.startswith(start) and to == "/dev/null"}

    def enabled(self) -> set[str]:
        """The units that some target or unit wants, and the sysv scripts of the usual run levels."""
        if self.init() == "init":
            return set(self.starts())
        found = set()
        for path in self.links:
            if found_link := _RC_LINK.fullmatch(path):
                if found_link[1] not in _NO_SCRIPTS:
                    found.add(found_link[1] + ".service")
                continue
            parent, _, name = path.rpartition("/")
            if path.startswith(UNIT_DIRECTORIES) and parent.endswith((".wants", ".requires")) and _UNIT.fullmatch(name):
                found.add(name)
        return found - self.masked()

    def starts(self) -> dict[str, list[str]]:
        """Without systemd: the links by which the init starts a service's script, by the service's name."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.links):
            if (start := _START.fullmatch(path)) and start[1] not in _NO_SCRIPTS:
                found.setdefault(start[1] + ".service", []).append(path)
        return found

    def unit_text(self, unit: str) -> str:
        """A unit's file with its drop-ins; empty when it has none."""
        base, at, _ = unit.partition("@")
        names = {unit, f"{base}@.{unit.rpartition('.')[2]}"} if at else {unit}
        texts = []
        for name in sorted(names):
            texts += [self.files[start + name].text for start in UNIT_DIRECTORIES[:1] if start + name in self.files]
            if not texts:
                texts += [self.files[s + name].text for s in UNIT_DIRECTORIES[1:] if s + name in self.files][:1]
            texts += [c.text for path, c in sorted(self.files.items()) if f"/system/{name}.d/" in path]
        return "\n".join(texts)

    def release(self) -> dict[str, str]:
        """os-release(5) as a mapping."""
        captured = self.files.get("etc/os-release") or self.files.get("usr/lib/os-release")
        pairs = (line.partition("=") for line in (captured.text if captured else "").splitlines() if "=" in line)
        return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs if not key.startswith("#")}

    def init(self) -> str:
        """What pid 1 would be, a value of `rich.hawser.dev/init`."""
        if any(path.endswith("/systemd/systemd") for path in self.paths):
            return "systemd"
        target = next((self.links[path] for path in ("sbin/init", "usr/sbin/init") if path in self.links), "")
        if target.endswith("systemd"):
            return "systemd"
        table = self.files.get("etc/inittab")
        sysv = not target and table is not None and _SYSINIT.search(table.text) and self.paths & _INITS
        return "init" if target.endswith("busybox") or sysv else "minimal"

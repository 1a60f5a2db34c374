# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH113, PTH123
"""An application with a clock of its own: libfaketime of the node, loaded into the application and what it starts.

Only programs that ask their C library for the time can be told another one. Which those are is looked up before the
container runs, so that what cannot work is refused and not silently given the true time.
"""

from __future__ import annotations

import os
import re
import stat

from .edited import HOME, EditError
from .elf import inspect
from .facts import FaketimeFacts
from .light import TYPE_CHECKING, Any
from .preload import with_preload
from .rootfs import RootFS

if TYPE_CHECKING:
    from typing import BinaryIO

_PLACE = HOME + "-time"
# libfaketime's README: a shift, a moment (with @ the clock goes on from there, in each process anew), a pace.
_SHIFT = r"[+-]\d{1,9}(?:\.\d{1,9})?[smhdy]?"
_MOMENT = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(?:\.\d{1,9})?"
_PACE = r"[xi]\d{1,6}(?:\.\d{1,6})?"
_VALUE = rf"(?:{_SHIFT}|@{_MOMENT})(?: {_PACE})?|{_MOMENT}|{_PACE}"
_FOLDERS = ("/usr/lib/{}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")  # {}: of the machine
_LIBRARY = "faketime/libfaketimeMT.so.1"  # the one for programs with threads; the others do not mind
_VERSION = rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)"
_MOST_INTERPRETERS = 5  # as the kernel has it, execve(2)
_LARGEST = 1 << 24  # bytes of a C library that are looked at


def valid(text: str) -> bool:
    """Whether libfaketime understands a time."""
    return re.fullmatch(_VALUE, text) is not None


def gather(rootfs: RootFS, process: dict[str, Any], executable: str, search: str, steady: str) -> FaketimeFacts:
    """The facts. executable: the application's, in the image; search: its PATH; steady: our library, on the node."""
    machine = os.uname().machine
    paths = (f"{folder.format(machine)}/{_LIBRARY}" for folder in _FOLDERS)
    library = next((path for path in paths if os.path.isfile(path)), "")
    if not library:
        return FaketimeFacts(refusal="this node has no libfaketime; its Debian package is libfaketime")
    if not os.path.isfile(steady):
        return FaketimeFacts(refusal=f"this node has no {steady}")
    # What a program does not have is told elsewhere.
    refusal = _refusal(rootfs, process, executable, search, library) if executable else ""
    return FaketimeFacts((steady, library), refusal)


def apply_time(spec: dict[str, Any], time: str, facts: FaketimeFacts) -> tuple[str, ...]:
    """The variables by which an application has another time; mounts in `spec` what they need.

    Raises EditError where that cannot work.
    """
    if facts.refusal:
        raise EditError(f"time: {facts.refusal}")
    env = spec["process"].get("env") or []
    # A pace alone it takes for no change at all. Timers and time-outs count by the monotonic clock, which stays.
    added = {"FAKETIME": time if time[0] not in "xi" else "+0 " + time, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    mounts = spec.setdefault("mounts", [])
    for number, library in reversed(tuple(enumerate(facts.libraries))):
        place = f"{_PLACE}{number}.so"
        env = with_preload(env, place)
        options = ["bind", "ro", "nosuid", "nodev"]
        mounts.append({"destination": place, "type": "bind", "source": library, "options": options})
    return (*(f"{name}={value}" for name, value in added.items()), env[-1])


def _refusal(rootfs: RootFS, process: dict[str, Any], executable: str, search: str, library: str) -> str:
    path, file = executable, rootfs.open(executable)
    for _ in range(_MOST_INTERPRETERS):
        interpreter = _interpreter(rootfs, file, search) if file else None
        if interpreter is None:
            break
        if file:
            file.close()
        path, file = interpreter, rootfs.open(interpreter)
    if file is None:
        return f"{path} cannot be looked into"
    with file, open(library, "rb") as ours:
        if _gains_privileges(file, process):
            return f"{path} is setuid, setgid or has file capabilities; nothing is loaded into such a program"
        program, node = inspect(file), inspect(ours)
    if program is None:
        return f"{path} is not a program of this machine"
    if program.go:
        return f"{path} is a Go program, which asks the kernel for the time and not a library"
    if not program.interpreter:
        return f"{path} is statically linked, so that no library can be loaded into it"
    if node is not None and program.machine != node.machine:
        return f"{path} is for {program.machine or 'another machine'}, libfaketime of this node for {node.machine}"
    if "ld-musl" in program.interpreter:
        return f"{path} uses the C library musl; libfaketime of this node needs glibc"
    return _too_old(rootfs, program.interpreter, library)


def _interpreter(rootfs: RootFS, file: BinaryIO, search: str) -> str | None:
    """What runs a script; None for what is none."""
    first = file.read(256).split(b"\n")[0].decode("utf-8", "replace")
    if not first.startswith("#!"):
        return None
    words = first[2:].split()
    if not words or words[0].rpartition("/")[2] != "env":
        return words[0] if words else None
    named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    places = (f"{place.rstrip('/')}/{named[0]}" for place in search.split(":")) if named else ()
    return next((place for place in places if rootfs.executable(place)), words[0])


def _gains_privileges(file: BinaryIO, process: dict[str, Any]) -> bool:
    """Whether the kernel would run a program in secure mode, in which ld.so(8) takes no LD_PRELOAD from afar."""
    user, found = process.get("user") or {}, os.fstat(file.fileno())
    if found.st_mode & stat.S_ISUID and found.st_uid != user.get("uid", 0):
        return True
    if found.st_mode & stat.S_ISGID and found.st_mode & stat.S_IXGRP and found.st_gid != user.get("gid", 0):
        return True
    return user.get("uid", 0) != 0 and "security.capability" in os.listxattr(file.fileno())


def _too_old(rootfs: RootFS, interpreter: str, library: str) -> str:
    """Why the image's C library cannot have the node's libfaketime, by the versions of both; "" when it can."""
    places = ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
    folder = (rootfs.resolve(interpreter) or "/").rpartition("/")[0]
    files = (rootfs.open(f"{place}/libc.so.6") for place in (folder, *places))
    libc = next((file for file in files if file), None)
    if libc is None:
        return "the image has no libc.so.6"
    with libc, open(library, "rb") as ours:
        needed, has = _newest(ours), _newest(libc)
    if needed <= has:
        return ""
    text = "{}.{}".format
    return f"libfaketime of this node needs glibc {text(*needed)}, the image has {text(*has)}"


def _newest(file: BinaryIO) -> tuple[int, int]:
    # No C library is larger; an image's file may be as large as it likes.
    versions = [(int(major), int(minor)) for major, minor in re.findall(_VERSION, file.read(_LARGEST))]
    return max(versions, default=(0, 0))

"""Running other programs without `subprocess`, which takes longer to load than all of an edit."""

from __future__ import annotations

import os

from .light import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NoReturn

_SIGPIPE = 13  # Python ignores it, and so would whatever it executes
_READ = 65536


def start(words: list[str], streams: dict[int, int] | None = None, session: bool = False) -> int:
    """Starts a program; its process id. The name is looked for in PATH when it has no slash. Raises OSError.

    streams: which descriptor of ours is which of its, -1 for /dev/null; the others it has as we have them.
    session: it leads one of its own.
    """
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_DUP2, given, own) if given >= 0 else (os.POSIX_SPAWN_OPEN, own, os.devnull, os.O_RDWR, 0)
        for own, given in (streams or {}).items()
    ]
    return os.posix_spawnp(words[0], words, os.environ, file_actions=actions, setsid=session, setsigdef=[_SIGPIPE])


def become(words: list[str]) -> NoReturn:
    """Executes a program in place of this one. Raises OSError."""
    import _signal  # type: ignore[import-not-found]  # what is below `signal`, which takes long to load

    _signal.signal(_SIGPIPE, _signal.SIG_DFL)
    os.execv(words[0], words)


def ended(pid: int) -> int:
    """Waits for a program; its exit code, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(words: list[str], quiet: bool = False) -> int:
    """Runs a program to its end. quiet: it has nothing to read, and what it says is nobody's."""
    return ended(start(words, {0: -1, 1: -1, 2: -1} if quiet else None))


def read(words: list[str], stream: int = 1) -> tuple[int, bytes]:
    """Runs a program to its end; its code, and what it writes to one stream. The other streams lead nowhere."""
    reading, writing = os.pipe()
    try:
        pid = start(words, {0: -1, 1: -1, 2: -1, stream: writing})
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    data = b""
    while piece := os.read(reading, _READ):
        data += piece
    os.close(reading)
    return ended(pid), data

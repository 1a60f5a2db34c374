"""Waits for the end of a container, as its parent, in as little memory as Python can do with.

What the end asks for is another process's, begun afresh: hawser-runtime may have been replaced by then, and what was
loaded of the old file would not fit the new one.
"""

from __future__ import annotations

import os
import sys
import time

from .entry import again


def main(argv: list[str]) -> int:
    """`watch HOME PID`: waits without reaping, has `finish` do its work, and returns the container's code."""
    home, pid = argv[0], int(argv[1])
    while True:
        seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if seen is None or seen.si_pid == pid:
            break
        os.waitid(os.P_PID, seen.si_pid, os.WEXITED)  # an orphan that came to us
    status, killed = (seen.si_status, seen.si_code != os.CLD_EXITED) if seen else (0, False)
    words = again("finish", home, str(status), "01"[killed], repr(time.time()))
    os.waitpid(os.posix_spawn(sys.executable, words, os.environ), 0)
    return 128 + status if killed else status

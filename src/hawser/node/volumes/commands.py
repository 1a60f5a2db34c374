"""Commands of the node that volumes need."""

from __future__ import annotations

import subprocess

_SECONDS = 120


def run(command: list[str], *, lock: int | None = None) -> str:
    """Runs a command; "" when it succeeds, else its status and, in further lines, its output.

    lock: the descriptor of a lock that the command holds, too; such a one is not cut short.
    """
    keep, seconds = ((), _SECONDS) if lock is None else ((lock,), None)
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False, pass_fds=keep)
    except FileNotFoundError:
        return f'exec: "{command[0]}": executable file not found in $PATH'
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {_SECONDS} s"
    output = (done.stdout + done.stderr).decode(errors="replace").strip()
    return f"exit status {done.returncode}\n{output}" if done.returncode else ""

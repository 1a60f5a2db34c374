"""Names of files that a container has chosen, for people to read."""

from __future__ import annotations

import re

_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")  # one that is no UTF-8, as Python has it in names


def shown(path: str) -> str:
    """A path on one line, without anything that a terminal would take for a command."""
    escaped = "".join(c if c.isprintable() and c != "\\" else c.encode("unicode-escape").decode() for c in path)
    return _BYTE.sub(r"\\x\1", escaped)

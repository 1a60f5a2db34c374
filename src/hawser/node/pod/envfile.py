"""Files of variables that containers leave for others of their pod: ``NAME='value'``, one after the other.

Source: KEP-3721, "Support for env files"; Kubernetes documentation, "Define Environment Variable Values Using An Init
Container" (format). Values stand in single quotes and may span lines; nothing in them is special.
"""

from __future__ import annotations

import re

_ENTRY = re.compile(
    r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)|[ \t]*(?P<name>[^=\n'\"#]+?)='(?P<value>[^']*)'[ \t]*(?:#[^\n]*)?(?:\n|\Z)"
)


def parse(text: str) -> dict[str, str]:
    """The variables of a file; the first one of a name counts. Raises ValueError."""
    result: dict[str, str] = {}
    place, text = 0, text.replace("\r\n", "\n")
    while place < len(text):
        found = _ENTRY.match(text, place)
        if found is None:
            raise ValueError(f"invalid environment variable format in line {text.count(chr(10), 0, place) + 1}")
        if found["name"]:
            result.setdefault(found["name"], found["value"])
        place = found.end()
    return result

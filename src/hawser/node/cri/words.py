"""What runtimes say of programs that are not there, in the words that people look for: runc's. crun has its own."""

from __future__ import annotations

import re
from typing import Any

import orjson

_MISSING = re.compile(
    r"OCI runtime (create|exec) failed: executable file `([^`]*)` not found(?: in \$PATH)?: No such file or directory"
)


def usual(text: str) -> str:
    """A message of containerd's."""
    return _MISSING.sub(_said, text) if "executable file `" in text else text


def usual_status(data: bytes) -> bytes:
    """A Status in JSON, as a streaming server's error stream has it; all else stays as it is."""
    if b"executable file `" not in data:
        return data
    try:
        return orjson.dumps(_within(orjson.loads(data)))
    except orjson.JSONDecodeError:
        return data


def _within(value: Any) -> Any:
    match value:
        case str():
            return usual(value)
        case dict():
            return {key: _within(part) for key, part in value.items()}
        case list():
            return [_within(part) for part in value]
    return value


def _said(found: re.Match[str]) -> str:
    verb, name = found.groups()
    why = f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
    failed = f"OCI runtime {verb} failed: {'exec failed: ' if verb == 'exec' else ''}"
    return f'{failed}unable to start container process: exec: "{name}": {why}'

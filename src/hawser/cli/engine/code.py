"""Which code a process has started with: what is loaded later comes from the files as they are by then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import hawser


def stamp() -> str:
    """Names Hawser's own code on disk; another one once any of its files was changed."""
    root = Path(hawser.__file__).parent
    seen = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        found = file.stat()
        seen.update(f"{file.relative_to(root)} {found.st_size} {found.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:16]


def state(run_dir: Path) -> dict[str, Any]:
    """What an engine's supervisor has written down last; nothing before it has."""
    try:
        found: dict[str, Any] = json.loads((run_dir / "state.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def is_outdated(run_dir: Path) -> bool:
    """Whether a running engine has started with other code than what is on disk now."""
    return bool(state(run_dir).get("code", "") != stamp())

"""What differs between two values, as people are told who changed what may not change."""

from __future__ import annotations

import json
from typing import Any


def differences(new: Any, old: Any, path: str) -> list[str]:
    """Lines ``path: old -> new`` for the smallest parts that differ."""
    if new == old:
        return []
    if isinstance(new, dict) and isinstance(old, dict):
        lines = []
        for key in sorted({*new, *old}):
            lines += differences(new.get(key), old.get(key), f"{path}.{key}")
        return lines
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        lines = []
        for i, (item, item_before) in enumerate(zip(new, old, strict=True)):
            lines += differences(item, item_before, f"{path}[{i}]")
        return lines
    return [f"  {path}: {json.dumps(old, ensure_ascii=False)} -> {json.dumps(new, ensure_ascii=False)}"]

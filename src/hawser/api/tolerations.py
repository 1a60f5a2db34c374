"""Tolerations of several sources as one list.

Source: Kubernetes documentation, "Runtime Class", scheduling; "Taints and Tolerations".
"""

from __future__ import annotations

from collections.abc import Sequence

from hawser.api.taints import NO_EXECUTE
from hawser.api.types import Obj


def covers(wide: Obj, narrow: Obj) -> bool:
    """Whether whatever narrow tolerates is tolerated by wide, and as long."""
    if wide == narrow:
        return True
    exists = wide.get("operator") == "Exists"
    if (wide.get("key") or "") != (narrow.get("key") or "") and (wide.get("key") or not exists):
        return False
    if wide.get("effect") and wide["effect"] != narrow.get("effect"):
        return False
    limit = wide.get("tolerationSeconds")
    if wide.get("effect") == NO_EXECUTE and limit is not None:
        asked = narrow.get("tolerationSeconds")
        if asked is None or asked > limit:
            return False
    if exists:
        return True
    return (narrow.get("operator") or "Equal") == "Equal" and (narrow.get("value") or "") == (wide.get("value") or "")


def merged(first: Sequence[Obj], second: Sequence[Obj]) -> list[Obj]:
    """All of both in order, without those that another one covers; of equal ones the first stays."""
    every = [*first, *second]
    kept: list[Obj] = []
    for number, one in enumerate(every):
        later = every[number + 1 :]
        if any(covers(other, one) for other in kept) or any(o != one and covers(o, one) for o in later):
            continue
        kept.append(one)
    return kept

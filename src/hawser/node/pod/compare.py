"""What of a pod tells that another one of it is newer, or asks for something else."""

from __future__ import annotations

from typing import Any

from hawser.api.types import Obj


def asked(pod: Obj) -> tuple[Any, ...]:
    """What others ask of a pod, to compare."""
    metadata = pod["metadata"]
    times = (metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds"))
    return (generation(pod), times, shown(pod))


def shown(pod: Obj) -> tuple[Obj, Obj]:
    """What a downwardAPI volume may show and may change."""
    metadata = pod["metadata"]
    return metadata.get("labels") or {}, metadata.get("annotations") or {}


def generation(pod: Obj) -> int | None:
    number: int | None = pod["metadata"].get("generation")
    return number


def version(pod: Obj) -> int:
    text = pod["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0

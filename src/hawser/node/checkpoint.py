"""What the agent has to know again after it was killed, each in a file of JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson

log = logging.getLogger(__name__)
T = TypeVar("T")


def load(file: Path, read: Callable[[Any], T]) -> T | None:
    """What was saved, as ``read`` takes it; None when nothing was.

    Files are not synced. What a crash of the machine has cut short is nothing: the agent has to start all the same.
    """
    try:
        return read(orjson.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        log.error("%s cannot be read and is begun anew: %s", file, err)
        return None


def save(file: Path, value: Any) -> None:
    """Writes all of it, or nothing. Raises OSError."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(value))
    fresh.replace(file)

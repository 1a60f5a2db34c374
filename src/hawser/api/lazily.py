"""Values by name, for tables of many of which a process needs few: their modules are imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(package: str, name: str) -> Any:
    """``module.attribute`` of a package. ImportError or AttributeError when a table names what is not there."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(f"{package}.{module}"), attribute)

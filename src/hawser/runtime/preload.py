"""Libraries that are loaded before a program's own: the variable LD_PRELOAD, ld.so(8). Pure."""

from __future__ import annotations

_NAME = "LD_PRELOAD"


def with_preload(env: list[str], library: str) -> list[str]:
    """The environment (NAME=VALUE each) with a library before those that it asks for anyway."""
    given = [pair.partition("=")[2] for pair in env if pair.startswith(_NAME + "=")]
    others = [pair for pair in env if not pair.startswith(_NAME + "=")]
    # The last one counts, as execvp has it; the separator is a colon in glibc and musl.
    return [*others, f"{_NAME}={library}" + (f":{given[-1]}" if given and given[-1] else "")]

"""Short names made of what they name: of templates and revisions."""

from __future__ import annotations

import hashlib

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, nor digits that look like them: no name is a word."""


def short_name(content: bytes, collisions: int | None) -> str:
    """Ten letters, safe in names and labels. collisions: how often such a name was taken; another name after each."""
    number = int.from_bytes(hashlib.sha256(content + str(collisions or "").encode()).digest()[:6], "big")
    letters = []
    for _ in range(10):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)

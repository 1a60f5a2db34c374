"""When an image is pulled, by default.

Source: "Default image pull policy" (Kubernetes, Images); the grammar of image references (distribution/reference).
"""

from __future__ import annotations

import re
from functools import lru_cache

_LATEST = "latest"

_REFERENCE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)/)??"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


@lru_cache(maxsize=1024)
def pull_policy(image: str) -> str:
    """``Always`` for images without tag or digest and for tag latest, else ``IfNotPresent``."""
    match = _REFERENCE.fullmatch(image)
    if match is None:
        return "IfNotPresent"
    tag = match["tag"] or ("" if match["digest"] else _LATEST)
    return "Always" if tag == _LATEST else "IfNotPresent"

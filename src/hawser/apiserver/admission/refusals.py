"""How plugins say no."""

from __future__ import annotations

from collections.abc import Sequence

from hawser.api.errors import APIError, forbidden
from hawser.apiserver.admission.base import Request


def named(request: Request) -> str:
    """What messages call the object: its name, or what that will be made of."""
    if request.name:
        return request.name
    metadata = (request.object or {}).get("metadata") or {}
    return str(metadata.get("name") or metadata.get("generateName") or "Unknown")


def refused(request: Request, message: str) -> APIError:
    """403, as admission says it: ``pods "x" is forbidden: message``."""
    return forbidden(request.kind.group, request.kind.plural, named(request), message)


def together(messages: Sequence[str]) -> str:
    """Several reasons as one: ``[first, second]``, each once."""
    listed = list(dict.fromkeys(messages))
    return listed[0] if len(listed) == 1 else "[" + ", ".join(listed) + "]"

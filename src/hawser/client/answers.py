"""What a Kubernetes API answers, decoded: objects, watch events, failures."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from hawser.api import errors
from hawser.api.errors import APIError
from hawser.api.types import Obj

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """type: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Obj


def decode(answer: bytes) -> Obj:
    """The object that a body holds. Raises APIError 500 when it holds none."""
    try:
        decoded = orjson.loads(answer)
    except orjson.JSONDecodeError as err:
        raise errors.internal(f"the answer is not JSON: {answer[:200]!r}") from err
    if not isinstance(decoded, dict):
        raise errors.internal(f"the answer is not an object: {answer[:200]!r}")
    return decoded


def event(line: bytes) -> WatchEvent:
    """The event of one line of a watch. Raises the APIError that an ERROR event carries."""
    decoded = decode(line)
    if decoded.get("type") == "ERROR":
        raise APIError.from_status(decoded.get("object") or {})
    return WatchEvent(decoded["type"], decoded["object"])


def failure(code: int, answer: bytes) -> APIError:
    """The error of an answer: its Status, or one made of the code when a proxy or another server answered."""
    try:
        decoded = orjson.loads(answer)
    except orjson.JSONDecodeError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        decoded.setdefault("code", code)
        return APIError.from_status(decoded)
    text = answer[:500].decode(errors="replace").strip() or "no reason given"
    return APIError(code, _REASONS.get(code, "Unknown"), f"the server answered {code}: {text}")

"""``?timeout=``: how long a request may take. Source: kube-apiserver, request timeouts (at most a minute)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from hawser.api import durations
from hawser.api.errors import APIError, bad_request
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Answer
from hawser.apiserver.streaming import STREAMS

_LONGEST = 60.0


def asked(target: Target) -> float | None:
    """Within how many seconds a client wants an answer. APIError 400 for what is no duration."""
    text = target.query.get("timeout")
    if text is None or target.verb == "watch" or target.subresource in (*STREAMS, "proxy"):
        return None
    try:
        wanted = durations.seconds(text)
    except ValueError as error:
        raise bad_request(f"invalid timeout specified in the request URL - {error}") from None
    return min(wanted, _LONGEST) if wanted and not text.startswith("-") else _LONGEST


async def within(seconds: float, serving: Awaitable[Answer]) -> Answer:
    """An answer that must be there in time. APIError 504 otherwise; what has been written by then stays written."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await serving
    except TimeoutError:
        if not limit.expired():
            raise
        message = "Timeout: request did not complete within requested timeout - context deadline exceeded"
        raise APIError(504, "Timeout", message, details={}) from None

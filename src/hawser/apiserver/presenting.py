"""The last step of an answer: other encodings of what handlers make as JSON, and compression.

Source: API concepts, "Alternate representations of resources"; kube-apiserver's response writers, which compress
answers of more than 128 KiB for whoever takes gzip.
"""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

from hawser.api.crd.kinds import CustomKind
from hawser.apiserver import forms, negotiation
from hawser.apiserver.framing import by_lines
from hawser.apiserver.negotiation import Media
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import JSON, Reply

COMPRESS_ABOVE = 128 * 1024
_LEVEL = 1
_GZIP = zlib.MAX_WBITS | 16


_NEGOTIATED = frozenset({"get", "list", "update", "patch"})


def settled(request: web.BaseRequest, target: Target, answer: Reply) -> bool:
    """Whether an answer is in its last form, as nearly all are: of a resource, in a form that was negotiated, small."""
    if target.kind is None or answer.status >= 400 or len(answer.body) > COMPRESS_ABOVE:
        return False
    if target.verb in _NEGOTIATED and not target.subresource:
        return True
    return not by_lines(request, _other)


def _other(request: web.BaseRequest) -> bool:
    """Whether a client takes another encoding than JSON."""
    accept = request.headers.get("Accept", "")
    return "protobuf" in accept or "yaml" in accept


async def present(request: web.BaseRequest, target: Target, answer: Reply) -> Reply:
    """The answer as the client takes it."""
    if any(name == "Content-Encoding" for name, _ in answer.headers):
        # A document that is kept compressed has one form only.
        return answer
    if answer.content_type == JSON:
        if _other(request):
            _encode(request.headers["Accept"], target, answer)
        # What verbs answer is pretty already where it should be.
        loose = answer.content_type == JSON and (answer.status >= 400 or target.kind is None)
        if loose and answer.body and negotiation.pretty(target.query, request.headers.get("User-Agent", "")):
            answer.body = negotiation.encode_pretty(answer.body)
            answer.line = False
    if len(answer.body) > COMPRESS_ABOVE and _takes_gzip(request.headers.get("Accept-Encoding", "")):
        await _compress(answer)
    return answer


def _encode(accept: str, target: Target, answer: Reply) -> None:
    """Encode a Status, a Scale, a review or a discovery document; what resources answer was encoded by their verbs."""
    if type(target.kind) is CustomKind and answer.status < 400:
        return
    media = negotiation.document_media(accept)
    if media is Media.JSON or not answer.body:
        return
    body = forms.document(answer.body, media)
    if body is not None:
        answer.body = body
        answer.content_type = str(media)
        answer.line = False


def _takes_gzip(accepted: str) -> bool:
    return any(item.strip() == "gzip" for item in accepted.split(","))


async def _compress(answer: Reply) -> None:
    """In a thread, which does not hold up other requests: zlib works without the interpreter's lock."""
    answer.body = await asyncio.to_thread(_gzip, answer.body, b"\n" if answer.line else b"")
    answer.line = False
    answer.headers = (*answer.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))


def _gzip(body: bytes, end: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.compress(end) + packer.flush()

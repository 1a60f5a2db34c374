"""``GET /rich/NAMESPACE/POD/CONTAINER/diff|layer|image``: what changed in a container since its image.

Not the kubelet's: clusters have it from the DaemonSet of `hawser rich`. Whoever may ask needs the subresource ``proxy``
of the node, as for all that is not the kubelet's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE

from aiohttp import web

from hawser.api.errors import APIError

WHAT = ("diff", "layer", "image")
_PIECE = 1 << 18
_TYPES = {"diff": "application/json"}


async def answer(request: web.BaseRequest, endpoint: str, container_id: str, what: str) -> web.StreamResponse:
    """Streams what a process of its own finds. Raises APIError 500 with its complaint; ConnectionError half-way."""
    command = [sys.executable, "-m", "hawser.node.writable", what]
    command += ["--container", container_id, "--runtime-endpoint", endpoint]
    command += [f"--without={path}" for path in request.query.getall("without", [])]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None and process.stderr is not None
    complaint = asyncio.create_task(process.stderr.read())
    try:
        piece = await process.stdout.read(_PIECE)
        if not piece and await process.wait():
            raise APIError(500, "InternalError", (await complaint).decode(errors="replace").strip())
        response = web.StreamResponse(headers={"Content-Type": _TYPES.get(what, "application/x-tar")})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while piece:
            await response.write(piece)
            piece = await process.stdout.read(_PIECE)
        if await process.wait():
            # Whoever reads must not take a part for the whole.
            raise ConnectionResetError((await complaint).decode(errors="replace").strip())
        await response.write_eof()
        return response
    finally:
        complaint.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

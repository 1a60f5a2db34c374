"""GET /hawser/backup: a copy of the store while it is in use, which ``hawser db backup`` writes to a file.

The copy is written beside the store first: it is consistent, as of one revision, and writes go on meanwhile.
"""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from hawser.apiserver.reply import LAST_CHUNK, Finished, chunk, chunked_head, drain
from hawser.store.base import Store

PATH = "/hawser/backup"
CONTENT_TYPE = "application/vnd.sqlite3"
_PIECE = 256 * 1024


async def serve(request: web.BaseRequest, store: Store) -> Finished:
    """Stream a copy. Raises StoreUnavailable when it cannot be made, as when the disk is full."""
    path = store.path.with_name(f".backup-{os.urandom(8).hex()}")
    try:
        revision = await store.snapshot(path)
        # From here on the file goes with whoever has it open.
        file = path.open("rb")
    finally:
        path.unlink(missing_ok=True)
    with file:
        headers = [("X-Hawser-Revision", str(revision)), ("X-Hawser-Size", str(os.fstat(file.fileno()).st_size))]
        _write(request, chunked_head(CONTENT_TYPE, request.keep_alive, headers))
        while piece := await asyncio.to_thread(file.read, _PIECE):
            _write(request, chunk(piece))
            await drain(request)
    _write(request, LAST_CHUNK)
    return Finished(request.keep_alive)


def _write(request: web.BaseRequest, data: bytes) -> None:
    if request.transport is None:
        raise ConnectionResetError
    request.transport.write(data)

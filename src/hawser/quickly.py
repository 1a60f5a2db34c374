"""A quicker start of the engine's processes, and smaller ones.

Imports make objects that live for ever: the garbage collector, which would look at them again and again, waits until
they are done. aiohttp, which only servers need, loads this host's certificate authorities twice when it is imported,
for its default TLS contexts, which takes 0.1 s; the engine's processes trust one authority of their own and make their
contexts themselves.
"""

from __future__ import annotations

import gc
import os
from asyncio import sslproto

_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_TLS_BUFFER = 32 * 1024


def begin(*, serves: bool = True) -> None:
    """To be called before anything large is imported. serves: whether the process serves HTTP."""
    gc.disable()
    # Every connection has a buffer to read into, a quarter of a megabyte without this. TLS sends 16 KiB at once.
    sslproto.SSLProtocol.max_size = _TLS_BUFFER
    if serves:
        _import_aiohttp()


def _import_aiohttp() -> None:
    before = {name: os.environ.get(name) for name in _FILES}
    os.environ.update(dict.fromkeys(_FILES, os.devnull))
    try:
        import aiohttp  # noqa: F401
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def settle() -> None:
    """What is there now lives for ever: the garbage collector works again, but need not look at it."""
    gc.freeze()
    gc.enable()

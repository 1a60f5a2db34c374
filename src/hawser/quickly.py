"""A quicker start of the engine's processes.

aiohttp loads this host's certificate authorities twice when it is imported, for its default TLS contexts, which takes
0.1 s. The engine's processes trust one authority of their own and make their contexts themselves.
"""

from __future__ import annotations

import os

_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def import_aiohttp() -> None:
    """Import aiohttp with default TLS contexts that trust nobody. To be called before anything else imports it."""
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

"""``--encryption-provider-config-automatic-reload``: keys are added and rotated without a restart.

Source: Kubernetes documentation, "Encrypting Confidential Data at Rest" (configure automatic reloading).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from hawser.apiserver.encryption.config import ConfigurationError, Encryption, read
from hawser.store.sqlite import SqliteStore

log = logging.getLogger("hawser.apiserver")
_EVERY = 1.0
_TOTAL = "apiserver_encryption_config_controller_automatic_reloads_total"
_LAST = "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds"


class Reloader:
    """Looks at the file once a second. A file that cannot be followed changes nothing and is told of once."""

    def __init__(self, path: Path, encryption: Encryption, store: SqliteStore) -> None:
        self._path = path
        self._encryption = encryption
        self._store = store
        self._seen = _state(path)
        self._done = {"success": 0, "failure": 0}
        self._last = {"success": 0.0, "failure": 0.0}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            state = _state(self._path)
            if state != self._seen:
                self._seen = state
                self._reload()

    def _reload(self) -> None:
        outcome = "failure"
        try:
            self._store.resealed(self._encryption.follow(read(self._path)))
            log.info("%s is followed as it is now", self._path)
            outcome = "success"
        except (OSError, ConfigurationError) as error:
            log.error("the encryption configuration is not followed as it is now: %s", error)
        self._done[outcome] += 1
        self._last[outcome] = time.time()

    def metrics(self) -> Iterator[str]:
        """Lines of text for Prometheus."""
        yield f"# HELP {_TOTAL} Total number of reload successes and failures of encryption configuration."
        yield f"# TYPE {_TOTAL} counter"
        for outcome, count in self._done.items():
            yield f'{_TOTAL}{{status="{outcome}"}} {count}'
        yield f"# HELP {_LAST} Timestamp of the last reload of encryption configuration."
        yield f"# TYPE {_LAST} gauge"
        for outcome, moment in self._last.items():
            if moment:
                yield f'{_LAST}{{status="{outcome}"}} {moment:.3f}'


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells one content of a file from another; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size

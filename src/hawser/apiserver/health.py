"""/livez, /readyz and /healthz: whether this server lives, and whether it should be sent requests.

Source: Kubernetes API health endpoints. A failed check says no more than that it failed: anybody may ask.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from hawser import health
from hawser.apiserver.reply import Reply
from hawser.health import ROOTS, Check
from hawser.store.base import Store

__all__ = ["ROOTS", "Check", "Health"]

_TEXT = "text/plain; charset=utf-8"
_HEADERS = (("X-Content-Type-Options", "nosniff"),)


class Health:
    """The checks of one server.

    hooks: what runs beside requests, by the name of its check (``poststarthook/NAME``). stopping: the server is about
    to stop: it is alive, but no longer ready.
    """

    def __init__(self, store: Store) -> None:
        self.stopping = False
        self.hooks: dict[str, Check] = {}
        self._store = store

    def answer(self, path: str, query: dict[str, str], raw: str) -> Reply | None:
        """The answer to a path at or below one of the roots; None when there is no such check. raw: with its query."""
        root = path.lstrip("/").partition("/")[0]
        excluded = set(parse_qs(raw.partition("?")[2]).get("exclude", ())) if "exclude" in query else set()
        found = health.answer(path, self._checks(root), excluded, "verbose" in query)
        return None if found is None else Reply(found[1].encode(), found[0], _TEXT, _HEADERS)

    def _checks(self, root: str) -> dict[str, Check]:
        store = self._store
        checks: dict[str, Check] = {"ping": lambda: True, "log": lambda: True, "etcd": lambda: store.revision >= 0}
        if root == "readyz":
            # Reads go on when the disk is full, so that is no reason to start the server anew.
            checks["etcd-readiness"] = lambda: store.writable
        checks |= self.hooks
        if root == "readyz":
            checks["shutdown"] = lambda: not self.stopping
        return checks

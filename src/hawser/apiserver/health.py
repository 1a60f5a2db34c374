"""/livez, /readyz and /healthz: whether this server lives, and whether it should be sent requests.

Source: Kubernetes API health endpoints. A failed check says no more than that it failed: anybody may ask.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from hawser.apiserver.reply import Reply
from hawser.store.base import Store

ROOTS = ("/livez", "/readyz", "/healthz")
Check = Callable[[], bool]
_TEXT = "text/plain; charset=utf-8"
_HEADERS = [("X-Content-Type-Options", "nosniff")]


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
        root, _, name = path.lstrip("/").partition("/")
        checks = self._checks(root)
        if name:
            check = checks.get(name)
            if check is None:
                return None
            if check():
                return Reply(b"ok", 200, _TEXT, _HEADERS)
            return Reply(f"internal server error: {name} failed\n".encode(), 500, _TEXT, _HEADERS)
        excluded = set(parse_qs(raw.partition("?")[2]).get("exclude", ())) if "exclude" in query else set()
        good, lines = report(root, checks, excluded)
        if good and "verbose" not in query:
            return Reply(b"ok", 200, _TEXT, _HEADERS)
        return Reply(lines.encode(), 200 if good else 500, _TEXT, _HEADERS)

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


def report(root: str, checks: dict[str, Check], excluded: set[str]) -> tuple[bool, str]:
    """Whether all checks pass that are not excluded, and a line for each."""
    lines = []
    good = True
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif check():
            lines.append(f"[+]{name} ok")
        else:
            good = False
            lines.append(f"[-]{name} failed: reason withheld")
    unknown = sorted(excluded - checks.keys())
    if unknown:
        names = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    lines.append(f"{root} check {'passed' if good else 'failed'}")
    return good, "\n".join(lines) + "\n"

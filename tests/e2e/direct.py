"""Reads of the API by this process itself.

A test that waits asks again and again: a kubectl for each question costs a tenth of a second of a processor, which the
engine under test would have needed. What kubectl itself does is tested with kubectl.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hawser.api.kinds import KINDS, Kind

Obj = dict[str, Any]
_ATTEMPTS = 5
"""So often a server that is just being started again is asked, as client-go does."""


class Refused(Exception):
    """The server answered with an error. code: of HTTP. The text is the Status's message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Direct:
    """An engine's administrator over HTTP; every request has a connection of its own, so threads may share it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def get(self, kind: Kind, name: str, namespace: str) -> Obj:
        """One object, as `kubectl get -o json` shows it. Raises Refused and OSError."""
        return _shown(self.call("GET", kind.path(namespace, name)))

    def list(self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "") -> list[Obj]:
        """The objects that both selectors choose. Raises Refused and OSError."""
        query = f"?labelSelector={quote(labels)}&fieldSelector={quote(fields)}"
        items = self.call("GET", kind.path(namespace) + query)["items"]
        return [_shown({"apiVersion": kind.api_version, "kind": kind.kind, **item}) for item in items]

    def call(self, method: str, path: str, body: Obj | None = None) -> Obj:
        """The decoded answer. Raises Refused, and OSError when there is no server."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._call(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                # Whether another request arrived cannot be known.
                if method != "GET" or attempt == _ATTEMPTS:
                    raise OSError(f"{method} {path}: {error!r}") from error
                time.sleep(0.1 * attempt)
        raise AssertionError("not reached")

    def _call(self, method: str, path: str, body: Obj | None) -> Obj:
        address = json.loads((self._data_dir / "config.json").read_text())["listen"]
        token = (self._data_dir / "pki/tokens.csv").read_text().split(",", 1)[0]
        trusted = ssl.create_default_context(cafile=str(self._data_dir / "pki/ca.crt"))
        connection = http.client.HTTPSConnection(address, context=trusted, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            document: Obj = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(answer.status, str(document.get("message")))
        return document


def kind_of(word: str) -> Kind | None:
    """The kind that kubectl takes the word for; None when it is no built-in one's plural, singular or short name."""
    return next((kind for kind in KINDS if word in (kind.plural, kind.singular, *kind.short_names)), None)


def _shown(document: Obj) -> Obj:
    document["metadata"].pop("managedFields", None)
    return document

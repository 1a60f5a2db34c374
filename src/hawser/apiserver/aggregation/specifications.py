"""The OpenAPI documents of other API servers: shown in this server's, or passed on.

Source: Kubernetes documentation, "Kubernetes API Aggregation Layer"; kube-aggregator's OpenAPI controllers. Of another
server only what concerns the group version of its APIService is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson

from hawser.api import openapi
from hawser.api.openapi import Part
from hawser.api.spec import version2
from hawser.api.types import Obj
from hawser.apiserver.aggregation.services import Reference
from hawser.apiserver.callouts import CalloutError

log = logging.getLogger("hawser.apiserver")
INDEX, SECOND = "/openapi/v3", "/openapi/v2"

Fetch = Callable[[Reference, str], Awaitable[tuple[int, bytes]]]


class Specifications:
    """Keeps them. fetch: status and body of a GET of a path of another server; CalloutError."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: dict[str, tuple[bytes, Part]] = {}

    async def look(self, reference: Reference) -> None:
        """Ask a server that is well what it has; one that says nothing, or nonsense, is left out.

        Its OpenAPI 2 document is fetched when the index of version 3 has changed, which has a hash of everything.
        """
        try:
            index = await self._body(reference, INDEX)
            known = self._known.get(reference.name)
            if known is not None and known[0] == index and index:
                return
            second = await self._body(reference, SECOND)
            part = read(reference, index, second)
        except (CalloutError, ValueError) as error:
            log.warning("OpenAPI of %s: %s", reference.name, error)
            return
        if known is None or known[1] != part:
            self._known[reference.name] = (index, part)
            self._publish()

    def keep(self, names: Iterable[str]) -> None:
        """Forget all APIServices but these."""
        gone = self._known.keys() - set(names)
        for name in gone:
            del self._known[name]
        if gone:
            self._publish()

    def has(self, reference: Reference, path: str) -> bool:
        """Whether a server has an OpenAPI 3 document of this group version."""
        known = self._known.get(reference.name)
        return known is not None and path in known[1].urls

    def _publish(self) -> None:
        openapi.serve_remote(tuple(part for _, part in self._known.values()))

    async def _body(self, reference: Reference, path: str) -> bytes:
        """Empty when there is none."""
        status, body = await self._fetch(reference, path)
        return body if status == 200 else b""


def read(reference: Reference, index: bytes, second: bytes) -> Part:
    """What a server says of one group version. ValueError for what is no OpenAPI document."""
    wanted = reference.root.removeprefix("/")
    try:
        urls = {
            path: item["serverRelativeURL"]
            for path, item in (orjson.loads(index)["paths"] if index else {}).items()
            if path == wanted and isinstance(item["serverRelativeURL"], str)
        }
        found: Obj = orjson.loads(second) if second else {}
        shared = found.get("parameters") or {}
        paths = {
            path: _whole(item, shared)
            for path, item in (found.get("paths") or {}).items()
            if _below(path, reference.root)
        }
        part = Part(urls, paths, (found.get("definitions") or {}) if paths else {})
        # It must also be good for the other encoding.
        version2.encode({"swagger": "2.0", "info": _NOBODY, "paths": part.paths, "definitions": part.definitions})
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"no OpenAPI document: {error!r}") from None
    return part


_SHARED = "#/parameters/"
_NOBODY: Any = {"title": "", "version": ""}


def _whole(item: Any, shared: Obj) -> Any:
    """A path's item with shared parameters written out: their names may mean something else here."""
    if isinstance(item, list):
        return [_whole(each, shared) for each in item]
    if not isinstance(item, dict):
        return item
    ref = item.get("$ref")
    if isinstance(ref, str) and ref.startswith(_SHARED):
        return shared[ref.removeprefix(_SHARED)]
    return {key: _whole(value, shared) for key, value in item.items()}


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")

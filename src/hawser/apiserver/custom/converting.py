"""Custom resources whose versions differ, and which a webhook converts.

Reading and writing stay synchronous: what they need is fetched before (``ready``, ``stored``) and kept beside the
record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol
from uuid import uuid4

import orjson

from hawser.api.crd import conversion, objects
from hawser.api.encoding import dumps
from hawser.api.errors import APIError, internal
from hawser.api.types import Obj
from hawser.apiserver.callouts import CalloutError
from hawser.apiserver.custom.resource import CustomResource
from hawser.apiserver.index import CustomIndex
from hawser.store.base import Record

_SECONDS = 30
_MANY = 500
"""Objects in one review: a list of ten thousand is not one request of 100 MB."""


class Post(Protocol):
    """``Callouts.post``."""

    async def __call__(self, config: Obj, body: Obj, seconds: int) -> bytes: ...


class ConvertingResource(CustomResource):
    """One version of them."""

    asks = True
    post: Post

    async def ready(self, records: Iterable[Record]) -> None:
        """Convert what is kept in another version than this one. APIError 500 when the webhook fails."""
        wanted = self.kind.api_version
        waiting: dict[str, list[tuple[Record, Obj]]] = {}
        for record in records:
            index = self._index(record)
            if self.kind.version not in index.shown:
                obj: Obj = orjson.loads(record.value)
                if obj["apiVersion"] != wanted:
                    waiting.setdefault(obj["apiVersion"], []).append((record, obj))
        for group in waiting.values():
            for first in range(0, len(group), _MANY):
                part = group[first : first + _MANY]
                made = await self._convert([obj for _, obj in part], wanted)
                for (record, _), obj in zip(part, made, strict=True):
                    self._index(record).shown[self.kind.version] = dumps(objects.settle(self.kind, obj))

    async def stored(self, obj: Obj) -> Obj:
        """The object in the version that it is kept in. APIError 500 when the webhook fails."""
        wanted = self.kind.model.stored
        if obj["apiVersion"] == wanted:
            return obj
        # Kept metadata is the server's own business; the webhook sees the object as clients do.
        (made,) = await self._convert([obj], wanted)
        return made

    def load(self, record: Record) -> Obj:
        """The object as this version shows it, ``ready`` or kept in this version. APIError 500 otherwise."""
        shown = self._index(record).shown.get(self.kind.version)
        if shown is not None:
            found: Obj = orjson.loads(shown)
            return found
        found = orjson.loads(record.value)
        if found["apiVersion"] != self.kind.api_version:
            raise internal(f"{found['kind']} {found['metadata']['name']} has not been converted")
        return objects.settle(self.kind, found)

    def encode(self, obj: Obj) -> bytes:
        """The bytes of what ``stored`` gave."""
        return dumps(obj)

    def remember(self, index: object, obj: Obj) -> None:
        """Keep what was just written, in this version."""
        if isinstance(index, CustomIndex):
            index.shown[self.kind.version] = dumps(obj)

    def _index(self, record: Record) -> CustomIndex:
        if not isinstance(record.index, CustomIndex):
            record.index = CustomIndex(self.kind, orjson.loads(record.value))
        return record.index

    async def _convert(self, sent: list[Obj], wanted: str) -> list[Obj]:
        webhook = self.kind.model.webhook
        assert webhook is not None
        spoken, uid = conversion.version(webhook), str(uuid4())
        review = conversion.build(spoken, uid, sent, wanted)
        try:
            body = await self.post(webhook["clientConfig"], review, _SECONDS)
            return conversion.read(_decoded(body), spoken, uid, sent, wanted)
        except (CalloutError, conversion.Garbage) as error:
            raise self._failed(sent[0], error) from None

    def _failed(self, obj: Obj, error: Exception) -> APIError:
        kind = f"{obj['apiVersion']}, Kind={obj['kind']}"
        return APIError(500, "InternalError", f"conversion webhook for {kind} failed: {error}")


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise conversion.Garbage(f"the answer cannot be decoded: {error}") from None

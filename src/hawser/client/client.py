"""One async client for any Kubernetes API.

Resources are named by rows of the kind table; objects are plain dicts. Every failure is an ``APIError``: the server's
Status when there is one, otherwise 503 ServiceUnavailable (no answer) or 500 (an answer that is no Kubernetes).

Source of paths, parameters and the watch protocol: Kubernetes documentation, "Kubernetes API Concepts".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.client.answers import WatchEvent, decode, event
from hawser.client.transport import Transport

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Listing:
    """One list: the objects, and the resourceVersion from which a watch continues."""

    items: list[Obj] = field(default_factory=list)
    resource_version: str = ""


class Client(Transport):
    """Objects of one API server by their kinds; see ``Transport`` for what it is made of."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Obj:
        """The object. Raises APIError 404."""
        return await self._object("GET", kind.path(namespace, name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        *,
        resource_version: str = "",
        page_size: int = 0,
        metadata_only: bool = False,
    ) -> Listing:
        """All objects of a namespace, or of every namespace when it is None.

        page_size: objects a request; pages are fetched until the end. 0 asks for all in one answer.
        resource_version: "0" allows any cached state. Items are given the apiVersion and kind that lists omit.
        metadata_only: nothing of the objects but their metadata (API concepts, "Metadata-only fetches").
        """
        params = _selectors(label_selector, field_selector)
        if resource_version:
            params["resourceVersion"] = resource_version
        if page_size:
            params["limit"] = str(page_size)
        items: list[Obj] = []
        while True:
            accept = _METADATA_LIST if metadata_only else _JSON
            page = decode(await self.raw("GET", kind.path(namespace), params=params, accept=accept))
            metadata = page.get("metadata") or {}
            items += page.get("items") or ()
            if not metadata.get("continue"):
                break
            params.pop("resourceVersion", None)
            params["continue"] = metadata["continue"]
        for item in items:
            item["apiVersion"] = kind.api_version
            item["kind"] = kind.kind
        return Listing(items, metadata.get("resourceVersion") or "")

    async def create(self, kind: Kind, obj: Obj, *, params: Mapping[str, str] | None = None) -> Obj:
        """Creates the object in its own namespace (the client's default when it names none)."""
        return await self._object("POST", kind.path(self._namespace_of(kind, obj)), obj, params=params)

    async def update(
        self, kind: Kind, obj: Obj, subresource: str = "", *, params: Mapping[str, str] | None = None
    ) -> Obj:
        """Replaces the object; with a resourceVersion in it, only that version (APIError 409 otherwise)."""
        path = kind.path(self._namespace_of(kind, obj), obj["metadata"]["name"], subresource)
        return await self._object("PUT", path, obj, params=params)

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        body: Any,
        type: str = MERGE,  # noqa: A002 - the word of the Kubernetes API
        subresource: str = "",
        *,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """Patches the object. type: MERGE, JSON (body is a list of operations), STRATEGIC or APPLY."""
        path = kind.path(namespace, name, subresource)
        return await self._object("PATCH", path, body, content_type=type, params=params)

    async def apply(self, kind: Kind, obj: Obj, manager: str, *, force: bool = True, subresource: str = "") -> Obj:
        """Server-side apply of the fields in ``obj`` as field manager ``manager``."""
        path = kind.path(self._namespace_of(kind, obj), obj["metadata"]["name"], subresource)
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._object("PATCH", path, obj, content_type=APPLY, params=params)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        grace_period: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Obj:
        """Deletes the object; returns it as it is now, or a Status when it is gone.

        grace_period: seconds. propagation: Background, Foreground or Orphan. uid, resource_version: preconditions.
        """
        options = _delete_options(grace_period, propagation, uid, resource_version)
        return await self._object("DELETE", kind.path(namespace, name), options)

    async def delete_collection(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        grace_period: int | None = None,
        propagation: str | None = None,
    ) -> Obj:
        """Deletes all selected objects of a namespace."""
        params = _selectors(label_selector, field_selector)
        options = _delete_options(grace_period, propagation, None, None)
        return await self._object("DELETE", kind.path(namespace), options, params=params)

    async def get_subresource(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        subresource: str,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """A subresource that is JSON, ``scale`` for one; use ``stream`` for logs."""
        return await self._object("GET", kind.path(namespace, name, subresource), params=params)

    async def post_subresource(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        subresource: str,
        body: Obj,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """Creates a subresource: ``binding``, ``eviction``, ``token``."""
        return await self._object("POST", kind.path(namespace, name, subresource), body, params=params)

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        *,
        bookmarks: bool = True,
        seconds: float = 0,
        metadata_only: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events after ``resource_version`` until the server ends the watch.

        seconds: asks the server to end it after so long; 0 leaves that to the server.
        metadata_only: objects come as PartialObjectMetadata.
        Raises APIError: 410 when the version is too old (list again), 503 when the connection breaks.
        """
        params = _selectors(label_selector, field_selector)
        params["watch"] = "true"
        if resource_version:
            params["resourceVersion"] = resource_version
        if bookmarks:
            params["allowWatchBookmarks"] = "true"
        if seconds:
            params["timeoutSeconds"] = str(int(seconds))
        # A server that is gone without a FIN is noticed a while after the watch should have ended.
        limit = seconds + 30 if seconds else None
        accept = _METADATA if metadata_only else ""
        async with self.stream("GET", kind.path(namespace), params=params, seconds=limit, accept=accept) as answer:
            rest = b""
            while chunk := await answer.read():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield event(line)

    async def _object(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        answer = await self.raw(method, path, body, params=params, content_type=content_type, accept=_JSON)
        return decode(answer)

    def _namespace_of(self, kind: Kind, obj: Obj) -> str | None:
        if not kind.namespaced:
            return None
        namespace: str = obj.get("metadata", {}).get("namespace") or self.namespace
        return namespace


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    params = {}
    if label_selector:
        params["labelSelector"] = label_selector
    if field_selector:
        params["fieldSelector"] = field_selector
    return params


def _delete_options(
    grace_period: int | None, propagation: str | None, uid: str | None, resource_version: str | None
) -> Obj:
    options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    if propagation is not None:
        options["propagationPolicy"] = propagation
    preconditions = {}
    if uid is not None:
        preconditions["uid"] = uid
    if resource_version is not None:
        preconditions["resourceVersion"] = resource_version
    if preconditions:
        options["preconditions"] = preconditions
    return options

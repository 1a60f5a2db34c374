"""Lists: consistent snapshots in pages, filtered by selectors, joined from stored bytes.

Source: API concepts, "Resource versions" and "Retrieving large results sets in chunks".
"""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from hawser.api import scalars
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import APIError, Cause, FieldError, bad_request, expired, invalid
from hawser.api.field_selectors import FieldSelector
from hawser.api.kinds import JOB, REPLICA_SET, RESOURCE_SLICE, Kind
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.apiserver import index
from hawser.apiserver.paths import parse_integer
from hawser.apiserver.registry import Resource
from hawser.store.base import Expired, Record

# How long a list waits for a revision that this server has not reached yet.
_FRESHNESS_WAIT = 3.0
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a collection are meant."""

    labels: LabelSelector
    fields: FieldSelector

    @classmethod
    def read(cls, kind: Kind, query: dict[str, str], name: str = "") -> Selection:
        """From a request's query; name: only this object. APIError 400 for selectors that cannot be understood."""
        labels = LabelSelector.parse(query.get("labelSelector", ""))
        fields = FieldSelector.parse(query.get("fieldSelector", ""))
        if name:
            if not fields.empty and fields.exact("metadata.name") != name:
                raise bad_request("fieldSelector metadata.name doesn't match requested name")
            fields = FieldSelector.parse(f"metadata.name={name}") if fields.empty else fields
        for requirement in fields.requirements:
            path = requirement.path
            if path == "metadata.name" or (path == "metadata.namespace" and (kind.namespaced or _plain(kind))):
                continue
            if path not in kind.selectable:
                raise bad_request(_not_selectable(kind, path))
        if kind.field_names:
            fields = fields.renamed(dict(kind.field_names))
        return cls(labels, fields)

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.labels.empty and self.fields.empty

    def matches(self, kind: Kind, record: Record) -> bool:
        """Whether a record is meant."""
        found = index.of(kind, record)
        return self.labels.matches(found.labels) and self.fields.matches(found.field)


@dataclass(frozen=True, slots=True)
class Page:
    """What a list answers: the records and the list's metadata."""

    records: list[Record]
    metadata: Obj


async def page(resource: Resource, namespace: str, selection: Selection, query: dict[str, str]) -> Page:
    """One page of a list. APIError 400, 410 when a snapshot is gone, 504 for a revision far in the future."""
    if query:
        check_options(query)
    limit = number(query, "limit")
    number(query, "timeoutSeconds")
    token = query.get("continue", "")
    begun: Token | None = None
    if token:
        begun = Token.read(token)
        if query.get("resourceVersion") not in (None, "", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        if begun.too_old(resource.store.revision):
            raise begun.gone()
        revision = begun.revision
    else:
        revision = await _revision(resource, query, limit)
    prefix = resource.prefix + (f"{namespace}/" if namespace else "")
    try:
        shown = revision or resource.store.revision
        after = resource.prefix + begun.start if begun is not None else ""
        records, more = _collect(resource, prefix, selection, after, limit, revision)
    except (Expired, ValueError):
        raise (begun.gone() if begun is not None else expired(_TOO_OLD)) from None
    metadata: Obj = {"resourceVersion": str(shown)}
    if more:
        left = -1
        if selection.everything:
            left = metadata["remainingItemCount"] = _remaining(resource, prefix, records, revision, begun)
        since = begun.since if begun is not None and begun.revision else int(time.time())
        metadata["continue"] = Token(shown, records[-1].key.removeprefix(resource.prefix), left, since).text
    return Page(records, metadata)


def _remaining(resource: Resource, prefix: str, page: list[Record], revision: int, begun: Token | None) -> int:
    """How many objects follow a page."""
    if begun is not None and begun.left >= 0:
        return begun.left - len(page)
    if revision or begun is not None:
        return len(resource.store.list(prefix, page[-1].key, 0, revision))
    return resource.store.count(prefix) - len(page)


def _collect(
    resource: Resource, prefix: str, selection: Selection, after: str, limit: int, revision: int
) -> tuple[list[Record], bool]:
    """At most limit selected records after a key, and whether there are more."""
    store = resource.store
    kind = resource.kind
    if selection.everything:
        records = store.list(prefix, after, limit + 1 if limit else 0, revision)
        return (records[:limit], True) if limit and len(records) > limit else (records, False)
    name = selection.fields.exact("metadata.name")
    if name is not None and not revision and (prefix != resource.prefix or not kind.namespaced):
        record = store.get(prefix + name)
        found = [record] if record is not None and record.key > after else []
        return [r for r in found if selection.matches(kind, r)], False
    if not limit:
        return [r for r in store.list(prefix, after, 0, revision) if selection.matches(kind, r)], False
    found = []
    while True:
        batch = store.list(prefix, after, _PAGE, revision)
        for record in batch:
            if selection.matches(kind, record):
                if len(found) == limit:
                    return found, True
                found.append(record)
        if len(batch) < _PAGE:
            return found, False
        after = batch[-1].key


async def _revision(resource: Resource, query: dict[str, str], limit: int) -> int:
    """The revision to list at: 0 for the newest, which is never older than what resourceVersion asks for."""
    text = query.get("resourceVersion", "")
    match = query.get("resourceVersionMatch", "")
    wanted = parse_revision(text)
    if not wanted:
        return 0
    await wait_for(resource, wanted)
    # With a limit and no match, an explicit version means exactly that one.
    exact = match == "Exact" or (not match and limit > 0)
    return wanted if exact else 0


async def wait_for(resource: Resource, revision: int) -> None:
    """Wait until the store has reached a revision. APIError 504 when it does not in time."""
    if revision <= resource.store.revision:
        return
    watch = resource.store.watch("", resource.store.revision)
    try:
        async with asyncio.timeout(_FRESHNESS_WAIT):
            async for _ in watch:
                if resource.store.revision >= revision:
                    return
    except TimeoutError:
        current = resource.store.revision
        message = f"Too large resource version: {revision}, current: {current}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        raise APIError(
            504, "Timeout", f"Timeout: {message}", details={"causes": [cause], "retryAfterSeconds": 1}
        ) from None
    finally:
        watch.close()


_MATCH = "resourceVersionMatch"
_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"


def check_options(query: dict[str, str], watching: bool = False) -> None:
    """APIError 422 for options that do not go together (metav1.ListOptions, which also are those of a watch)."""
    match = query.get(_MATCH, "")
    initial = "sendInitialEvents" in query
    if not match and not initial:
        return
    errors = []
    if watching:
        if initial and match != _NOT_OLDER:
            errors.append(_forbidden(f"sendInitialEvents requires setting resourceVersionMatch to {_NOT_OLDER}"))
        if match and not initial:
            errors.append(
                _forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            )
    elif match and not query.get("resourceVersion"):
        errors.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
    supported = (_NOT_OLDER,) if watching else (_EXACT, _NOT_OLDER, "")
    if match and match not in supported:
        listed = ", ".join(f'"{value}"' for value in supported)
        errors.append(FieldError(Cause.NOT_SUPPORTED, _MATCH, f"supported values: {listed}", match))
    if match and query.get("continue"):
        errors.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    if match == _EXACT and not watching and query.get("resourceVersion") == "0":
        errors.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if initial and not watching:
        errors.append(_forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents"))
    if errors:
        raise invalid("meta.k8s.io", "ListOptions", "", errors)


def _forbidden(detail: str, option: str = _MATCH) -> FieldError:
    return FieldError(Cause.FORBIDDEN, option, detail)


def parse_revision(text: str) -> int:
    """A resourceVersion parameter as a number; empty is 0. APIError 400 for anything else."""
    if not text:
        return 0
    try:
        return scalars.integer(text, signed=False)
    except scalars.DecodeError as error:
        raise bad_request(f"resourceVersion: Invalid value: {scalars.quote(text)}: {error}") from None


def number(query: dict[str, str], name: str) -> int:
    """A number that must not be below nought of a query; nought when it is not there. APIError 400."""
    return max(parse_integer(query[name]), 0) if name in query else 0


def _plain(kind: Kind) -> bool:
    """Whether a kind has nothing to select by but what all objects have, which then includes a namespace."""
    return (not kind.selectable or kind is REPLICA_SET) and not isinstance(kind, CustomKind)


def _not_selectable(kind: Kind, path: str) -> str:
    """What kube-apiserver says of a field that objects of a kind cannot be selected by."""
    if _plain(kind):
        return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    if kind is JOB:
        return f'field label "{path}" not supported for batchv1.Job'
    if kind is RESOURCE_SLICE:
        return f"field label not supported for {kind.api_version}, Kind={kind.kind}: {path}"
    return f"field label not supported: {path}"


_UNREADABLE = "invalid continue token: continue key is not valid"
_TOO_OLD = "The resourceVersion for the provided list is too old."
_GIVEN_UP = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_KEPT_SECONDS = 300
"""How long a list may be continued as it was: kube-apiserver has etcd forget the past every five minutes."""


class Token(NamedTuple):
    """Where a list goes on: ``metadata.continue``.

    revision: of the list's snapshot; 0: whatever is newest. start: the last key that was shown. left: how many follow
    it, -1 when that is not known. since: when the snapshot was taken, in seconds of the epoch.
    """

    revision: int
    start: str
    left: int
    since: int

    @property
    def text(self) -> str:
        """As clients carry it."""
        value = {"v": "meta.k8s.io/v1", "rv": self.revision, "start": self.start, "left": self.left, "at": self.since}
        return urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Token:
        """APIError 400 for what is none."""
        try:
            value = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if value["v"] != "meta.k8s.io/v1":
                raise bad_request(f"{_UNREADABLE}: server does not recognize this encoded version {value['v']}")
            return cls(int(value["rv"]), str(value["start"]), int(value["left"]), int(value["at"]))
        except (ValueError, KeyError, TypeError):
            raise bad_request(_UNREADABLE) from None

    def too_old(self, newest: int) -> bool:
        """Whether its snapshot is given up; newest: the store's revision."""
        return self.revision not in (0, newest) and time.time() > self.since + _KEPT_SECONDS

    def gone(self) -> APIError:
        """The 410 of a list that cannot go on as it was, with a token to go on as things are now."""
        error = expired(_GIVEN_UP)
        error.listing["continue"] = Token(0, self.start, -1, 0).text
        return error

"""The verbs of resources: from a parsed request to the registry and back to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from hawser.api.apply.owners import Author
from hawser.api.crd.kinds import CustomKind
from hawser.api.encoding import dumps
from hawser.api.errors import (
    APIError,
    Unfit,
    bad_request,
    method_not_supported,
    request_too_large,
    unsupported_media_type,
)
from hawser.api.kinds import Kind
from hawser.api.patch import invalid_patch, json_patch, merge_patch
from hawser.api.strategic import strategic_merge_patch
from hawser.api.types import Obj
from hawser.apiserver import forms, listing, negotiation, ownership, posting, scheme
from hawser.apiserver.connection import BODY_LIMIT
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.listing import Selection
from hawser.apiserver.negotiation import Form, Media
from hawser.apiserver.ownership import Configuration
from hawser.apiserver.paths import Target
from hawser.apiserver.registry import Resource
from hawser.apiserver.reply import JSON, Answer, Reply
from hawser.apiserver.resources import Resources
from hawser.apiserver.strategies import scale
from hawser.apiserver.watching import Watcher
from hawser.apiserver.writes import Options, Written, timestamp

_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_APPLY = "application/apply-patch+yaml"
# Deletions of a collection in flight at once: enough to share group commits.
_PARALLEL = 64


class Verbs:
    """Serves requests for resources of the kind table (streaming subresources are served elsewhere)."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._verbs: dict[str, Callable[[web.BaseRequest, Target, Resource], Any]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    async def serve(self, request: web.BaseRequest, target: Target, kind: Kind) -> Answer:
        """Answer a request for a kind. APIError for everything that cannot be."""
        verb = self._verbs.get(target.verb)
        if target.subresource and target.subresource not in kind.subresources:
            raise APIError(404, "NotFound", "the server could not find the requested resource")
        if verb is None or (not target.subresource and target.verb not in kind.verbs):
            raise method_not_supported(kind.group, kind.plural, target.verb)
        if kind.namespaced and not target.namespace and target.verb not in ("list", "watch"):
            raise method_not_supported(kind.group, kind.plural, target.verb)
        answer: Answer = await verb(request, target, self._resources[kind])
        if kind.deprecated and isinstance(answer, Reply):
            answer.warned([kind.deprecated])
        return answer

    async def _get(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        revision = listing.parse_revision(target.query.get("resourceVersion", ""))
        if revision:
            await listing.wait_for(resource, revision)
        record = resource.get(target.namespace, target.name)
        if resource.asks:
            await resource.ready([record])
        value = resource.show(record)
        if target.subresource == "scale":
            return Reply(dumps(scale.read(orjson.loads(value), resource.kind)))
        _check_part(target, resource, "", "status")
        return self._answer(value, 200, form, resource.kind, target)

    async def _list(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        kind = resource.kind
        selection = Selection.read(kind, target.query)
        page = await listing.page(resource, target.namespace, selection, target.query)
        if resource.asks:
            await resource.ready(page.records)
        include = target.query.get("includeObject", "Metadata")
        body = forms.listed(resource, page.records, page.metadata, form, include, self._resources.now())
        return Reply(body, 200, form.content_type, line=form.line)

    async def _watch(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        selection = Selection.read(resource.kind, target.query, target.name)
        namespace = target.namespace if resource.kind.namespaced else ""
        form = _form(request, target, resource.kind)
        watcher = Watcher(request, resource, namespace, selection, form, target.query, self._resources.now)
        return await watcher.run()

    async def _create(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        options = _options(request, target, "CreateOptions")
        obj = await _body(request, options)
        if target.subresource in posting.POSTED:
            return await posting.serve(self._resources, target, resource, obj, options)
        if target.name:
            raise method_not_supported(resource.kind.group, resource.kind.plural, target.verb)
        written = await resource.create(target.namespace, obj, options)
        return self._answer(written.value, 201, form, resource.kind, target)

    async def _update(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        options = _options(request, target, "UpdateOptions")
        obj = await _body(request, options)
        kind = resource.kind
        if target.subresource == "scale":
            return await self._scale(target, resource, lambda _: obj, options)
        _check_part(target, resource, "", "status", "finalize")
        scheme.check_kind(kind, obj)
        create = obj if resource.strategy.create_on_update and not target.subresource else None
        if create is None or resource.store.get(resource.key(target.namespace, target.name)) is not None:
            scheme.read(kind, obj, options.fields)
            create = None
        else:
            obj.setdefault("metadata", {}).setdefault("name", target.name)
        written = await self._change(target, resource, lambda _: obj, options, create)
        return self._answer(written.value, 201 if written.created else 200, form, kind, target)

    async def _patch(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        kind = resource.kind
        media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        options = _options(request, target, "PatchOptions", apply=media == _APPLY)
        if media == _APPLY:
            return await self._server_side_apply(request, target, resource, options, form)
        if isinstance(kind, CustomKind) and media == _PATCHES[2]:
            raise _unknown_format(*_PATCHES[:2], _APPLY)
        patch = await _patch_body(request, media, options)
        # Whoever patches one of the owners' entries by its place must be shown them; nobody else need be.
        options.sees_owners = media == _PATCHES[0] and b"managedFields" in orjson.dumps(patch)
        if target.subresource == "scale":
            return await self._scale(target, resource, lambda old: _apply(media, old, patch, _SCALE_GVK), options)
        _check_part(target, resource, "", "status")

        def change(old: Obj) -> Obj:
            new = _apply(media, old, patch, kind.gvk)
            if not isinstance(new, dict):
                raise bad_request("the patch does not leave an object")
            scheme.check_kind(kind, new)
            try:
                scheme.read(kind, new, options.fields)
            except Unfit as error:
                strategic = media == _PATCHES[2]
                shown = patch if strategic else _apply(media, old, patch, kind.gvk)
                raise invalid_patch(shown, strategic, error.detail) from None
            return new

        written = await self._change(target, resource, change, options)
        return self._answer(written.value, 200, form, kind, target)

    async def _server_side_apply(
        self, request: web.BaseRequest, target: Target, resource: Resource, options: Options, form: Form
    ) -> Answer:
        kind = resource.kind
        body = await _apply_body(request, options)
        force = target.flag("force")
        author = Author(options.manager, kind.api_version, timestamp(self._resources.now()), options.subresource)
        if target.subresource == "scale":
            config = ownership.scale(kind, body)
            change = Configuration(kind, config, author, force, lambda new: None)
            written = await resource.update(target.namespace, target.name, change, options)
            return Reply(dumps(scale.read(orjson.loads(written.value), resource.kind)))
        _check_part(target, resource, "", "status")
        config = ownership.configuration(kind, body)
        change = Configuration(kind, config, author, force, lambda new: scheme.read(kind, new, options.fields))
        written = await self._change(target, resource, change, options)
        return self._answer(written.value, 201 if written.created else 200, form, kind, target)

    async def _change(
        self,
        target: Target,
        resource: Resource,
        change: Callable[[Obj], Obj] | Configuration,
        options: Options,
        create: Obj | None = None,
    ) -> Written:
        return await resource.update(
            target.namespace,
            target.name,
            change,
            options,
            status=target.subresource == "status",
            finalize=target.subresource == "finalize",
            create=create,
        )

    async def _scale(
        self, target: Target, resource: Resource, change: Callable[[Obj], Obj], options: Options
    ) -> Answer:
        def rescale(old: Obj) -> Obj:
            return scale.write(old, change(scale.read(old, resource.kind)), resource.kind)

        written = await resource.update(target.namespace, target.name, rescale, options)
        return Reply(dumps(scale.read(orjson.loads(written.value), resource.kind)))

    async def _delete(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        if target.subresource:
            raise method_not_supported(resource.kind.group, resource.kind.plural, target.verb)
        options, delete = await _deletion(request, target, resource)
        written = await resource.delete(target.namespace, target.name, delete, options)
        if not written.removed or resource.strategy.returns_deleted:
            return self._answer(written.value, 200, form, resource.kind, target)
        details: Obj = {"name": target.name, "kind": resource.kind.plural, "uid": written.uid}
        if resource.kind.group:
            details["group"] = resource.kind.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Reply(dumps(status))

    async def _delete_collection(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        kind = resource.kind
        options, delete = await _deletion(request, target, resource)
        selection = Selection.read(kind, target.query)
        query: dict[str, str] = {key: target.query[key] for key in ("limit", "continue") if key in target.query}
        page = await listing.page(resource, target.namespace, selection, query)
        gate = asyncio.Semaphore(_PARALLEL)
        deleted: list[bytes] = []

        async def one(key: str) -> None:
            namespace, _, name = key.removeprefix(resource.prefix).rpartition("/")
            async with gate:
                try:
                    deleted.append((await resource.delete(namespace, name, delete, options)).value)
                except APIError as error:
                    if error.reason != "NotFound":
                        raise

        async with asyncio.TaskGroup() as group:
            for record in page.records:
                group.create_task(one(record.key))
        listed = forms.many(kind, deleted, page.metadata, form, "Metadata", self._resources.now())
        return Reply(listed, 200, form.content_type, line=form.line)

    def _answer(self, value: bytes, status: int, form: Form, kind: Kind, target: Target) -> Reply:
        if form.plain:
            return Reply(value, status, JSON)
        include = target.query.get("includeObject", "Metadata")
        body = forms.one(kind, value, form, include, self._resources.now())
        return Reply(body, status, form.content_type, line=form.line)


_SCALE_GVK = ("autoscaling", "v1", "Scale")


def _check_part(target: Target, resource: Resource, *known: str) -> None:
    """APIError 405 unless the subresource speaks the object's own type: one of known, or one of the kind's own."""
    if target.subresource not in known and target.subresource not in resource.strategy.parts:
        raise method_not_supported(resource.kind.group, resource.kind.plural, target.verb)


def _form(request: web.BaseRequest, target: Target, kind: Kind) -> Form:
    """What the client wants its answer to be. APIError 406."""
    headers = request.headers
    form = negotiation.accepted(headers.get("Accept", ""), type(kind) is CustomKind, target.verb == "watch")
    if form.media is Media.JSON and negotiation.pretty(target.query, headers.get("User-Agent", "")):
        return replace(form, pretty=True)
    return form


def _options(request: web.BaseRequest, target: Target, options_kind: str, apply: bool = False) -> Options:
    """What a write's query says. options_kind: the Kubernetes name of these options. APIError 400, 422."""
    query = target.query
    manager = query.get("fieldManager") if query else None
    if manager is not None or apply or "force" in query:
        ownership.check_options(options_kind, manager, query.get("force"), apply)
    manager = manager or ownership.manager_of(request.headers.get("User-Agent", ""))
    fields = scheme.Fields(query.get("fieldValidation") or scheme.WARN, target.warnings, options_kind)
    options = Options(False, fields, manager, target.subresource, user=target.user, kind=options_kind)
    target.annotations = options.annotations
    if not query:
        return options
    if "dryRun" in query:
        options.only_try([query["dryRun"]])
    return options


async def _raw(request: web.BaseRequest) -> bytes:
    """The body. APIError 413 above the limit."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    if "Expect" in request.headers and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    if content.is_eof():
        # All there already, as small bodies mostly are: no waiting.
        raw = content.read_nowait()
        if len(raw) > BODY_LIMIT:
            raise _too_large()
        return raw
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None


def _too_large() -> APIError:
    return request_too_large(f"Request entity too large: limit is {BODY_LIMIT}")


async def _body(request: web.BaseRequest, options: Options, optional: bool = False) -> Obj:
    """The decoded body, its repeated fields noted. optional: an absent one is an empty object."""
    raw = await _raw(request)
    if not raw:
        if optional:
            return {}
        raise bad_request("the request body is empty")
    content_type = request.headers.get("Content-Type", "")
    lines: list[str] = []
    value = negotiation.as_object(negotiation.decode(raw, content_type, lines))
    if lines or (raw[:1] == b"{" and options.fields.mode != scheme.IGNORE):
        fields = [] if lines else scheme.duplicates(raw, value)
        if lines or fields:
            options.fields.repeated = scheme.Repeated(fields, lines)
    return value


async def _deletion(request: web.BaseRequest, target: Target, resource: Resource) -> tuple[Options, DeleteOptions]:
    """What a DELETE says, its warnings noted."""
    options = _options(request, target, "DeleteOptions")
    body = await _body(request, options, optional=True)
    options.only_try(body.get("dryRun") or [])
    delete = DeleteOptions.read(body, target.query)
    target.warnings += resource.strategy.deletion_warnings(delete.propagation)
    return options, delete


def _unknown_format(*accepted: str) -> APIError:
    text = "the body of the request was in an unknown format - accepted media types include: "
    return unsupported_media_type(text + ", ".join(accepted))


async def _patch_body(request: web.BaseRequest, media: str, options: Options) -> Any:
    if media not in _PATCHES:
        raise _unknown_format(*_PATCHES, _APPLY)
    raw = await _raw(request)
    patch = negotiation.decode(raw, "application/json")
    if isinstance(patch, dict) and options.fields.mode != scheme.IGNORE and (twice := scheme.duplicates(raw, patch)):
        options.fields.repeated = scheme.Repeated(twice, [])
    return patch


async def _apply_body(request: web.BaseRequest, options: Options) -> Obj:
    """What is to be applied: YAML, of which JSON is a part that is read faster. APIError 400 for repeated keys."""
    raw = await _raw(request)
    lines: list[str] = []
    try:
        value = negotiation.as_object(orjson.loads(raw))
        if options.fields.mode != scheme.IGNORE and scheme.duplicates(raw, value):
            negotiation.decode_yaml(raw, lines)
    except orjson.JSONDecodeError:
        value = negotiation.as_object(negotiation.decode_yaml(raw, lines))
    if lines and options.fields.mode == scheme.STRICT:
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {scheme.yaml_error(lines)}")
    if options.fields.mode != scheme.IGNORE:
        options.fields.warnings += lines
    return value


def _apply(media: str, old: Obj, patch: Any, gvk: tuple[str, str, str]) -> Any:
    if media == "application/json-patch+json":
        return json_patch(old, patch)
    patch = negotiation.as_object(patch)
    if media == "application/merge-patch+json":
        return merge_patch(old, patch)
    return strategic_merge_patch(old, patch, gvk)

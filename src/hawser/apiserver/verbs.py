"""The verbs of resources: from a parsed request to the registry and back to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
    Unreadable,
    bad_request,
    ignoring,
    method_not_supported,
    no_resource,
    not_routed,
)
from hawser.api.kinds import Kind
from hawser.api.patch import invalid_patch, json_patch, merge_patch
from hawser.api.strategic import strategic_merge_patch
from hawser.api.types import Obj
from hawser.apiserver import bodies, forms, listing, negotiation, ownership, posting, scheme, websocket
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.framing import by_lines
from hawser.apiserver.listing import Selection
from hawser.apiserver.negotiation import Form, Media
from hawser.apiserver.ownership import Configuration
from hawser.apiserver.paths import Target
from hawser.apiserver.registry import Resource
from hawser.apiserver.reply import JSON, Answer, Reply
from hawser.apiserver.resources import Resources
from hawser.apiserver.strategies import scale
from hawser.apiserver.updates import check_name
from hawser.apiserver.watching import Watcher
from hawser.apiserver.writes import Options, Written, timestamp

# Deletions of a collection in flight at once: enough to share group commits.
_PARALLEL = 64


class Verbs:
    """Serves requests for resources of the kind table (streaming subresources are served elsewhere)."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._verbs: dict[str, Callable[[web.BaseRequest, Target, Resource], Awaitable[Answer]]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    def serve(self, request: web.BaseRequest, target: Target, kind: Kind) -> Awaitable[Answer]:
        """The answer to a request for a kind, to be awaited. APIError, now or then, for everything that cannot be."""
        verb = self._verbs.get(target.verb)
        if target.subresource and target.subresource not in kind.subresources:
            raise no_resource()
        if verb is None or (not target.subresource and target.verb not in kind.verbs):
            raise _not_served(target, kind)
        if kind.namespaced and not target.namespace and target.verb not in ("list", "watch"):
            raise no_resource() if isinstance(kind, CustomKind) else not_routed()
        if bool(target.name) is (target.verb == "create" and not target.subresource) and target.verb in _NAMED:
            raise _not_served(target, kind)
        answer = verb(request, target, self._resources[kind])
        return _deprecated(kind, answer) if kind.deprecated else answer

    async def _get(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        if "export" in target.query and target.flag("export"):
            raise bad_request("the export parameter, deprecated since v1.14, is no longer supported")
        revision = listing.parse_revision(target.query.get("resourceVersion", ""))
        if revision:
            await listing.wait_for(resource, revision)
        record = resource.get(target.namespace, target.name)
        if resource.asks:
            await resource.ready([record])
        value = resource.show(record)
        if target.subresource == "scale":
            return self._scaled(value, form, resource.kind, target)
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
        if request.method not in ("GET", "HEAD"):
            raise _not_served(target, resource.kind)
        selection = Selection.read(resource.kind, target.query, target.name)
        namespace = target.namespace if resource.kind.namespaced else ""
        form = _form(request, target, resource.kind)
        serve: type[Watcher] = Watcher
        if websocket.wanted(request):
            from hawser.apiserver.watch_sockets import SocketWatcher

            serve = SocketWatcher
        return await serve(request, resource, namespace, selection, form, target.query, self._resources.now).run()

    async def _create(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        options = _options(request, target, "CreateOptions")
        posted = posting.POSTED.get(target.subresource) if target.subresource else None
        obj = await bodies.sent(request, (posted or resource.kind).kind, options.fields)
        if posted is not None:
            return await posting.serve(self._resources, target, resource, obj, options)
        written = await resource.create(target.namespace, obj, options)
        return self._answer(written.value, 201, form, resource.kind, target)

    async def _update(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        options = _options(request, target, "UpdateOptions")
        scaled = target.subresource == "scale"
        kind = scale.SCALE if scaled else resource.kind
        obj = await bodies.sent(request, kind.kind, options.fields)
        if not scaled:
            _check_part(target, resource, "", "status", "finalize")
        scheme.check_kind(kind, obj)
        scheme.read(kind, obj, options.fields)
        check_name(kind, obj, target.namespace, target.name)
        if scaled:
            return await self._scale(target, resource, lambda _: obj, options, form)
        create = obj if resource.strategy.create_on_update and not target.subresource else None
        written = await self._change(target, resource, lambda _: obj, options, create)
        return self._answer(written.value, 201 if written.created else 200, form, kind, target)

    async def _patch(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        kind = resource.kind
        media = bodies.patch_type(request, target)
        form = _form(request, target, kind)
        options = _options(request, target, "PatchOptions", apply=media == bodies.APPLY_PATCH)
        if media == bodies.APPLY_PATCH:
            return await self._server_side_apply(request, target, resource, options, form)
        try:
            patch = await bodies.patch(request, media, options.fields)
        except APIError:
            # What is not there is said first.
            resource.get(target.namespace, target.name)
            raise
        # Whoever patches one of the owners' entries by its place must be shown them; nobody else need be.
        options.sees_owners = media == bodies.JSON_PATCH and b"managedFields" in dumps(patch)
        if target.subresource == "scale":
            kind = scale.SCALE
        else:
            _check_part(target, resource, "", "status")

        def change(old: Obj) -> Obj:
            return _patched(media, old, patch, kind, options.fields)

        if kind is scale.SCALE:
            return await self._scale(target, resource, change, options, form)
        written = await self._change(target, resource, change, options)
        return self._answer(written.value, 200, form, kind, target)

    async def _server_side_apply(
        self, request: web.BaseRequest, target: Target, resource: Resource, options: Options, form: Form
    ) -> Answer:
        kind = resource.kind
        body = await bodies.applied(request, options.fields)
        force = target.flag("force")
        author = Author(options.manager, kind.api_version, timestamp(self._resources.now()), options.subresource)
        if target.subresource == "scale":
            config = scale.configuration(kind, body)
            change = Configuration(kind, config, author, force, lambda new: None)
            written = await resource.update(target.namespace, target.name, change, options)
            return self._scaled(written.value, form, kind, target)
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
        self, target: Target, resource: Resource, change: Callable[[Obj], Obj], options: Options, form: Form
    ) -> Answer:
        def rescale(old: Obj) -> Obj:
            return scale.write(old, change(scale.read(old, resource.kind)), resource.kind)

        written = await resource.update(target.namespace, target.name, rescale, options)
        return self._scaled(written.value, form, resource.kind, target)

    def _scaled(self, value: bytes, form: Form, kind: Kind, target: Target) -> Answer:
        """The Scale of an object of a kind."""
        return self._answer(dumps(scale.read(orjson.loads(value), kind)), 200, form, scale.SCALE, target)

    async def _delete(self, request: web.BaseRequest, target: Target, resource: Resource) -> Answer:
        form = _form(request, target, resource.kind)
        if target.subresource:
            raise _not_served(target, resource.kind)
        options, delete = await _deletion(request, target, resource)
        written = await resource.delete(target.namespace, target.name, delete, options)
        if not written.removed or resource.strategy.returns_deleted:
            code = 202 if delete.cascades and not written.removed else 200
            return self._answer(written.value, code, form, resource.kind, target)
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
        if resource.asks:
            await resource.ready(page.records)
        gate = asyncio.Semaphore(_PARALLEL)

        async def one(key: str) -> None:
            namespace, _, name = key.removeprefix(resource.prefix).rpartition("/")
            async with gate:
                with ignoring(404):
                    await resource.delete(namespace, name, delete, options)

        try:
            async with asyncio.TaskGroup() as group:
                for record in page.records:
                    group.create_task(one(record.key))
        except ExceptionGroup as refused:
            # The rest stays.
            raise refused.exceptions[0] from None
        listed = forms.listed(resource, page.records, page.metadata, form, "Metadata", self._resources.now())
        return Reply(listed, 200, form.content_type, line=form.line)

    def _answer(self, value: bytes, status: int, form: Form, kind: Kind, target: Target) -> Reply:
        if form.plain:
            return Reply(value, status, JSON)
        include = target.query.get("includeObject", "Metadata")
        body = forms.one(kind, value, form, include, self._resources.now())
        return Reply(body, status, form.content_type, line=form.line)


async def _deprecated(kind: Kind, serving: Awaitable[Answer]) -> Answer:
    """The answer, with the warning of its kind."""
    answer = await serving
    return answer.warned([kind.deprecated]) if isinstance(answer, Reply) else answer


def _check_part(target: Target, resource: Resource, *known: str) -> None:
    """APIError 405 unless the subresource speaks the object's own type: one of known, or one of the kind's own."""
    if target.subresource not in known and target.subresource not in resource.strategy.parts:
        raise _not_served(target, resource.kind)


_NAMED = ("create", "update", "patch")


def _not_served(target: Target, kind: Kind) -> APIError:
    """The 405 of a verb that a path does not have. kube-apiserver has no route then, but for custom resources."""
    if isinstance(kind, CustomKind):
        return method_not_supported(kind.group, kind.plural, target.verb)
    return not_routed()


def _form(request: web.BaseRequest, target: Target, kind: Kind) -> Form:
    """What the client wants its answer to be. APIError 406."""
    custom = type(kind) is CustomKind and target.subresource != "scale"
    if not target.query and target.verb != "watch":
        # It depends on header lines only.
        return by_lines(request, _custom_form if custom else _plain_form)
    form = negotiation.accepted(request.headers.get("Accept", ""), custom, target.verb == "watch")
    return _readable(form, target.query, request)


def _plain_form(request: web.BaseRequest) -> Form:
    form = negotiation.accepted(request.headers.get("Accept", ""))
    return _readable(form, {}, request)


def _custom_form(request: web.BaseRequest) -> Form:
    form = negotiation.accepted(request.headers.get("Accept", ""), custom=True)
    return _readable(form, {}, request)


def _readable(form: Form, query: dict[str, str], request: web.BaseRequest) -> Form:
    """The form, for people to read if it is people who ask."""
    if form.media is Media.JSON and negotiation.pretty(query, request.headers.get("User-Agent", "")):
        return replace(form, pretty=True)
    return form


def _agent(request: web.BaseRequest) -> str:
    """The field manager of clients that name none."""
    return ownership.manager_of(request.headers.get("User-Agent", ""))


def _options(request: web.BaseRequest, target: Target, options_kind: str, apply: bool = False) -> Options:
    """What a write's query says. options_kind: the Kubernetes name of these options. APIError 400, 422."""
    query = target.query
    manager = query.get("fieldManager") if query else None
    if manager is not None or apply or "force" in query:
        ownership.check_options(options_kind, manager, query.get("force"), apply)
    manager = manager or by_lines(request, _agent)
    fields = scheme.Fields(query.get("fieldValidation") or scheme.WARN, target.warnings, options_kind)
    options = Options(False, fields, manager, target.subresource, user=target.user, kind=options_kind)
    target.annotations = options.annotations
    if not query:
        return options
    if "dryRun" in query:
        options.only_try([query["dryRun"]])
    return options


async def _deletion(request: web.BaseRequest, target: Target, resource: Resource) -> tuple[Options, DeleteOptions]:
    """What a DELETE says in its body, or without one in its query; its warnings noted."""
    query, kind = target.query, "DeleteOptions"
    fields = scheme.Fields(scheme.IGNORE, target.warnings, kind)
    options = Options(False, fields, by_lines(request, _agent), target.subresource, user=target.user, kind=kind)
    target.annotations = options.annotations
    body = await bodies.deletion(request, fields)
    if body is not None:
        options.only_try(body.get("dryRun") or [])
        delete = DeleteOptions.read(body)
    else:
        options.only_try([query["dryRun"]] if "dryRun" in query else [])
        delete = DeleteOptions.asked(query)
    target.warnings += resource.strategy.deletion_warnings(delete.propagation)
    return options, delete


def _patched(media: str, old: Obj, patch: Any, kind: Kind, fields: scheme.Fields) -> Obj:
    """An object of a kind, as a patch leaves it. APIError 400, 422 when that is none."""
    try:
        new = bodies.as_object(_apply(media, old, patch, kind.gvk))
        scheme.check_kind(kind, new)
        scheme.read(kind, new, fields)
    except (Unfit, Unreadable) as error:
        strategic = media == bodies.STRATEGIC_PATCH
        # Reading has changed it.
        shown = patch if strategic else _apply(media, old, patch, kind.gvk)
        raise invalid_patch(shown, strategic, error.detail if isinstance(error, Unfit) else str(error)) from None
    return new


def _apply(media: str, old: Obj, patch: Any, gvk: tuple[str, str, str]) -> Any:
    if media == bodies.JSON_PATCH:
        return json_patch(old, patch)
    if media == bodies.MERGE_PATCH:
        return merge_patch(old, patch)
    # It is a patch of this very type, whatever it says.
    named = {name: old[name] for name in ("kind", "apiVersion") if name in old}
    return {**strategic_merge_patch(old, patch, gvk), **named}

"""The paths of OpenAPI documents: every operation of every served resource.

Source: API concepts, "Resource URIs" and "Patch mechanisms"; the parameters are those of ListOptions, CreateOptions,
UpdateOptions, PatchOptions and DeleteOptions. Clients read more of it than shows: kubectl looks for
``fieldValidation`` and for the media types of ``patch`` before it relies on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hawser.api.crd.kinds import CustomKind
from hawser.api.discovery import Subresource, subresource
from hawser.api.kinds import Kind
from hawser.api.spec.schemas import V3_PREFIX
from hawser.api.types import Obj

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
DELETE_OPTIONS, STATUS, PATCH = _META + "DeleteOptions", _META + "Status", _META + "Patch"
COMMON = (DELETE_OPTIONS, STATUS, PATCH, _META + "WatchEvent", _META + "APIResourceList")
"""Definitions that every document has."""
OF_CUSTOM = (_META + "ObjectMeta", _META + "ListMeta", "io.k8s.api.autoscaling.v1.Scale")
"""Definitions that custom resources refer to."""

Names = dict[tuple[str, str, str], str]
"""Definition names by GVK."""

_PARAMETERS: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Ask a watch for BOOKMARK events, which tell how far it has come."),
    "command": ("string", "The command to run: argv, not run in a shell."),
    "container": ("string", "The container; the pod's only one when it is left out."),
    "continue": ("string", "Where a list that was cut by limit goes on: the token of its metadata."),
    "dryRun": ("string", "All: go through every stage, but keep nothing."),
    "fieldManager": ("string", "The name of the actor or entity that makes the change."),
    "fieldSelector": ("string", "Only objects whose fields match this selector."),
    "fieldValidation": ("string", "What unknown and duplicate fields are: Ignore, Warn (default) or Strict errors."),
    "follow": ("boolean", "Go on with what is written to the log from now on."),
    "force": ("boolean", "Take over fields that others own, when applying."),
    "gracePeriodSeconds": ("integer", "Seconds until the object is deleted; 0 deletes at once."),
    "insecureSkipTLSVerifyBackend": ("boolean", "Do not check the certificate of the node that has the log."),
    "labelSelector": ("string", "Only objects whose labels match this selector."),
    "limit": ("integer", "At most so many objects; metadata.continue says where the rest is."),
    "limitBytes": ("integer", "At most so many bytes of the log."),
    "name": ("string", "The name of the object."),
    "namespace": ("string", "The namespace of the objects."),
    "path": ("string", "The path to proxy to."),
    "ports": ("integer", "The ports to forward."),
    "pretty": ("string", "true: answer with line breaks and indentation."),
    "previous": ("boolean", "The log of the container's last run before this one."),
    "propagationPolicy": ("string", "What happens to dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "The version that the answer must not be older than."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant in a list: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Begin a watch with the objects that there are, then a bookmark."),
    "sinceSeconds": ("integer", "The log of the last so many seconds."),
    "stderr": ("boolean", "Stream the container's standard error."),
    "stdin": ("boolean", "Stream to the container's standard input."),
    "stdout": ("boolean", "Stream the container's standard output."),
    "stream": ("string", "Which stream of the log: All, Stdout or Stderr."),
    "tailLines": ("integer", "The last so many lines of the log."),
    "timeoutSeconds": ("integer", "Seconds after which a list or watch ends."),
    "timestamps": ("boolean", "Begin each line of the log with its time."),
    "tty": ("boolean", "Allocate a terminal."),
    "watch": ("boolean", "Send changes as they happen, instead of a list."),
}
_LIST = (
    "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds", "watch", "allowWatchBookmarks",
)  # fmt: skip
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds", "propagationPolicy")
_DELETE_COLLECTION = (*_DELETE, *(p for p in _LIST if p not in ("watch", "allowWatchBookmarks")))
_LOG = (
    "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream",
    "tailLines", "timestamps",
)  # fmt: skip
_CONNECT: dict[str, tuple[str, ...]] = {
    "attach": ("container", "stderr", "stdin", "stdout", "tty"),
    "exec": ("command", "container", "stderr", "stdin", "stdout", "tty"),
    "portforward": ("ports",),
    "proxy": ("path",),
}
_METHODS = {"create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}
_SPOKEN = {"create": "create", "get": "read", "update": "replace", "patch": "patch", "delete": "delete"}
_TEXTS = {
    "create": "create a {}",
    "get": "read the specified {}",
    "update": "replace the specified {}",
    "patch": "partially update the specified {}",
    "delete": "delete a {}",
    "list": "list or watch objects of kind {}",
    "deletecollection": "delete collection of {}",
}


def paths(kinds: Iterable[Kind], names: Names) -> dict[str, Obj]:
    """The OpenAPI 3 ``paths`` of these kinds, sorted."""
    made: dict[str, Obj] = {}
    for kind in kinds:
        made |= _resource_paths(kind, names)
        for name in kind.subresources:
            made |= _subresource_path(kind, name, subresource(kind, name), names)
    return dict(sorted(made.items()))


def spoken_definitions(kinds: Iterable[Kind], names: Names) -> list[str]:
    """The names of the definitions that the operations of these kinds speak."""
    spoken = list(COMMON)
    for kind in kinds:
        spoken.append(names[kind.gvk])
        if list_name := names.get((kind.group, kind.version, kind.list_kind)):
            spoken.append(list_name)
        for name in kind.subresources:
            gvk = _subresource_gvk(kind, subresource(kind, name))
            if gvk in names:
                spoken.append(names[gvk])
    return spoken


def _resource_paths(kind: Kind, names: Names) -> dict[str, Obj]:
    own = names[kind.gvk]
    listed = names.get((kind.group, kind.version, kind.list_kind), own)
    verbs = kind.verbs
    collection: Obj = {}
    if "list" in verbs:
        collection["get"] = _operation(kind, "list", _LIST, answer=listed, watch=True)
    if "create" in verbs:
        collection["post"] = _operation(kind, "create", _WRITE, body=own, answer=own)
    if "deletecollection" in verbs:
        collection["delete"] = _operation(kind, "deletecollection", _DELETE_COLLECTION, body=DELETE_OPTIONS)
    item: Obj = {}
    if "get" in verbs:
        item["get"] = _operation(kind, "get", (), answer=own)
    if "update" in verbs:
        item["put"] = _operation(kind, "update", _WRITE, body=own, answer=own)
    if "patch" in verbs:
        item["patch"] = _operation(kind, "patch", (*_WRITE, "force"), body=PATCH, answer=own)
    if "delete" in verbs:
        item["delete"] = _operation(kind, "delete", _DELETE, body=DELETE_OPTIONS)
    space = "{namespace}" if kind.namespaced else None
    made: dict[str, Obj] = {}
    if collection:
        made[kind.path(space)] = _with_parameters(collection, kind, named=False)
    if item:
        made[kind.path(space, "{name}")] = _with_parameters(item, kind, named=True)
    if kind.namespaced and "list" in verbs:
        everywhere = _operation(kind, "list", _LIST, answer=listed, watch=True)
        everywhere["operationId"] = f"list{_scope(kind)}{kind.kind}ForAllNamespaces"
        made[kind.path()] = {"get": everywhere, "parameters": [_parameter("pretty")]}
    return made


def _subresource_gvk(kind: Kind, speaks: Subresource) -> tuple[str, str, str]:
    if speaks.version:
        return speaks.group, speaks.version, speaks.kind
    return kind.group, kind.version, speaks.kind


def _subresource_path(kind: Kind, name: str, speaks: Subresource, names: Names) -> dict[str, Obj]:
    gvk = _subresource_gvk(kind, speaks)
    definition = names.get(gvk, names[kind.gvk])
    item: Obj = {}
    for verb in speaks.verbs:
        if name in _CONNECT:
            operation = _operation(kind, verb, _CONNECT[name], text=True)
            operation["x-kubernetes-action"] = "connect"
            method = _METHODS[verb].capitalize()
            suffix = f"{method}{_namespaced(kind)}{name.capitalize()}"
            operation["operationId"] = f"connect{_scope(kind)}{suffix}"
            operation["description"] = f"connect {_METHODS[verb].upper()} requests to {name} of {kind.kind}"
        else:
            body = {"create": definition, "update": definition, "patch": PATCH}.get(verb)
            parameters = (
                *(_LOG if name == "log" else ()),
                *(_WRITE if body else ()),
                *(("force",) if verb == "patch" else ()),
            )
            operation = _operation(kind, verb, parameters, body=body, answer=definition, text=name == "log")
            operation["operationId"] += name.capitalize()
            operation["description"] = _TEXTS[verb].format(f"{name} of {kind.kind}")
        operation["x-kubernetes-group-version-kind"] = dict(zip(("group", "version", "kind"), gvk, strict=True))
        item[_METHODS[verb]] = operation
    space = "{namespace}" if kind.namespaced else None
    return {kind.path(space, "{name}", name): _with_parameters(item, kind, named=True)}


def _scope(kind: Kind) -> str:
    """``CoreV1``, ``AppsV1``: the group's first label and the version, as operation ids have them."""
    return (kind.group.partition(".")[0] or "core").capitalize() + kind.version.capitalize()


def _namespaced(kind: Kind) -> str:
    return f"Namespaced{kind.kind}" if kind.namespaced else kind.kind


def _operation(
    kind: Kind,
    verb: str,
    parameters: Iterable[str],
    *,
    body: str | None = None,
    answer: str = STATUS,
    watch: bool = False,
    text: bool = False,
) -> Obj:
    """One operation. body and answer are definition names; text: the answer is plain text or a stream."""
    collection = "Collection" if verb == "deletecollection" else ""
    spoken = {"list": "list", "deletecollection": "delete"}.get(verb) or _SPOKEN[verb]
    media: Obj = {"application/json": {"schema": _ref(answer)}}
    if watch:
        media["application/json;stream=watch"] = {"schema": _ref(answer)}
    if text:
        media = {"text/plain": {"schema": {"type": "string"}}}
    answers = {"200": {"description": "OK", "content": media}}
    if verb == "create" and not text:
        answers["201"] = {"description": "Created", "content": media}
    if verb == "delete" and not text:
        answers["202"] = {"description": "Accepted", "content": media}
    operation: Obj = {
        "description": _TEXTS[verb].format(kind.kind),
        "operationId": f"{spoken}{_scope(kind)}{collection}{_namespaced(kind)}",
        "tags": [f"{kind.group.partition('.')[0] or 'core'}_{kind.version}"],
        "parameters": [_parameter(name) for name in parameters],
        "responses": {**answers, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }
    if body:
        types: tuple[str, ...] = ("application/json",)
        if verb == "patch":
            # Only definitions of Kubernetes say how lists are merged.
            types = tuple(t for t in PATCH_TYPES if "strategic" not in t or not isinstance(kind, CustomKind))
        operation["requestBody"] = {"content": {each: {"schema": _ref(body)} for each in types}}
        if verb in ("create", "update", "patch"):
            operation["requestBody"]["required"] = True
    return operation


def _with_parameters(item: Obj, kind: Kind, *, named: bool) -> Obj:
    shared = [*(["name"] if named else []), *(["namespace"] if kind.namespaced else [])]
    return {**item, "parameters": [*(_parameter(name, "path") for name in shared), _parameter("pretty")]}


def _parameter(name: str, place: str = "query") -> Obj:
    kind, text = _PARAMETERS[name]
    made: Obj = {"name": name, "in": place, "description": text, "schema": {"type": kind, "uniqueItems": True}}
    return made | {"required": True} if place == "path" else made


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": V3_PREFIX + name}

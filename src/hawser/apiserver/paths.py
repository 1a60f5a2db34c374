"""From a request line to what is asked for: the resource, the object and the verb.

Source: API concepts, "Resource URIs"; the verbs are those of authorization ("Determine the request verb").
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

from hawser.api import scalars
from hawser.api.errors import bad_request
from hawser.api.kinds import BY_RESOURCE, NAMESPACE, Kind
from hawser.apiserver.identity import ANONYMOUS

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_EMPTY: dict[str, str] = {}


class Target:
    """What a request asks for.

    path: decoded, without the query. query: the first value of each parameter. kind: None for paths that are not
    resources of the kind table. verb: create, update, patch, delete, deletecollection, get, list or watch; for other
    paths the method in lower case. rest: what follows the subresource (``nodes/n/proxy/REST``). user: who asks, once
    that is known. warnings: what the client is to be told beside the answer.
    annotations: what admission says to the audit log.
    """

    __slots__ = (
        "annotations",
        "group",
        "kind",
        "name",
        "namespace",
        "path",
        "query",
        "resource",
        "rest",
        "subresource",
        "user",
        "verb",
        "warnings",
    )

    def __init__(self, path: str, query: dict[str, str]) -> None:
        self.path = path
        self.query = query
        self.kind: Kind | None = None
        self.group = ""
        self.resource = ""
        self.namespace = ""
        self.name = ""
        self.subresource = ""
        self.rest = ""
        self.verb = ""
        self.user = ANONYMOUS
        self.warnings: list[str] = []
        self.annotations: dict[str, str] | None = None

    def flag(self, name: str) -> bool:
        """A boolean query parameter; see ``parse_flag``."""
        value = self.query.get(name)
        return value is not None and parse_flag(value)

    def again(self) -> Target:
        """What a request of the same words asks for."""
        made = Target(self.path, self.query)
        made.kind = self.kind
        made.group = self.group
        made.resource = self.resource
        made.namespace = self.namespace
        made.verb = self.verb
        return made


def parse_flag(text: str) -> bool:
    """A boolean of a query as Kubernetes reads it: only ``0`` and ``false`` are not true."""
    return text != "0" and text.lower() != "false"


def parse_integer(text: str) -> int:
    """An integer of a query. APIError 400 in Go's words."""
    try:
        return scalars.integer(text)
    except scalars.DecodeError as error:
        raise bad_request(str(error)) from None


_creations: dict[bytes, Target] = {}
_REMEMBERED = 1024
_LONGEST = 256
"""Bytes of a request line that is remembered: whoever asks is not known yet, and must not fill the memory."""


def known(line: bytes) -> Target | None:
    """What a request line asks for that is known to ask for a creation."""
    found = _creations.get(line)
    return found.again() if found is not None else None


def remember(line: bytes, target: Target) -> None:
    """Know a request line next time, if it is one of the few that come again and again."""
    fits = len(line) <= _LONGEST and not target.query and not target.name
    if fits and target.verb == "create" and type(target.kind) is Kind:
        if len(_creations) >= _REMEMBERED:
            _creations.clear()
        _creations[line] = target.again()


def parse_query(text: str) -> dict[str, str]:
    """The parameters of a query; of one that is given several times the first counts."""
    if "%" in text or "+" in text:
        return dict(reversed(parse_qsl(text, keep_blank_values=True)))
    # Of the same outcome, and ten times as quick.
    query = {}
    for part in reversed(text.split("&")):
        if part:
            name, _, value = part.partition("=")
            query[name] = value
    return query


def parse(method: str, raw: str) -> Target:
    """Read a request line's method and raw target (path and query, percent-encoded)."""
    path, mark, tail = raw.partition("?")
    query = parse_query(tail) if mark else _EMPTY
    parts = path.split("/")
    if "%" in path:
        parts = [unquote(part) for part in parts]
        path = unquote(path)
    target = Target(path, query)
    target.verb = method.lower()
    if parts[-1] == "" and len(parts) > 2:
        parts.pop()
    if len(parts) > 3 and parts[1] == "api":
        _resource(target, method, "", parts[2], parts, 3)
    elif len(parts) > 4 and parts[1] == "apis":
        _resource(target, method, parts[2], parts[3], parts, 4)
    return target


def _resource(target: Target, method: str, group: str, version: str, parts: list[str], at: int) -> None:
    """Fill in the resource that parts[at:] name; kind stays None when it is not served."""
    count = len(parts) - at
    # namespaces/NAME/status and namespaces/NAME/finalize are the namespace's own; anything else below is in it.
    if parts[at] == "namespaces" and count > 2 and parts[at + 2] not in NAMESPACE.subresources:
        target.namespace = parts[at + 1]
        at += 2
        count -= 2
    target.group = group
    target.resource = parts[at]
    kind = BY_RESOURCE.get((group, version, parts[at]))
    if kind is None:
        if target.resource == "watch" and count > 1 and parts[at + 1] != "watch" and not target.namespace:
            # As clients watched before there was a parameter for it.
            _resource(target, method, group, version, parts, at + 1)
            target.verb = "watch"
            if target.subresource:
                target.kind = None
            return
    elif target.namespace:
        if not kind.namespaced:
            kind = None
    elif count > 1 and kind.namespaced:
        kind = None
    target.kind = kind
    verb = _VERBS.get(method, target.verb)
    if count > 1:
        target.name = parts[at + 1]
        if kind is NAMESPACE:
            target.namespace = target.name
        if count > 2:
            target.subresource = parts[at + 2]
            target.rest = "/".join(parts[at + 3 :])
    elif verb == "get":
        verb = "watch" if target.query and target.flag("watch") else "list"
    elif verb == "delete":
        verb = "deletecollection"
    if target.query and target.name and verb == "get" and not target.subresource and target.flag("watch"):
        verb = "watch"
    target.verb = verb

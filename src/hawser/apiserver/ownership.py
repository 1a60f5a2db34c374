"""Field ownership at the registry: which manager writes, and what a kind's requests may own.

Source: Kubernetes documentation, "Server-Side Apply" (managers, conflicts, transferring ownership); the wording of the
option errors is that of kube-apiserver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from hawser.api import conversion, schema
from hawser.api.apply import owners, types
from hawser.api.apply.owners import Applied, Author, Entry
from hawser.api.apply.types import UnfitError
from hawser.api.apply.versions import View, Views
from hawser.api.errors import APIError, Cause, FieldError, bad_request, invalid
from hawser.api.kinds import Kind
from hawser.api.strategic import clone
from hawser.api.types import Obj

SERVER = "kube-apiserver"
"""The manager of what the server writes by itself."""
_LIMIT = 128


@lru_cache(maxsize=256)
def manager_of(user_agent: str) -> str:
    """The manager of a client that does not name one: its User-Agent as far as the first ``/``."""
    name = user_agent.partition("/")[0]
    return "".join(c for c in name if c.isprintable())[:_LIMIT] or "unknown"


def check_options(options_kind: str, manager: str | None, force: str | None, apply: bool) -> None:
    """APIError 422 for a fieldManager or force that may not be; options_kind: ``PatchOptions``, for one."""
    errors = []
    if force is not None and not apply:
        errors.append(FieldError(Cause.FORBIDDEN, "force", "may not be specified for non-apply patch"))
    if apply and not manager:
        errors.append(FieldError(Cause.REQUIRED, "fieldManager", "is required for apply patch"))
    if manager and len(manager.encode()) > _LIMIT:
        errors.append(FieldError(Cause.TOO_LONG, "fieldManager", f"may not be more than {_LIMIT} bytes"))
    if manager and not manager.isprintable():
        errors.append(FieldError(Cause.INVALID, "fieldManager", "should only contain printable characters", manager))
    if errors:
        raise invalid("meta.k8s.io", options_kind, "", errors)


def ignored(kind: Kind, subresource: str) -> tuple[str, ...]:
    """The top-level fields that a request to the object, or to its subresource, does not set."""
    if not kind.has_status:
        return ()
    if subresource != "status":
        return _STATUS
    node = types.root(kind.gvk)
    known = node.fields if isinstance(node, types.Granular) else {}
    return tuple(name for name in known if name not in ("metadata", "status"))


_STATUS = ("status",)


def created(kind: Kind, obj: Obj, author: Author) -> list[Entry]:
    """The owners of a new object."""
    return owners.created(types.root(kind.gvk), obj, author, ignored(kind, ""))


def updated(kind: Kind, old: Obj, new: Obj, held: list[Entry], given: object, author: Author) -> list[Entry]:
    """The owners of an object after an update.

    held: those so far. given: the managedFields that came with new, or None; they count when they can be read, except
    below a subresource. An object without owners gets none until it is first applied to.
    """
    if given is not None and given != held and not author.subresource:
        read = owners.decode(given)
        held = held if read is None else read
    if not held:
        return held
    roots = ignored(kind, author.subresource)
    return owners.updated(types.root(kind.gvk), old, new, held, author, roots, views(kind))


def views(kind: Kind) -> Views | None:
    """How managers of other versions of a kind see its objects; None for kinds whose versions have the same fields."""
    rows = conversion.forms(kind)
    if not rows:
        return None

    def view(obj: Obj, version: str) -> View | None:
        row = rows.get(version)
        if row is None:
            return None
        return types.root(row.gvk), conversion.convert(obj, rows[obj["apiVersion"]], row)

    return view


@dataclass(slots=True)
class Configuration:
    """What a client applies. read: prepares the merged object (types, defaults), in place."""

    kind: Kind
    config: Obj
    author: Author
    force: bool
    read: Callable[[Obj], None]

    def apply(self, live: Obj, held: list[Entry]) -> Applied:
        """Apply it to an object; live is empty when there is none. APIError 400, 409, 500."""
        kind = self.kind
        roots = ignored(kind, self.author.subresource)
        node = types.root(kind.gvk)
        try:
            done = owners.apply(
                node, live, self.config, held, self.author, force=self.force, ignored=roots, views=views(kind)
            )
        except UnfitError as error:
            raise untyped(kind, self.config, str(error)) from None
        self.read(done.object)
        return done


def configuration(kind: Kind, body: Obj) -> Obj:
    """A body as what is to be applied: types checked and values in normal form; nulls stay. APIError 400, 500."""
    version = body.get("apiVersion", "")
    if version != kind.api_version:
        raise bad_request(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {version}, expected: {kind.api_version}"
        )
    if body.get("kind") != kind.kind:
        raise bad_request(
            f"Incorrect kind specified in apply patch. Specified kind: {body.get('kind', '')}, expected: {kind.kind}"
        )
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    config: Obj = clone(body)
    complaints = schema.decode(kind, config)
    if complaints:
        unknown = complaints[0].removeprefix("unknown field ").strip('"')
        raise untyped(kind, body, f".{unknown}: field not declared in schema")
    _restore_nulls(config, body)
    return config


def untyped(kind: Kind, config: Obj, reason: str) -> APIError:
    """500 of a configuration that is not of its kind's type."""
    metadata = config.get("metadata") or {}
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    what = f"{name}; {kind.api_version}, Kind={kind.kind}"
    return APIError(500, "Unknown", f"failed to create typed patch object ({what}): {reason}")


def _restore_nulls(config: object, body: object) -> None:
    """Decoding drops nulls, but a null that is applied says that the field shall not be there."""
    if isinstance(config, dict) and isinstance(body, dict):
        for name, value in body.items():
            if value is None:
                config[name] = None
            elif name in config:
                _restore_nulls(config[name], value)
    elif isinstance(config, list) and isinstance(body, list):
        for mine, theirs in zip(config, body, strict=False):
            _restore_nulls(mine, theirs)

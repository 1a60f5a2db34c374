"""The order in which the pure API functions are applied to what clients send."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from hawser.api import schema
from hawser.api.crd.kinds import CustomKind
from hawser.api.crd.warnings import warnings
from hawser.api.defaults import apply_defaults
from hawser.api.errors import Cause, FieldError, bad_request, invalid
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION, Kind
from hawser.api.types import Obj
from hawser.api.validation import validate_create, validate_status_update, validate_update

STRICT = "Strict"
WARN = "Warn"
IGNORE = "Ignore"


class Repeated(NamedTuple):
    """Keys that occur twice: ``duplicate field "x"`` in JSON, ``line 3: key "x" already set in map`` in YAML."""

    fields: list[str]
    lines: list[str]


NOTHING_REPEATED = Repeated([], [])


def yaml_error(lines: list[str]) -> str:
    """What a strict reader of YAML says of repeated keys."""
    return "\n  ".join(("yaml: unmarshal errors:", *lines))


class Fields:
    """How unknown and duplicate fields of one request are treated (``fieldValidation``), and the warnings so far.

    repeated: what was found in the body before it was known what it is; reported with everything else.
    """

    __slots__ = ("mode", "repeated", "warnings")

    def __init__(self, mode: str = WARN, warnings: list[str] | None = None, options: str = "CreateOptions") -> None:
        """options: the Kubernetes name of the options that say the mode. APIError 422 for a mode that is none."""
        if mode not in (STRICT, WARN, IGNORE):
            detail = 'supported values: "", "Ignore", "Strict", "Warn"'
            error = FieldError(Cause.NOT_SUPPORTED, "fieldValidation", detail, mode)
            raise invalid("meta.k8s.io", options, "", [error])
        self.mode = mode
        self.warnings: list[str] = [] if warnings is None else warnings
        self.repeated = NOTHING_REPEATED

    def report(self, kind: Kind, complaints: list[str]) -> None:
        """Warn of, refuse (APIError 400) or forget what strict decoding would not take."""
        repeated, self.repeated = self.repeated, NOTHING_REPEATED
        if (not complaints and repeated is NOTHING_REPEATED) or self.mode == IGNORE:
            return
        if self.mode == STRICT:
            lines = [yaml_error(repeated.lines)] if repeated.lines else []
            raise schema.strict_error(kind, [*lines, *complaints, *repeated.fields])
        self.warnings += [*repeated.lines, *complaints, *repeated.fields]


def read(kind: Kind, obj: Obj, fields: Fields) -> None:
    """Check an object's types and fill in its defaults, in place. APIError 400 for what does not decode."""
    fields.report(kind, schema.decode(kind, obj))
    apply_defaults(kind, obj)
    if isinstance(kind, CustomKind):
        if kind.model.warning:
            fields.warnings.append(kind.model.warning)
    elif kind is CUSTOM_RESOURCE_DEFINITION:
        fields.warnings += warnings(obj)


def check_kind(kind: Kind, obj: Obj) -> None:
    """APIError 400 unless apiVersion and kind are absent or what the URL says; absent ones are filled in."""
    version = obj.get("apiVersion") or kind.api_version
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    name = obj.get("kind") or kind.kind
    if name != kind.kind:
        expected = f"{kind.group}, {kind.version}" if kind.group else f"/{kind.version}"
        raise bad_request(
            f"{name} in version {version.rpartition('/')[2]!r} cannot be handled as a {kind.kind}: "
            f"no kind {name!r} is registered for {expected}".replace("'", '"')
        )
    obj["apiVersion"] = version
    obj["kind"] = name


def check_create(kind: Kind, obj: Obj) -> None:
    """APIError 422 with every field error of a new object."""
    errors = validate_create(kind, obj)
    if errors:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), errors)


def check_update(kind: Kind, obj: Obj, old: Obj, told: list[str] | None = None) -> None:
    """APIError 422 with every field error of a changed object. told: takes warnings."""
    errors = validate_update(kind, obj, old, told)
    if errors:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), errors)


def duplicates(body: bytes, obj: Obj) -> list[str]:
    """``duplicate field "x"`` for every repeated key of a JSON body; obj is the decoded body.

    A repeated key leaves a colon less after decoding and encoding again, so the slow look happens only then.
    """
    return schema.duplicates(body) if body.count(b":") > orjson.dumps(obj).count(b":") else []


def check_status(kind: Kind, obj: Obj, old: Obj, told: list[str] | None = None) -> None:
    """APIError 422 with every field error of a changed status. told: takes warnings."""
    errors = validate_status_update(kind, obj, old, told)
    if errors:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), errors)

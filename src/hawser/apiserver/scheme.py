"""The order in which the pure API functions are applied to what clients send."""

from __future__ import annotations

from typing import Any, NamedTuple

from hawser.api import kinds, schema
from hawser.api.crd.kinds import CustomKind
from hawser.api.crd.warnings import warnings
from hawser.api.defaults import apply_defaults
from hawser.api.encoding import dumps
from hawser.api.errors import APIError, Cause, FieldError, Unfit, bad_request, invalid
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
    """APIError 400, 422 unless apiVersion and kind are absent or what the URL says; absent ones are filled in."""
    version, name = obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.kind
    if version != kind.api_version or name != kind.kind:
        raise _mistaken(kind, version, name)
    obj["apiVersion"], obj["kind"] = version, name


IN_SCHEME = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
"""Where kube-apiserver's kinds are registered, which it tells clients."""


def _mistaken(kind: Kind, version: Any, name: Any) -> APIError:
    """What is to be said of an object of another kind or version. Source: kube-apiserver's decoder."""
    if version == kind.api_version and isinstance(kind, CustomKind):
        return invalid(kind.group, kind.kind, "", [FieldError(Cause.INVALID, "kind", f"must be {kind.kind}", name)])
    group, _, short = str(version).rpartition("/")
    if isinstance(kind, CustomKind) or (group == kind.group and name == kind.kind and kinds.of(version, name)):
        return bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if kinds.of(str(version), str(name)) is None:
        detail = f'no kind "{name}" is registered for version "{version}" {IN_SCHEME}'
    else:
        detail = f"converting ({short}.{name}) to ({go_type(kind)}): unknown conversion"
    return Unfit(str(name), short, detail, kind.kind)


def go_type(kind: Kind, suffix: str = "") -> str:
    """What kube-apiserver calls a kind in messages: the type of its own in Go."""
    return f"{kind.group.partition('.')[0] or 'core'}.{kind.kind}{suffix}"


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

    A repeated key leaves a colon less after decoding and encoding again, so the slow look happens only then. APIError
    400 for an object that could not be stored, as it is nested too deeply.
    """
    return schema.duplicates(body) if body.count(b":") > dumps(obj).count(b":") else []


def check_status(kind: Kind, obj: Obj, old: Obj, told: list[str] | None = None) -> None:
    """APIError 422 with every field error of a changed status. told: takes warnings."""
    errors = validate_status_update(kind, obj, old, told)
    if errors:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), errors)

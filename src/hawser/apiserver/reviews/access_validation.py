"""Validation of access reviews. Source: API reference, authorization.k8s.io; the words are kube-apiserver's."""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.errors import Cause, FieldError
from hawser.api.types import Obj

_METADATA = "metadata"


def self_subject(review: Obj) -> list[FieldError]:
    """Of a SelfSubjectAccessReview."""
    return [*_asked(review.get("spec") or {}), *_metadata(review, ())]


def subject(review: Obj) -> list[FieldError]:
    """Of a SubjectAccessReview."""
    return [*_asked(review.get("spec") or {}, True), *_metadata(review, ())]


def local_subject(review: Obj) -> list[FieldError]:
    """Of a LocalSubjectAccessReview, whose metadata names its namespace."""
    spec = review.get("spec") or {}
    errors = [*_asked(spec, True), *_metadata(review, ("namespace",))]
    asked = spec.get("resourceAttributes")
    if asked is not None and (asked.get("namespace") or "") != review[_METADATA].get("namespace", ""):
        path = "spec.resourceAttributes.namespace"
        errors.append(FieldError(Cause.INVALID, path, "must match metadata.namespace", asked.get("namespace") or ""))
    if spec.get("nonResourceAttributes") is not None:
        detail, value = "disallowed on this kind of request", spec["nonResourceAttributes"]
        errors.append(FieldError(Cause.INVALID, "spec.nonResourceAttributes", detail, value))
    return errors


def _metadata(review: Obj, allowed: tuple[str, ...]) -> Iterator[FieldError]:
    metadata = review.get(_METADATA) or {}
    if any(value for key, value in metadata.items() if key not in (*allowed, "managedFields")):
        detail = "must be empty" + (f" except for {allowed[0]}" if allowed else "")
        yield FieldError(Cause.INVALID, _METADATA, detail, metadata)


def _asked(spec: Obj, of_somebody: bool = False) -> Iterator[FieldError]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        yield FieldError(Cause.INVALID, "spec.nonResourceAttributes", detail, path)
    if resource is None and path is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield FieldError(Cause.INVALID, "spec.resourceAttributes", detail, None)
    if of_somebody and not spec.get("user") and not spec.get("groups"):
        yield FieldError(Cause.INVALID, "spec.user", "at least one of user or group must be specified", "")
    if resource is not None:
        for field in ("fieldSelector", "labelSelector"):
            if resource.get(field) is not None:
                yield from _selector(resource[field], f"spec.resourceAttributes.{field}")


def _selector(selector: Obj, path: str) -> Iterator[FieldError]:
    raw, requirements = selector.get("rawSelector"), selector.get("requirements")
    if raw and requirements:
        detail = "may not specified at the same time as requirements"
        yield FieldError(Cause.INVALID, f"{path}.rawSelector", detail, raw)
    if not raw and not requirements:
        detail = f"when {path} is specified, requirements or rawSelector is required"
        yield FieldError(Cause.REQUIRED, f"{path}.requirements", detail)
    for number, one in enumerate(requirements or ()):
        yield from _requirement(one, f"{path}.requirements[{number}]")


def _requirement(one: Obj, path: str) -> Iterator[FieldError]:
    """Operators that are not known are the caller's own risk: newer clients may know more of them."""
    operator, values = one.get("operator", ""), one.get("values")
    if not one.get("key"):
        yield FieldError(Cause.REQUIRED, f"{path}.key", "must be specified")
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            yield FieldError(Cause.REQUIRED, f"{path}.values", detail)
    elif operator in ("Exists", "DoesNotExist") and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield FieldError(Cause.FORBIDDEN, f"{path}.values", detail)

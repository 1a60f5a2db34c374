"""The one error of the Kubernetes API: a Status, raised as an exception.

Source of the codes and reasons: API conventions, "Response Status Kind", and the metav1.StatusReason and
metav1.CauseType constants of the API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hawser.api.types import Obj


class Cause(StrEnum):
    """metav1.CauseType: what is wrong with one field."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    DUPLICATE = "FieldValueDuplicate"
    NOT_SUPPORTED = "FieldValueNotSupported"
    NOT_FOUND = "FieldValueNotFound"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    TYPE_INVALID = "FieldValueTypeInvalid"


_LEAD = {
    Cause.REQUIRED: "Required value",
    Cause.INVALID: "Invalid value",
    Cause.DUPLICATE: "Duplicate value",
    Cause.NOT_SUPPORTED: "Unsupported value",
    Cause.NOT_FOUND: "Not found",
    Cause.FORBIDDEN: "Forbidden",
    Cause.TOO_LONG: "Too long",
    Cause.TOO_MANY: "Too many",
    Cause.TYPE_INVALID: "Invalid value",
}
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One validation error.

    field: path as Kubernetes writes it, ``spec.containers[0].name`` or ``metadata.labels``.
    detail: the sentence after the lead ("must be greater than 0"); may be empty.
    value: the offending value; shown for INVALID, DUPLICATE, NOT_SUPPORTED, NOT_FOUND, TYPE_INVALID.
    """

    cause: Cause
    field: str
    detail: str = ""
    value: Any = _UNSET

    @property
    def message(self) -> str:
        """The text after the field, as field.Error.ErrorBody writes it: ``Invalid value: "x": detail``."""
        text = _LEAD[self.cause]
        if self.value is not _UNSET and self.cause not in (
            Cause.REQUIRED,
            Cause.FORBIDDEN,
            Cause.TOO_LONG,
            Cause.TOO_MANY,
        ):
            text += f": {_show(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def _show(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        import json

        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


class APIError(Exception):
    """A failed API call, carrying the Kubernetes Status that describes it.

    Raised by the API server's handlers (and sent as the response body) and by the client (decoded from one).
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Obj | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.listing: Obj = {}
        """The metadata of the Status, a list's."""

    @property
    def status(self) -> Obj:
        """The metav1.Status of this error."""
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.listing,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @classmethod
    def from_status(cls, status: Obj) -> APIError:
        """The error that a decoded Status describes."""
        return cls(
            int(status.get("code") or 500),
            status.get("reason") or "Unknown",
            status.get("message") or "unknown error",
            details=status.get("details"),
        )


class Unfit(APIError):
    """400 BadRequest: an object does not decode as what it should be. detail: why, in itself. wanted: that kind."""

    def __init__(self, kind: str, version: str, detail: str, wanted: str = "") -> None:
        message = f'{kind} in version "{version}" cannot be handled as a {wanted or kind}: {detail}'
        super().__init__(400, "BadRequest", message)
        self.detail = detail


class Unreadable(Exception):
    """What a client sent cannot be read at all; the text says why, as Go's decoders do."""


@contextmanager
def ignoring(*codes: int) -> Iterator[None]:
    """Goes on after an APIError with one of these codes: 404 where it is well that an object is gone already, say."""
    try:
        yield
    except APIError as error:
        if error.code not in codes:
            raise


def _who(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def _details(group: str, resource: str, name: str) -> Obj:
    return {key: value for key, value in (("name", name), ("group", group), ("kind", resource)) if value}


def not_found(group: str, resource: str, name: str) -> APIError:
    """404 NotFound: ``pods "x" not found``. resource is the plural."""
    return APIError(
        404,
        "NotFound",
        f'{_who(group, resource)} "{name}" not found',
        details=_details(group, resource, name),
    )


def already_exists(group: str, resource: str, name: str) -> APIError:
    """409 AlreadyExists."""
    return APIError(
        409,
        "AlreadyExists",
        f'{_who(group, resource)} "{name}" already exists',
        details=_details(group, resource, name),
    )


def conflict(group: str, resource: str, name: str, detail: str = "") -> APIError:
    """409 Conflict; without detail, the words of a failed optimistic lock."""
    detail = detail or ("the object has been modified; please apply your changes to the latest version and try again")
    return APIError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {_who(group, resource)} "{name}": {detail}',
        details=_details(group, resource, name),
    )


def invalid(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> APIError:
    """422 Invalid with one cause per field error; kind is the CamelCase kind."""
    listed = list(errors)
    texts = [str(e) for e in listed]
    body = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(group, kind, name)
    details["causes"] = [{"reason": str(e.cause), "message": e.message, "field": e.field} for e in listed]
    return APIError(422, "Invalid", f'{_who(group, kind)} "{name}" is invalid: {body}', details=details)


def bad_request(message: str) -> APIError:
    """400 BadRequest: the request could not be understood at all."""
    return APIError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> APIError:
    """401 Unauthorized."""
    return APIError(401, "Unauthorized", message)


def forbidden(group: str, resource: str, name: str, message: str) -> APIError:
    """403 Forbidden."""
    subject = f'{_who(group, resource)} "{name}"' if name else _who(group, resource)
    return APIError(
        403,
        "Forbidden",
        f"{subject} is forbidden: {message}",
        details=_details(group, resource, name),
    )


def method_not_supported(group: str, resource: str, verb: str) -> APIError:
    """405 MethodNotAllowed."""
    return APIError(
        405,
        "MethodNotAllowed",
        f"{verb} is not supported on resources of kind {_who(group, resource)!r}".replace("'", '"'),
        details=_details(group, resource, ""),
    )


def no_resource() -> APIError:
    """404 NotFound of a path that is no resource."""
    return APIError(404, "NotFound", "the server could not find the requested resource", details={})


def not_routed() -> APIError:
    """405 MethodNotAllowed of a path that is served, but not with this method."""
    return APIError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def expired(message: str) -> APIError:
    """410 Expired: the asked resourceVersion is gone; the client lists again."""
    return APIError(410, "Expired", message)


def unsupported_media_type(message: str) -> APIError:
    """415 UnsupportedMediaType."""
    return APIError(415, "UnsupportedMediaType", message)


def not_acceptable(message: str) -> APIError:
    """406 NotAcceptable."""
    return APIError(406, "NotAcceptable", message)


def request_too_large(message: str) -> APIError:
    """413 RequestEntityTooLarge."""
    return APIError(413, "RequestEntityTooLarge", message)


def internal(message: str) -> APIError:
    """500 InternalError."""
    return APIError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        details={"causes": [{"message": message}]},
    )


def service_unavailable(message: str) -> APIError:
    """503 ServiceUnavailable."""
    return APIError(503, "ServiceUnavailable", message)


def timeout(message: str, retry_after: int = 1) -> APIError:
    """504 Timeout."""
    return APIError(504, "Timeout", message, details={"retryAfterSeconds": retry_after})


def not_implemented(message: str) -> APIError:
    """501 NotImplemented: the request is valid Kubernetes, but this server does not do it."""
    return APIError(501, "NotImplemented", message)

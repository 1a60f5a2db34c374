"""Validation of CertificateSigningRequests. Source: API reference, certificates.k8s.io/v1."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from hawser.api import certificates
from hawser.api.certificates import APPROVED, DENIED, FAILED, LEGACY_UNKNOWN, RequestError
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, duplicate, forbidden, invalid, required, too_long, unsupported

_LEAST_SECONDS = 600
_LASTING = (APPROVED, DENIED, FAILED)
_DOMAIN_LIMIT = 253
_CERTIFICATE = "<certificate data>"
_BEGIN, _END = b"-----BEGIN ", b"-----END CERTIFICATE-----"


def any_name(value: str) -> tuple[str, ...]:
    """Requests may be called anything."""
    return ()


def request(obj: Obj) -> Errors:
    """The whole object."""
    spec: Obj = obj.get("spec") or {}
    try:
        certificates.parse(spec.get("request") or "")
    except RequestError as error:
        yield invalid("spec.request", spec.get("request") or "", str(error))
    yield from _usages(spec.get("usages") or [])
    signer = spec.get("signerName") or ""
    if signer == LEGACY_UNKNOWN:
        yield invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version")
    else:
        yield from signer_name(signer, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _LEAST_SECONDS:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        yield invalid("spec.expirationSeconds", seconds, detail)
    status = obj.get("status") or {}
    yield from _conditions(status.get("conditions") or [])
    yield from _certificate(status.get("certificate") or "")


def _usages(usages: list[str]) -> Errors:
    if not usages:
        yield required("spec.usages", "usages must be provided")
    for i, usage in enumerate(usages):
        if usage not in certificates.USAGES:
            yield unsupported(f"spec.usages[{i}]", usage, sorted(certificates.USAGES))
        if usage in usages[:i]:
            yield duplicate(f"spec.usages[{i}]", usage)


def signer_name(name: str, path: str) -> Errors:
    """``DOMAIN/PATH``, both of DNS labels."""
    if not name:
        yield required(path)
    segments = name.split("/")
    if len(segments) != 2:
        form = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield invalid(path, name, form)
        return
    domain, rest = segments
    if len(domain) > _DOMAIN_LIMIT:
        yield too_long(path, _DOMAIN_LIMIT)
    labels = domain.split(".")
    yield from _first_bad(path, domain, labels, rules.label_errors)
    if len(labels) < 2:
        yield invalid(path, domain, "should be a domain with at least two segments separated by dots")
    yield from _first_bad(path, rest, rest.split("."), rules.subdomain_errors)


def _first_bad(path: str, whole: str, labels: list[str], check: rules.NameRule) -> Errors:
    for label in labels:
        messages = list(check(label))
        if messages:
            for message in messages:
                yield invalid(path, whole, f'validating label "{label}": {message}')
            return


def _conditions(conditions: list[Obj]) -> Errors:
    seen: set[str] = set()
    for i, one in enumerate(conditions):
        path, kind, status = f"status.conditions[{i}]", one.get("type") or "", one.get("status") or ""
        if not kind:
            yield required(f"{path}.type")
        allowed = ("True",) if kind in _LASTING else ("False", "True", "Unknown")
        if not status:
            yield required(f"{path}.status")
        elif status not in allowed:
            yield unsupported(f"{path}.status", status, allowed)
        other = {APPROVED: DENIED, DENIED: APPROVED}.get(kind)
        if other in seen:
            yield invalid(f"{path}.type", kind, "Approved and Denied conditions are mutually exclusive")
        if kind in seen:
            yield duplicate(f"{path}.type", kind)
        seen.add(kind)


def _certificate(encoded: str) -> Errors:
    if not encoded:
        return
    problem = _certificate_problem(encoded)
    if problem:
        yield invalid("status.certificate", _CERTIFICATE, problem)


def _certificate_problem(encoded: str) -> str:
    from cryptography import x509

    try:
        pem = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        pem = b""
    if _BEGIN not in pem:
        return "must contain at least one CERTIFICATE PEM block"
    kinds = {piece.partition(b"-----")[0].decode("latin-1") for piece in pem.split(_BEGIN)[1:]}
    for kind in kinds - {"CERTIFICATE"}:
        return f'only CERTIFICATE PEM blocks are allowed, found "{kind}"'
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return str(error)
    return ""


def update(obj: Obj, old: Obj) -> Errors:
    """A change of the object itself, which leaves spec and status as they are."""
    yield from _changes(obj, old, approving=False, signing=False)


def status_update(obj: Obj, old: Obj) -> Errors:
    """A change of the status: who signs may set the certificate once, and say why there is none."""
    yield from request(obj)
    yield from _changes(obj, old, approving=False, signing=True)


def approval_update(obj: Obj, old: Obj) -> Errors:
    """A change of the approval."""
    yield from request(obj)
    yield from _changes(obj, old, approving=True, signing=False)


def _changes(obj: Obj, old: Obj, *, approving: bool, signing: bool) -> Errors:
    status, was = obj.get("status") or {}, old.get("status") or {}
    for kind in _LASTING:
        before, after = _of(was, kind), _of(status, kind)
        if len(after) < len(before):
            yield forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"')
        elif len(after) > len(before):
            if not approving and kind != FAILED:
                yield forbidden("status.conditions", f'updates may not add a condition of type "{kind}"')
        elif before != after:
            yield forbidden("status.conditions", f'updates may not modify a condition of type "{kind}"')
    if (status.get("certificate") or "") != (was.get("certificate") or ""):
        if not signing:
            yield forbidden("status.certificate", "updates may not set certificate content")
        elif was.get("certificate"):
            yield forbidden("status.certificate", "updates may not modify existing certificate content")


def _of(status: Obj, kind: str) -> list[Any]:
    return [one for one in status.get("conditions") or () if one.get("type") == kind]

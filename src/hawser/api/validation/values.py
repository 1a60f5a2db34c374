"""Rules of values that only some groups have: path segments, wildcards, CSI drivers, addresses in canonical form.

``x_errors`` functions answer as those of ``rules``. Source: API reference; RFC 1123, RFC 4291 and RFC 5952.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_interface
from typing import Any

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, duplicate, each, invalid, required, too_long, too_many

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_is_wildcard = re.compile(_WILDCARD).fullmatch
_is_http_path = re.compile(_HTTP_PATH).fullmatch
_is_c_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_is_reason = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?").fullmatch
WILDCARD_RULE = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    f"regex used for validation is '{_WILDCARD}')"
)
C_IDENTIFIER_RULE = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    "or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
REASON_RULE = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or "
    "'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is "
    "'[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
)
POSITIVE = "must be greater than zero"


def nothing(obj: Obj) -> Errors:
    """No rules."""
    return
    yield


def path_segment_errors(value: str) -> tuple[str, ...]:
    """What can stand between two slashes of a URL."""
    if value in (".", ".."):
        return (f"may not be '{value}'",)
    return tuple(f"may not contain '{char}'" for char in "/%" if char in value)


def wildcard_errors(value: str) -> tuple[str, ...]:
    """``*.example.com``."""
    long = ("must be no more than 253 characters",) if len(value) > 253 else ()
    return long if _is_wildcard(value) else (*long, WILDCARD_RULE)


def c_identifier_errors(value: str) -> tuple[str, ...]:
    return () if _is_c_identifier(value) else (C_IDENTIFIER_RULE,)


def canonical_ip_errors(value: str) -> tuple[str, ...]:
    """An address as RFC 5952 writes it."""
    ip = rules.parse_ip(value)
    if ip is None:
        return (rules.IP_RULE,)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        return ("must not be an IPv4-mapped IPv6 address",)
    return () if str(ip) == value else (f'must be in canonical form ("{ip}")',)


def canonical_cidr_errors(value: str) -> tuple[str, ...]:
    """A network as RFC 5952 writes it, without bits beyond its prefix."""
    _, slash, length = value.partition("/")
    try:
        parsed = ip_interface(value)
    except ValueError:
        return (rules.CIDR_RULE,)
    if not slash or not length.isdigit() or "%" in value:
        return (rules.CIDR_RULE,)
    if length != "0" and length.startswith("0"):
        return ("must not have leading 0s in IP or prefix length",)
    if parsed.version == 6 and parsed.ip.ipv4_mapped is not None:
        return ("must not have an IPv4-mapped IPv6 address",)
    if parsed.ip != parsed.network.network_address:
        return ("must not have bits set beyond the prefix length",)
    return () if str(parsed.network) == value else (f'must be in canonical form ("{parsed.network}")',)


def domain_prefixed_path(value: str, path: str) -> Errors:
    """``example.com/controller``."""
    if not value:
        yield required(path)
        return
    host, slash, rest = value.partition("/")
    if not (host and slash and rest):
        yield invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    yield from each(path, host, rules.subdomain_errors(host))
    if not _is_http_path(rest):
        yield invalid(path, rest, f"Invalid path (regex used for validation is '{_HTTP_PATH}')")


def qualified_domain(value: str, path: str, segments: int = 3) -> Errors:
    """A name of at least three segments, as webhooks have."""
    if not value:
        yield required(path)
        return
    if bad := rules.subdomain_errors(value):
        yield invalid(path, value, ",".join(bad))
    elif len(value.split(".")) < segments:
        words = {2: "two", 3: "three"}[segments]
        yield invalid(path, value, f"should be a domain with at least {words} segments separated by dots")


def csi_driver_name(value: str, path: str) -> Errors:
    """The name of a CSI driver, or of a driver of devices."""
    if not value:
        yield required(path)
    if len(value) > 63:
        yield too_long(path, 63)
    yield from each(path, value, rules.subdomain_errors(value.lower()))


def positive_quantity(value: str, path: str) -> Errors:
    if parse_quantity(value) <= 0:
        yield invalid(path, value, POSITIVE)


def not_special_ip(value: str, path: str) -> Errors:
    """An address that others can reach a service at: not unspecified, loopback or link-local."""
    ip = rules.parse_ip(value)
    if ip is None:
        yield invalid(path, value, "must be a valid IP address")
        return
    if ip.is_unspecified:
        yield invalid(path, value, f"may not be unspecified ({value})")
    if ip.is_loopback:
        yield invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if ip.is_link_local:
        yield invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    first = ip.packed
    if (ip.version == 4 and first[:3] == b"\xe0\0\0") or (ip.version == 6 and first[0] == 0xFF and first[1] & 15 == 2):
        yield invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def same(path: str, new: Any, old: Any) -> Errors:
    """The field keeps its value; absent differs from empty."""
    if new != old:
        yield invalid(path, new, rules.IMMUTABLE)


def unique(items: Iterable[Any], path: str) -> Errors:
    """No item comes twice."""
    seen = []
    for i, item in enumerate(items):
        if item in seen:
            yield duplicate(f"{path}[{i}]", item)
        seen.append(item)


def sized(items: Any, limit: int, path: str) -> Errors:
    """A list of at most so many items."""
    if len(items or ()) > limit:
        yield too_many(path, len(items), limit)


def conditions(listed: list[Obj], path: str) -> Errors:
    """metav1.Conditions, each type once."""
    seen = set()
    for i, condition in enumerate(listed):
        at = f"{path}[{i}]"
        kind, status, reason = (condition.get(name, "") for name in ("type", "status", "reason"))
        if not kind:
            yield required(f"{at}.type")
        else:
            yield from each(f"{at}.type", kind, rules.qualified_name_errors(kind))
            if kind in seen:
                yield duplicate(f"{at}.type", kind)
            seen.add(kind)
        if status not in ("True", "False", "Unknown"):
            yield rules.unsupported(f"{at}.status", status, ("False", "True", "Unknown"))
        if condition.get("observedGeneration", 0) < 0:
            yield invalid(f"{at}.observedGeneration", condition["observedGeneration"], rules.NEGATIVE)
        if not condition.get("lastTransitionTime"):
            yield required(f"{at}.lastTransitionTime", "must be set")
        if not reason:
            yield required(f"{at}.reason", "must be set")
        elif not _is_reason(reason):
            yield invalid(f"{at}.reason", reason, REASON_RULE)
        if len(reason.encode()) > 1024:
            yield too_long(f"{at}.reason", 1024)
        if len(condition.get("message", "").encode()) > 32768:
            yield too_long(f"{at}.message", 32768)

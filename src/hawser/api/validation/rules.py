"""Rules of single values and the errors they make, in Kubernetes' words.

``x_errors`` functions answer what is wrong with a value, as sentences; none when it is valid. Source of the rules: the
API reference ("Object Names and IDs", field descriptions) and the RFCs that the sentences name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from hawser.api import label_names
from hawser.api.errors import Cause, FieldError
from hawser.api.types import Obj

Errors = Iterator[FieldError]
NameRule = Callable[[str], tuple[str, ...]]

NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
IP_RULE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_RULE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
MAX_INT32 = 2**31 - 1

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_HEADER = r"[-A-Za-z0-9]+"
_PERCENT = r"[0-9]+%"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_header = re.compile(_HEADER).fullmatch
_is_percent = re.compile(_PERCENT).fullmatch
_is_port_name = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?").fullmatch
_is_env_name = re.compile(r"[ -<>-~]+").fullmatch

LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{_LABEL_1035}')"
)
CONFIG_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    f"'key-name', regex used for validation is '{_CONFIG_KEY}')"
)
ENV_NAME_RULE = "a valid environment variable name must consist only of printable ASCII characters other than '='"
HEADER_RULE = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
    f"validation is '{_HEADER}')"
)
PERCENT_RULE = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    f"validation is '{_PERCENT}')"
)


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(Cause.REQUIRED, path, detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(Cause.INVALID, path, detail, value)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(Cause.FORBIDDEN, path, detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(Cause.DUPLICATE, path, value=value)


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(Cause.NOT_FOUND, path, value=value)


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(Cause.TOO_LONG, path, f"may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    return FieldError(Cause.TOO_MANY, path, f"{count}: must have at most {limit} items")


def unsupported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    """supported in the order that Kubernetes lists it."""
    listed = ", ".join(f'"{name}"' for name in supported)
    return FieldError(Cause.NOT_SUPPORTED, path, f"supported values: {listed}", value)


def each(path: str, value: Any, messages: Iterable[str]) -> Errors:
    """One error a message."""
    for message in messages:
        yield invalid(path, value, message)


def one_of(path: str, value: str | None, supported: Iterable[str]) -> Errors:
    """value is required, and one of supported."""
    if not value:
        yield required(path)
    elif value not in (supported := tuple(supported)):
        yield unsupported(path, value, supported)


def not_negative(obj: Obj, path: str, *fields: str) -> Errors:
    """The named numbers of obj, where present, are 0 or more."""
    for field in fields:
        value = obj.get(field)
        if value is not None and value < 0:
            yield invalid(f"{path}.{field}", value, NEGATIVE)


def in_range(path: str, value: int | None, low: int, high: int) -> Errors:
    if value is not None and not low <= value <= high:
        yield invalid(path, value, range_error(low, high))


def range_error(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def _name_errors(value: str, limit: int, valid: bool, rule: str) -> tuple[str, ...]:
    if valid and len(value) <= limit:
        return ()
    long = (f"must be no more than {limit} bytes",) if len(value.encode("utf-8", "replace")) > limit else ()
    return long if valid else (*long, rule)


@lru_cache(maxsize=4096)
def label_errors(value: str) -> tuple[str, ...]:
    """RFC 1123 label: names of containers, volumes, namespaces."""
    return _name_errors(value, 63, _is_label(value) is not None, LABEL_RULE)


def subdomain_errors(value: str) -> tuple[str, ...]:
    """RFC 1123 subdomain: names of most objects."""
    # Names of one label, as nearly all are, without the search for dots.
    if (len(value) <= 63 and _is_label(value)) or (_is_subdomain(value) and len(value) <= 253):
        return ()
    return _name_errors(value, 253, _is_subdomain(value) is not None, SUBDOMAIN_RULE)


def label_1035_errors(value: str) -> tuple[str, ...]:
    """RFC 1035 label: names of Services."""
    return _name_errors(value, 63, _is_label_1035(value) is not None, LABEL_1035_RULE)


@lru_cache(maxsize=4096)
def qualified_name_errors(value: str) -> tuple[str, ...]:
    """Keys of labels, annotations, taints; names of finalizers."""
    return tuple(label_names.label_key_errors(value))


@lru_cache(maxsize=4096)
def label_value_errors(value: str) -> tuple[str, ...]:
    return tuple(label_names.label_value_errors(value))


def config_key_errors(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets, which become file names."""
    errors = ["must be no more than 253 bytes"] if len(value) > 253 else []
    if not _is_config_key(value):
        errors.append(CONFIG_KEY_RULE)
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_name_errors(value: str) -> list[str]:
    return [] if _is_env_name(value) else [ENV_NAME_RULE]


def header_errors(value: str) -> list[str]:
    return [] if _is_header(value) else [HEADER_RULE]


def port_number_errors(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [range_error(1, 65535)]


def port_name_errors(value: str) -> list[str]:
    """IANA service name (RFC 6335)."""
    if _is_port_name(value):
        return []
    errors = []
    if len(value) > 15:
        errors.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_errors(value: int | str | None) -> list[str]:
    """A port by number or by name."""
    return port_name_errors(value) if isinstance(value, str) else port_number_errors(value or 0)


def parse_ip(value: str) -> IPv4Address | IPv6Address | None:
    """The address, or None when value is none (zones and leading zeros included)."""
    if "%" in value:
        return None
    try:
        return ip_address(value)
    except ValueError:
        return None


def ip_errors(value: str) -> list[str]:
    return [] if parse_ip(value) else [IP_RULE]


def cidr_errors(value: str) -> list[str]:
    try:
        ip_network(value, strict=False)
    except ValueError:
        return [CIDR_RULE]
    return [] if "/" in value and "%" not in value else [CIDR_RULE]


def int_or_percent_errors(value: int | str) -> list[str]:
    """0 or more, or ``N%``."""
    if isinstance(value, str):
        return [] if _is_percent(value) else [PERCENT_RULE]
    return [] if value >= 0 else [NEGATIVE]


def labels(value: Obj | None, path: str) -> Errors:
    """A map of labels, as of metadata, a node selector or a Service's selector."""
    for key, text in (value or {}).items():
        if bad := qualified_name_errors(key):
            yield from each(path, key, bad)
        if bad := label_value_errors(text):
            yield from each(path, text, bad)


def immutable(field: str, new: Any, old: Any) -> Errors:
    """The field keeps its value. Absent and empty are the same."""
    if new != old and (new or old):
        yield invalid(field, new, IMMUTABLE)


_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def label_selector(selector: Obj | None, path: str) -> Errors:
    """A LabelSelector object."""
    if selector is None:
        return
    yield from labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for i, term in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{i}]"
        operator, values = term.get("operator", ""), term.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                yield forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        else:
            yield invalid(f"{at}.operator", operator, "not a valid selector operator")
        yield from each(f"{at}.key", term.get("key", ""), qualified_name_errors(term.get("key", "")))
        for j, value in enumerate(values):
            yield from each(f"{at}.values[{j}]", value, label_value_errors(value))

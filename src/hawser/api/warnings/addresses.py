"""What is said of addresses and networks that are written in unusual ways. The sentences are kube-apiserver's.

Source: KEP-4858 (stricter validation of addresses and networks).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_DIGITS = 400  # Python refuses to read thousands
_LATER = "will be considered invalid in a future Kubernetes release: use"
_STYLE = "should be in RFC 5952 canonical format"


def address(value: str, path: str) -> Iterator[str]:
    """Of one address; nothing of what is none."""
    found = _read(value)
    if found is None:
        return
    usual, standard = found
    if not standard:
        yield f'{path}: non-standard IP address "{value}" {_LATER} "{usual}"'
    elif str(usual) != value and usual.version == 6:
        yield f'{path}: IPv6 address "{value}" {_STYLE} ("{usual}")'


def network(value: str, path: str) -> Iterator[str]:
    """Of one network in CIDR notation; nothing of what is none."""
    text, _, length = value.strip().partition("/")
    found = _read(text)
    if found is None or not length.isdecimal() or len(length) > _DIGITS:
        return
    usual, standard = found
    bits = int(length) - (96 if ":" in text and usual.version == 4 else 0)
    if not 0 <= bits <= usual.max_prefixlen:
        return
    whole: IPv4Network | IPv6Network = ip_network((usual, bits), strict=False)
    if whole.network_address != usual:
        single = f"{usual}/{usual.max_prefixlen}"
        yield f'{path}: CIDR value "{value}" is ambiguous in this context (should be "{whole}" or "{single}"?)'
    elif not standard or str(int(length)) != length:
        yield f'{path}: non-standard CIDR value "{value}" {_LATER} "{whole}"'
    elif str(whole) != value and usual.version == 6:
        yield f'{path}: IPv6 CIDR value "{value}" {_STYLE} ("{whole}")'


def _read(value: str) -> tuple[IPv4Address | IPv6Address, bool] | None:
    """An address as it is usually written, and whether it is written in a standard way at all."""
    try:
        found = ip_address(value)
    except ValueError:
        parts = value.split(".")
        if ":" in value or not all(part.isdecimal() and len(part) <= 4 for part in parts):
            return None
        try:
            return ip_address(".".join(part.lstrip("0") or "0" for part in parts)), False
        except ValueError:
            return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (found, True) if mapped is None else (mapped, False)

"""Values of a pod's own fields and resources: fieldRef and resourceFieldRef.

Source: Kubernetes documentation, "Downward API".
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.node.pod import view

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")

_ESCAPES = {c: f"\\{letter}" for c, letter in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}


class RefError(ValueError):
    """A reference that does not lead to a value; the text is for the user."""


def field(pod: Obj, path: str, pod_ips: tuple[str, ...], host_ips: tuple[str, ...]) -> str:
    """The value at a fieldRef's path. Raises RefError for a path the downward API does not offer."""
    metadata, spec = pod["metadata"], pod["spec"]
    if found := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    match path:
        case "metadata.name" | "metadata.uid":
            return str(metadata[path.removeprefix("metadata.")])
        case "metadata.namespace":
            return view.key(pod)[0]
        case "metadata.labels" | "metadata.annotations":
            return _format_map(metadata.get(path.removeprefix("metadata.")) or {})
        case "spec.nodeName":
            return spec.get("nodeName") or ""
        case "spec.serviceAccountName":
            return spec.get("serviceAccountName") or ""
        case "status.hostIP":
            return host_ips[0] if host_ips else ""
        case "status.hostIPs":
            return ",".join(host_ips)
        case "status.podIP":
            return pod_ips[0] if pod_ips else ""
        case "status.podIPs":
            return ",".join(pod_ips)
    raise RefError(f"unsupported fieldPath: {path}")


def resource(pod: Obj, ref: Obj, own: Obj | None, allocatable: Obj) -> str:
    """The value of a resourceFieldRef, in units of its divisor, rounded up.

    own: the container whose environment it is, when the reference names none. Limits that are not set are the node's
    allocatable amount. Raises RefError.
    """
    container = own
    if ref.get("containerName"):
        container = next((c for _, c in view.every_container(pod) if c["name"] == ref["containerName"]), None)
    if container is None:
        raise RefError(f"container {ref.get('containerName', '')} not found")
    part, _, name = ref["resource"].partition(".")
    if part not in ("limits", "requests"):
        raise RefError(f"unsupported container resource : {ref['resource']}")
    value = ((container.get("resources") or {}).get(part) or {}).get(name)
    if value is None:
        # Of what may be limited, the pod as a whole or else the node is the limit.
        whole = (pod["spec"].get("resources") or {}).get("limits") or {}
        known = part == "limits" and name in ("cpu", "memory", "ephemeral-storage")
        value = whole.get(name) or allocatable.get(name, "0") if known else "0"
    divisor = parse_quantity(ref.get("divisor") or "1") or Decimal(1)
    return str(int((parse_quantity(value) / divisor).to_integral_value(ROUND_CEILING)))


def _format_map(values: Obj) -> str:
    return "\n".join(f'{name}="{_quote(value)}"' for name, value in sorted(values.items()))


def _quote(text: str) -> str:
    """As Go quotes strings (%q)."""
    return "".join(_ESCAPES.get(c) or (c if c.isprintable() else _code(ord(c))) for c in text)


def _code(number: int) -> str:
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

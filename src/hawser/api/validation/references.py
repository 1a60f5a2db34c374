"""Validation of what environment variables and files take from elsewhere: fields, resources, keys.

Source: "Downward API", "Available fields"; API reference, EnvVarSource.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, each, invalid, required, unsupported

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_KNOWN_FIELDS = (*ENV_FIELDS, "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName")
_RESOURCES = tuple(
    f"{part}.{name}" for part in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def field_reference(reference: Obj, supported: Iterable[str], path: str) -> Errors:
    """A fieldRef; supported: paths allowed here."""
    if not reference.get("apiVersion"):
        yield required(f"{path}.apiVersion")
        return
    field = reference.get("fieldPath", "")
    if not field:
        yield required(f"{path}.fieldPath")
        return
    name, bracket, rest = field.partition("['")
    if bracket and rest.endswith("']"):
        key = rest[:-2]
        if name == "metadata.annotations":
            yield from each(path, key, rules.qualified_name_errors(key.lower()))
        elif name == "metadata.labels":
            yield from each(path, key, rules.qualified_name_errors(key))
        else:
            yield invalid(path, name, "does not support subscript")
    elif reference["apiVersion"] != "v1":
        detail = f"error converting fieldPath: unsupported pod version: {reference['apiVersion']}"
        yield invalid(f"{path}.fieldPath", field, detail)
    elif field not in _KNOWN_FIELDS:
        yield invalid(f"{path}.fieldPath", field, f"error converting fieldPath: field label not supported: {field}")
    elif field not in (supported := sorted(supported)):
        yield unsupported(f"{path}.fieldPath", field, supported)


def resource_reference(reference: Obj, path: str, volume: bool) -> Errors:
    """A resourceFieldRef; in a volume it must name its container."""
    resource = reference.get("resource", "")
    if volume and not reference.get("containerName"):
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in _RESOURCES and not resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        yield unsupported(f"{path}.resource", resource, _RESOURCES)
    divisor = reference.get("divisor")
    if divisor is None or parse_quantity(divisor) == 0:
        return
    if resource.endswith(".cpu"):
        if divisor not in ("1m", "1"):
            yield invalid(
                f"{path}.divisor", resource, "only divisor's values 1m and 1 are supported with the cpu resource"
            )
    elif divisor not in _BYTES:
        what = "memory" if resource.endswith(".memory") else "local ephemeral storage"
        yield invalid(
            f"{path}.divisor",
            resource,
            f"only divisor's values {', '.join(_BYTES)} are supported with the {what} resource",
        )


def key_reference(reference: Obj, path: str) -> Errors:
    """A key of a ConfigMap or Secret."""
    name, key = reference.get("name", ""), reference.get("key", "")
    yield from each(f"{path}.name", name, rules.subdomain_errors(name))
    if not key:
        yield required(f"{path}.key")
    else:
        yield from each(f"{path}.key", key, rules.config_key_errors(key))

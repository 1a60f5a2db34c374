"""Validation of a pod's volumes. Source: API reference, Volume."""

from __future__ import annotations

from collections.abc import Callable

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.references import field_reference, resource_reference
from hawser.api.validation.rules import Errors, duplicate, each, forbidden, invalid, required, unsupported

_MODE_RULE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")


def volumes(listed: list[Obj], path: str) -> Errors:
    seen = set()
    for i, volume in enumerate(listed):
        at = f"{path}[{i}]"
        name = volume.get("name", "")
        yield from _source(volume, at)
        if not name:
            yield required(f"{at}.name")
        elif bad := rules.label_errors(name):
            yield from each(f"{at}.name", name, bad)
        if name in seen:
            yield duplicate(f"{at}.name", name)
        seen.add(name)


def _source(volume: Obj, path: str) -> Errors:
    """Exactly one source. Sources without rules here pass: no volume of theirs can be mounted by mistake."""
    sources = [name for name in volume if name != "name"]
    if not sources:
        yield required(path, "must specify a volume type")
        return
    for extra in sources[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    source = sources[0]
    check = _SOURCES.get(source)
    if check is not None:
        yield from check(volume[source], f"{path}.{source}")
    for field in _REQUIRED.get(source, ()):
        if not volume[source].get(field):
            yield required(f"{path}.{source}.{field}")


def path_errors(path: str) -> list[str]:
    """A relative path that does not climb: of keys, subpaths."""
    if path.startswith("/"):
        return ["must be a relative path"]
    return backsteps(path)


def backsteps(path: str) -> list[str]:
    return ["must not contain '..'"] if ".." in path.split("/") else []


def _mode(source: Obj, path: str, field: str = "defaultMode") -> Errors:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(f"{path}.{field}", mode, _MODE_RULE)


def _items(items: list[Obj], path: str) -> Errors:
    """Keys of a ConfigMap or Secret and the files that they become."""
    for i, item in enumerate(items):
        at = f"{path}[{i}]"
        if not item.get("key"):
            yield required(f"{at}.key")
        yield from _file(item.get("path", ""), f"{at}.path")
        yield from _mode(item, at, "mode")


def _file(path: str, at: str) -> Errors:
    if not path:
        yield required(at)
        return
    yield from each(at, path, path_errors(path))
    if path.startswith("..") and not path.startswith("../"):
        yield invalid(at, path, "must not start with '..'")


def _keys(source: Obj, path: str) -> Errors:
    yield from _mode(source, path)
    yield from _items(source.get("items") or [], f"{path}.items")


def _empty_dir(source: Obj, path: str) -> Errors:
    limit = source.get("sizeLimit")
    if limit is not None and parse_quantity(limit) < 0:
        yield forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def host_path(source: Obj, path: str) -> Errors:
    if not source.get("path"):
        yield required(f"{path}.path")
    else:
        yield from each(f"{path}.path", source["path"], backsteps(source["path"]))
    kind = source.get("type") or ""
    if kind not in _HOST_PATH_TYPES:
        yield unsupported(f"{path}.type", kind, _HOST_PATH_TYPES)


def _downward(source: Obj, path: str) -> Errors:
    yield from _mode(source, path)
    seen = set()
    for i, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{i}]"
        name = item.get("path", "")
        yield from _file(name, f"{at}.path")
        if name in seen:
            yield duplicate(f"{at}.path", name)
        seen.add(name)
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None:
            yield from field_reference(field, _FIELDS, f"{at}.fieldRef")
            if resource is not None:
                yield invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif resource is not None:
            yield from resource_reference(resource, f"{at}.resourceFieldRef", True)
        else:
            yield required(at, "fieldRef or resourceFieldRef should be set")
        yield from _mode(item, at, "mode")


def _projected(source: Obj, path: str) -> Errors:
    yield from _mode(source, path)
    for i, part in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        for j, (name, value) in enumerate(part.items()):
            if j:
                yield forbidden(f"{at}.{name}", "may not specify more than 1 volume type per source")
            elif name in ("secret", "configMap"):
                if not value.get("name"):
                    yield required(f"{at}.{name}.name")
                yield from _items(value.get("items") or [], f"{at}.{name}.items")
            elif name == "downwardAPI":
                yield from _downward(value, f"{at}.{name}")
            elif name == "serviceAccountToken":
                yield from _token(value, f"{at}.{name}")
        if not part:
            yield required(at, "must specify a volume type")


def _token(token: Obj, path: str) -> Errors:
    seconds = token.get("expirationSeconds", 3600)
    if seconds < 600:
        yield invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > 1 << 32:
        yield invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    yield from _file(token.get("path", ""), f"{path}.path")


def _ephemeral(source: Obj, path: str) -> Errors:
    if not source.get("volumeClaimTemplate"):
        yield required(f"{path}.volumeClaimTemplate")


def _image(source: Obj, path: str) -> Errors:
    policy = source.get("pullPolicy", "")
    if policy and policy not in ("Always", "IfNotPresent", "Never"):
        yield unsupported(f"{path}.pullPolicy", policy, ("Always", "IfNotPresent", "Never"))


_SOURCES: dict[str, Callable[[Obj, str], Errors]] = {
    "configMap": _keys,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "hostPath": host_path,
    "image": _image,
    "projected": _projected,
    "secret": _keys,
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "configMap": ("name",),
    "csi": ("driver",),
    "image": ("reference",),
    "iscsi": ("targetPortal", "iqn"),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "secret": ("secretName",),
}

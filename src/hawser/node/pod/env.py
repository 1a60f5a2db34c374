"""A container's environment.

Source: Kubernetes documentation, "Define Environment Variables for a Container", "Dependent environment variables",
and "Discovering services" (variables of services).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.pod import envfile, refs, view
from hawser.node.volumes import beneath

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")


class ConfigError(ValueError):
    """The container cannot be configured yet (CreateContainerConfigError); the text is kubelet's."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What an environment may refer to.

    config_maps, secrets: by name, in the pod's namespace; an object that does not exist is absent.
    services: of the pod's namespace and ``default/kubernetes``. folder: where a volume of the pod lies, by name.
    """

    config_maps: Mapping[str, Obj] = field(default_factory=dict)
    secrets: Mapping[str, Obj] = field(default_factory=dict)
    services: Iterable[Obj] = ()
    allocatable: Obj = field(default_factory=dict)
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    folder: Callable[[str], Path] | None = None


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replaces ``$(NAME)`` by known values; unknown references stay, ``$$`` is a plain ``$``."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return known.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def expand_strictly(text: str, known: Mapping[str, str]) -> str:
    """As ``expand``, for a subPathExpr: raises ConfigError for references that nothing is known for."""
    for found in _REFERENCE.finditer(text):
        if found[0] != "$$" and found[1] not in known:
            raise ConfigError(f'missing value for "{found[1]}"')
    return expand(text, known)


def environment(pod: Obj, container: Obj, sources: Sources) -> dict[str, str]:
    """The variables of a container, in their order. Raises ConfigError."""
    services = service_variables(pod, sources.services)
    result: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        result.update(_from(pod, source, sources))
    for entry in container.get("env") or ():
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _value(pod, container, name, entry["valueFrom"], sources)
            if value is not None:
                result[name] = value
        else:
            result[name] = expand(entry.get("value") or "", {**services, **result})
    for name, value in services.items():
        result.setdefault(name, value)
    return result


def referenced(pod: Obj) -> tuple[set[str], set[str]]:
    """The names of ConfigMaps and Secrets that a pod's environments refer to."""
    maps: set[str] = set()
    secrets: set[str] = set()
    for _, container in view.every_container(pod):
        for source in container.get("envFrom") or ():
            if ref := source.get("configMapRef"):
                maps.add(ref.get("name", ""))
            if ref := source.get("secretRef"):
                secrets.add(ref.get("name", ""))
        for entry in container.get("env") or ():
            value = entry.get("valueFrom") or {}
            if ref := value.get("configMapKeyRef"):
                maps.add(ref.get("name", ""))
            if ref := value.get("secretKeyRef"):
                secrets.add(ref.get("name", ""))
    return maps, secrets


def service_variables(pod: Obj, services: Iterable[Obj]) -> dict[str, str]:
    """The variables of services: those of the pod's namespace (unless enableServiceLinks is false) and the API's."""
    namespace = view.key(pod)[0]
    links = pod["spec"].get("enableServiceLinks", True)
    chosen: dict[str, Obj] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        name, home = metadata["name"], metadata.get("namespace")
        if spec.get("clusterIP") in (None, "", "None") or not spec.get("ports"):
            continue
        if home == "default" and name == "kubernetes":
            # A Service of that name in the pod's own namespace goes before the API's.
            chosen.setdefault(name, spec)
        elif links and home == namespace:
            chosen[name] = spec
    return {key: value for name, spec in chosen.items() for key, value in _service(name, spec).items()}


def _service(service: str, spec: Obj) -> dict[str, str]:
    prefix = service.upper().replace("-", "_")
    ip, ports = spec["clusterIP"], spec["ports"]
    host = f"[{ip}]" if ":" in ip else ip
    result = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            result[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for number, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if number == 0:
            result[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
        result[link] = url
        result[f"{link}_PROTO"] = protocol.lower()
        result[f"{link}_PORT"] = str(port["port"])
        result[f"{link}_ADDR"] = ip
    return result


def _from(pod: Obj, source: Obj, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    if ref := source.get("configMapRef"):
        obj = _object(pod, "configmap", ref, sources.config_maps)
        data = (obj or {}).get("data") or {}
    elif ref := source.get("secretRef"):
        obj = _object(pod, "secret", ref, sources.secrets)
        data = _decoded((obj or {}).get("data") or {})
    else:
        return {}
    return {prefix + name: value for name, value in sorted(data.items())}


def _value(pod: Obj, container: Obj, name: str, source: Obj, sources: Sources) -> str | None:
    try:
        if ref := source.get("fieldRef"):
            return refs.field(pod, ref["fieldPath"], sources.pod_ips, sources.host_ips)
        if ref := source.get("resourceFieldRef"):
            return refs.resource(pod, ref, container, sources.allocatable)
    except refs.RefError as err:
        raise ConfigError(str(err)) from None
    if ref := source.get("configMapKeyRef"):
        return _key(pod, "configmap", "ConfigMap", ref, sources.config_maps)
    if ref := source.get("secretKeyRef"):
        return _key(pod, "secret", "Secret", ref, sources.secrets)
    if ref := source.get("fileKeyRef"):
        return _file_key(ref, sources)
    raise ConfigError(f"environment variable {name}: no supported source")


def _file_key(ref: Obj, sources: Sources) -> str | None:
    """A value of a file that another container of the pod has left in an emptyDir."""
    volume, path = ref["volumeName"], ref["path"]
    if sources.folder is None:
        raise ConfigError(f'cannot find the volume "{volume}" referenced by FileKeyRef')
    folder = sources.folder(volume)
    try:
        values = envfile.parse(beneath.read_below(folder, path))
    except FileNotFoundError:
        values = {}
        if not ref.get("optional"):
            raise ConfigError("couldn't parse env file") from None
    except (OSError, ValueError):
        raise ConfigError("couldn't parse env file") from None
    value = values.get(ref["key"])
    if not value and not ref.get("optional"):
        raise ConfigError(f'environment variable key "{ref["key"]}" not found in file "{folder / path}"')
    return value or None


def _key(pod: Obj, word: str, kind: str, ref: Obj, objects: Mapping[str, Obj]) -> str | None:
    obj = _object(pod, word, ref, objects)
    data = (obj or {}).get("data") or {}
    if kind == "Secret":
        data = _decoded(data)
    if ref["key"] in data:
        return str(data[ref["key"]])
    if ref.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {ref['key']} in {kind} {pod['metadata']['namespace']}/{ref['name']}")


def _object(pod: Obj, word: str, ref: Obj, objects: Mapping[str, Obj]) -> Obj | None:
    obj = objects.get(ref.get("name", ""))
    if obj is None and not ref.get("optional"):
        raise ConfigError(f'{word} "{ref.get("name", "")}" not found')
    return obj


def _decoded(data: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64decode(value or "").decode(errors="surrogateescape") for name, value in data.items()}

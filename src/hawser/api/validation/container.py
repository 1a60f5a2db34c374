"""Validation of containers. Source: API reference, Container and EphemeralContainer; "Sidecar Containers"."""

from __future__ import annotations

from dataclasses import dataclass, field

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.probes import lifecycle, probe
from hawser.api.validation.references import ENV_FIELDS, field_reference, key_reference, resource_reference
from hawser.api.validation.resources import requirements
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    forbidden,
    invalid,
    not_found,
    one_of,
    required,
    unsupported,
)
from hawser.api.validation.scheduling import claims
from hawser.api.validation.security import container_security
from hawser.api.validation.volumes import path_errors

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")


@dataclass(slots=True)
class Pod:
    """What containers need to know of their pod. names: containers seen so far; host_ports: taken host ports."""

    spec: Obj
    is_pod: bool
    volumes: dict[str, Obj]
    claims: set[str]
    grace: int
    names: set[str] = field(default_factory=set)
    host_ports: set[str] = field(default_factory=set)


def containers(pod: Pod, path: str) -> Errors:
    """spec.containers: at least one."""
    listed = pod.spec.get("containers") or []
    if not listed:
        yield required(path)
    for i, container in enumerate(listed):
        yield from _container(container, pod, f"{path}[{i}]")
        yield from _watched(container, pod, f"{path}[{i}]")
        if container.get("restartPolicy"):
            yield from one_of(f"{path}[{i}].restartPolicy", container["restartPolicy"], _RESTART_POLICIES)
    yield from _host_ports(listed, pod, path)


def init_containers(pod: Pod, path: str) -> Errors:
    """Probes and hooks are for sidecars: init containers with restartPolicy Always."""
    listed = pod.spec.get("initContainers") or []
    for i, container in enumerate(listed):
        at = f"{path}[{i}]"
        yield from _container(container, pod, at)
        policy = container.get("restartPolicy")
        if policy:
            yield from one_of(f"{at}.restartPolicy", policy, _RESTART_POLICIES)
        if policy == "Always":
            yield from _watched(container, pod, at)
        else:
            for name in ("lifecycle", *_PROBES):
                if container.get(name) is not None:
                    detail = "may not be set for init containers without restartPolicy=Always"
                    yield forbidden(f"{at}.{name}", detail)
    # Init containers run before the others, so their ports only collide among themselves.
    yield from _host_ports(listed, Pod(pod.spec, pod.is_pod, {}, set(), 0), path)


def ephemeral_containers(pod: Pod, path: str) -> Errors:
    regular = set(pod.names)
    for i, container in enumerate(pod.spec.get("ephemeralContainers") or ()):
        at = f"{path}[{i}]"
        yield from _container(container, pod, at)
        target = container.get("targetContainerName")
        if target and target not in regular:
            yield not_found(f"{at}.targetContainerName", target)
        for name in _NOT_EPHEMERAL:
            if container.get(name):
                yield forbidden(f"{at}.{name}", "cannot be set for an Ephemeral Container")
        if container.get("resources"):
            yield forbidden(f"{at}.resources", "cannot be set for an Ephemeral Container")
        for j, mount in enumerate(container.get("volumeMounts") or ()):
            for name in ("subPath", "subPathExpr"):
                if mount.get(name):
                    yield forbidden(f"{at}.volumeMounts[{j}].{name}", "cannot be set for an Ephemeral Container")


def _container(container: Obj, pod: Pod, path: str) -> Errors:
    """What every container obeys."""
    get = container.get
    name = get("name", "")
    if not name:
        yield required(f"{path}.name")
    else:
        if bad := rules.label_errors(name):
            yield from each(f"{path}.name", name, bad)
        if name in pod.names:
            yield duplicate(f"{path}.name", name)
        pod.names.add(name)
    image = get("image", "")
    if not image:
        yield required(f"{path}.image")
    elif pod.is_pod and image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    policy = get("terminationMessagePolicy", "")
    if policy not in _MESSAGE_POLICIES:
        yield unsupported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    if get("imagePullPolicy") not in _PULL_POLICIES:
        yield from one_of(f"{path}.imagePullPolicy", get("imagePullPolicy"), _PULL_POLICIES)
    if get("ports"):
        yield from _ports(container["ports"], f"{path}.ports")
    if get("env"):
        yield from _env(container["env"], f"{path}.env")
    if get("envFrom"):
        yield from _env_from(container["envFrom"], f"{path}.envFrom")
    if get("volumeMounts"):
        yield from _mounts(container, pod, f"{path}.volumeMounts")
    if get("volumeDevices"):
        yield from _devices(container, pod, f"{path}.volumeDevices")
    if resources := get("resources"):
        yield from requirements(resources, f"{path}.resources")
        if resources.get("claims"):
            yield from claims(resources["claims"], pod.claims, f"{path}.resources.claims")
    if context := get("securityContext"):
        yield from container_security(context, pod.spec, f"{path}.securityContext")


def _watched(container: Obj, pod: Pod, path: str) -> Errors:
    """Probes and hooks."""
    for name in _PROBES:
        if (value := container.get(name)) is not None:
            yield from probe(value, name, pod.grace, f"{path}.{name}")
    if (hooks := container.get("lifecycle")) is not None:
        yield from lifecycle(hooks, pod.grace, f"{path}.lifecycle")


def _ports(ports: list[Obj], path: str) -> Errors:
    names = set()
    for i, port in enumerate(ports):
        at = f"{path}[{i}]"
        if name := port.get("name"):
            if bad := rules.port_name_errors(name):
                yield from each(f"{at}.name", name, bad)
            elif name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        number = port.get("containerPort", 0)
        if not number:
            yield required(f"{at}.containerPort")
        elif bad := rules.port_number_errors(number):
            yield from each(f"{at}.containerPort", number, bad)
        if (host := port.get("hostPort")) and (bad := rules.port_number_errors(host)):
            yield from each(f"{at}.hostPort", host, bad)
        if port.get("protocol") not in _PROTOCOLS:
            yield from one_of(f"{at}.protocol", port.get("protocol"), _PROTOCOLS)
        if host_ip := port.get("hostIP"):
            yield from each(f"{at}.hostIP", host_ip, rules.ip_errors(host_ip))


def _host_ports(listed: list[Obj], pod: Pod, path: str) -> Errors:
    """Host ports are taken once; on the host's network they are the container's own."""
    shared = pod.spec.get("hostNetwork")
    for i, container in enumerate(listed):
        for j, port in enumerate(container.get("ports") or ()):
            host, at = port.get("hostPort"), f"{path}[{i}].ports[{j}]"
            if shared and host != port.get("containerPort") and (pod.is_pod or host):
                detail = "must match `hostPort` when `hostNetwork` is true"
                yield invalid(f"{at}.containerPort", port.get("containerPort", 0), detail)
            if host:
                place = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{host}"
                if place in pod.host_ports:
                    yield duplicate(f"{at}.hostPort", place)
                pod.host_ports.add(place)


def _env(variables: list[Obj], path: str) -> Errors:
    for i, variable in enumerate(variables):
        name = variable.get("name", "")
        if not name:
            yield required(f"{path}[{i}].name")
        elif bad := rules.env_name_errors(name):
            yield from each(f"{path}[{i}].name", name, bad)
        source = variable.get("valueFrom")
        if source is None:
            continue
        at = f"{path}[{i}].valueFrom"
        if (reference := source.get("fieldRef")) is not None:
            yield from field_reference(reference, ENV_FIELDS, f"{at}.fieldRef")
        if (reference := source.get("resourceFieldRef")) is not None:
            yield from resource_reference(reference, f"{at}.resourceFieldRef", False)
        for kind in ("configMapKeyRef", "secretKeyRef"):
            if (reference := source.get(kind)) is not None:
                yield from key_reference(reference, f"{at}.{kind}")
        if not source:
            detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            yield invalid(at, "", detail)
        elif variable.get("value"):
            yield invalid(at, "", "may not be specified when `value` is not empty")
        elif len(source) > 1:
            yield invalid(at, "", "may not have more than one field specified at a time")


def _env_from(sources: list[Obj], path: str) -> Errors:
    for i, source in enumerate(sources):
        at = f"{path}[{i}]"
        if prefix := source.get("prefix"):
            yield from each(f"{at}.prefix", prefix, rules.env_name_errors(prefix))
        given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        for kind in given:
            name = source[kind].get("name", "")
            if not name:
                yield required(f"{at}.{kind}.name")
            else:
                yield from each(f"{at}.{kind}.name", name, rules.subdomain_errors(name))
        if not given:
            yield invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield invalid(path, "", "may not have more than one field specified at a time")


def _mounts(container: Obj, pod: Pod, path: str) -> Errors:
    devices = container.get("volumeDevices") or ()
    device_names = {device.get("name") for device in devices}
    device_paths = {device.get("devicePath") for device in devices}
    places = set()
    for i, mount in enumerate(container["volumeMounts"]):
        at = f"{path}[{i}]"
        name, place = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield required(f"{at}.name")
        if name not in pod.volumes:
            yield not_found(f"{at}.name", name)
        if not place:
            yield required(f"{at}.mountPath")
        if place in places:
            yield invalid(f"{at}.mountPath", place, "must be unique")
        places.add(place)
        if name in device_names:
            yield invalid(f"{at}.name", name, "must not already exist in volumeDevices")
        if place in device_paths:
            yield invalid(f"{at}.mountPath", place, "must not already exist as a path in volumeDevices")
        sub, expression = mount.get("subPath"), mount.get("subPathExpr")
        if sub:
            yield from each(f"{path}.subPath", sub, path_errors(sub))
        if expression:
            if sub:
                detail = "subPathExpr and subPath are mutually exclusive"
                yield invalid(f"{at}.subPathExpr", expression, detail)
            yield from each(f"{path}.subPathExpr", expression, path_errors(expression))
        if (propagation := mount.get("mountPropagation")) is not None:
            supported = ("Bidirectional", "HostToContainer", "None")
            yield from one_of(f"{path}.mountPropagation", propagation, supported)
            if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
                detail = "Bidirectional mount propagation is available only to privileged containers"
                yield forbidden(f"{path}.mountPropagation", detail)


def _devices(container: Obj, pod: Pod, path: str) -> Errors:
    names, places = set(), set()
    for i, device in enumerate(container["volumeDevices"]):
        at = f"{path}[{i}]"
        name, place = device.get("name", ""), device.get("devicePath", "")
        if not name:
            yield required(f"{at}.name")
        if name in names:
            yield invalid(f"{at}.name", name, "must be unique")
        volume = pod.volumes.get(name)
        if volume is None:
            yield not_found(f"{at}.name", name)
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid(f"{at}.name", name, detail)
        if not place:
            yield required(f"{at}.devicePath")
        if place in places:
            yield invalid(f"{at}.devicePath", place, "must be unique")
        if ".." in place.split("/"):
            yield invalid(f"{at}.devicePath", place, "can not contain backsteps ('..')")
        names.add(name)
        places.add(place)

"""What is said of pods that are valid but hardly meant: warnings, which kubectl shows.

Source: API concepts, "Warnings"; well-known labels and annotations (what is deprecated). The sentences are
kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.warnings.addresses import address
from hawser.api.warnings.labels import DEPRECATED, term
from hawser.api.warnings.volumes import volumes

Warnings = Iterator[str]

_SYSCTLS = 'non-functional in v1.11+; use the "sysctls" field instead'
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": _SYSCTLS,
    "security.alpha.kubernetes.io/unsafe-sysctls": _SYSCTLS,
}
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_POD_SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
_CONTAINER_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_CONTAINER_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_NO_POD = "a null labelSelector results in matching no pod"
_BYTES = ("memory", "ephemeral-storage")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def pod_name(name: str, used_in: str) -> Warnings:
    """A name that cannot be a hostname. used_in: ``the Pod's hostname``, for one."""
    if wrong := rules.label_errors(name):
        yield (
            f"metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is "
            f"recommended: [{' '.join(wrong)}]"
        )


def pod(obj: Obj, path: str = "") -> Warnings:
    """A Pod, or a template at path (with its trailing dot)."""
    spec, notes = obj.get("spec") or {}, (obj.get("metadata") or {}).get("annotations") or {}
    at = f"{path}spec"
    yield from _node_labels(spec, at)
    if notes:
        for key, text in _ANNOTATIONS.items():
            if key in notes:
                yield f"{path}metadata.annotations[{key}]: {text}"
        yield from _seccomp(spec, notes, f"{path}metadata.annotations")
        yield from _apparmor(spec, notes, f"{path}metadata.annotations")
    yield from volumes(spec.get("volumes") or (), f"{at}.volumes")
    yield from _repeated(spec.get("hostAliases") or (), "ip", f"{at}.hostAliases")
    yield from _repeated(spec.get("imagePullSecrets") or (), "name", f"{at}.imagePullSecrets")
    for i, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{at}.imagePullSecrets[{i}].name: invalid empty name ""'
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        yield from address(alias.get("ip", ""), f"{at}.hostAliases[{i}].ip")
    for i, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from address(server, f"{at}.dnsConfig.nameservers[{i}]")
    yield from _fractions(spec.get("overhead"), f"{at}.overhead")
    yield from _containers(spec, at)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
    for field in ("podAffinity", "podAntiAffinity"):
        yield from _pod_affinity((spec.get("affinity") or {}).get(field) or {}, f"{at}.affinity.{field}")


def _node_labels(spec: Obj, path: str) -> Warnings:
    for key in spec.get("nodeSelector") or ():
        if key in DEPRECATED:
            yield f"{path}.nodeSelector[{key}]: {DEPRECATED[key]}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    at = f"{path}.affinity.nodeAffinity"
    for i, each in enumerate((affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from term(each, f"{at}.{_REQUIRED}.nodeSelectorTerms[{i}]")
    for i, each in enumerate(affinity.get(_PREFERRED) or ()):
        yield from term(each.get("preference") or {}, f"{at}.{_PREFERRED}[{i}].preference", values=True)
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}.topologySpreadConstraints[{i}]", constraint.get("topologyKey", "")
        if key in DEPRECATED:
            yield f"{at}.topologyKey: {key} is {DEPRECATED[key]}"
        if constraint.get("labelSelector") is None:
            yield f"{at}.labelSelector: {_NO_POD}"


def _seccomp(spec: Obj, notes: dict[str, str], path: str) -> Warnings:
    if _POD_SECCOMP in notes and not (spec.get("securityContext") or {}).get("seccompProfile"):
        yield f"{path}[{_POD_SECCOMP}]: {_SECCOMP}"
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            key = f"{_CONTAINER_SECCOMP}{container.get('name', '')}"
            if key in notes and not (container.get("securityContext") or {}).get("seccompProfile"):
                yield f"{path}[{key}]: {_SECCOMP}"


def _apparmor(spec: Obj, notes: dict[str, str], path: str) -> Warnings:
    if (spec.get("securityContext") or {}).get("appArmorProfile"):
        return
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            key = f"{_CONTAINER_APPARMOR}{container.get('name', '')}"
            if key in notes and not (container.get("securityContext") or {}).get("appArmorProfile"):
                yield f'{path}[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'


def _repeated(items: Iterable[Obj], field: str, path: str) -> Warnings:
    seen = set()
    for i, item in enumerate(items):
        value = item.get(field, "")
        if value in seen:
            yield f'{path}[{i}].{field}: duplicate {field} "{value}"'
        seen.add(value)


def _fractions(amounts: dict[str, str] | None, path: str) -> Warnings:
    for name in _BYTES:
        amount = (amounts or {}).get(name)
        # Only the small units can make a fraction of a byte.
        if amount is not None and amount[-1:] in "mun" and parse_quantity(amount) % 1:
            yield f'{path}[{name}]: fractional byte value "{amount}" is invalid, must be an integer'


def _containers(spec: Obj, path: str) -> Warnings:
    ports: dict[tuple[int, str], list[tuple[str, Obj]]] = {}
    names: dict[str, str] = {}
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            at = f"{path}.{field}[{i}]"
            resources = container.get("resources") or {}
            for part in ("limits", "requests"):
                yield from _fractions(resources.get(part), f"{at}.resources.{part}")
            yield from _env(container.get("env") or (), f"{at}.env")
            for j, port in enumerate(container.get("ports") or ()):
                yield from _port(port, f"{at}.ports[{j}]", ports)
                # Names of init containers' ports are nobody's: those run before the pod serves.
                if field != "initContainers" or container.get("restartPolicy") == "Always":
                    yield from _port_name(port.get("name"), f"{at}.ports[{j}]", names)


def _env(variables: Iterable[Obj], path: str) -> Warnings:
    """A variable that is set again, and not made of what it was."""
    seen = set()
    for i, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        own = f"$({name})"
        if name in seen and (variable.get("valueFrom") is not None or value == own or own not in value):
            yield f'{path}[{i}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _port(port: Obj, path: str, ports: dict[tuple[int, str], list[tuple[str, Obj]]]) -> Warnings:
    ip, number = port.get("hostIP", ""), port.get("hostPort", 0)
    if ip and not number:
        shown = (
            f"{{Name:{port.get('name', '')} HostPort:0 ContainerPort:{port.get('containerPort', 0)} "
            f"Protocol:{port.get('protocol', '')} HostIP:{ip}}}"
        )
        yield f"{path}: hostIP set without hostPort: {shown}"
    key = (port.get("containerPort", 0), port.get("protocol", ""))
    for other_path, other in ports.get(key, ()):
        other_ip, other_number = other.get("hostIP", ""), other.get("hostPort", 0)
        if (ip, number) == (other_ip, other_number):
            yield f"{path}: duplicate port definition with {other_path}"
        elif not number or not other_number:
            yield f"{path}: overlapping port definition with {other_path}"
        elif number == other_number and bool(ip) != bool(other_ip):
            yield f"{path}: dangerously ambiguous port definition with {other_path}"
    ports.setdefault(key, []).append((path, port))


def _port_name(name: str | None, path: str, names: dict[str, str]) -> Warnings:
    if not name:
        return
    first = names.setdefault(name, path)
    if first != path:
        yield (
            f'{path}: duplicate port name "{name}" with {first}, services and probes that select ports by name will '
            f"use {first}"
        )


def _pod_affinity(affinity: Obj, path: str) -> Warnings:
    for i, each in enumerate(affinity.get(_REQUIRED) or ()):
        if each.get("labelSelector") is None:
            yield f"{path}.{_REQUIRED}[{i}].labelSelector: {_NO_POD}"
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
            yield f"{path}.{_PREFERRED}[{i}].podAffinityTerm.labelSelector: {_NO_POD}"


def job(spec: Obj) -> Warnings:
    """A Job's spec, apart from its template."""
    if (
        spec.get("completionMode") == "Indexed"
        and (spec.get("completions") or 0) > _COMPLETIONS
        and (spec.get("parallelism") or 0) > _PARALLELISM
    ):
        yield (
            "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )


_COMPLETIONS, _PARALLELISM = 100_000, 10_000

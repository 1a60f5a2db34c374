"""APIServices as objects: those of this server's own groups, and how others are to be reached. Pure.

Source: Kubernetes documentation, "Kubernetes API Aggregation Layer"; API reference, APIService v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hawser.api.kind import ALL_VERBS, Kind, version_order
from hawser.api.types import Obj

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
_STAGES = (15, 11, 9)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an APIService is served by somebody else. bundle: base64 of PEM; insecure: no certificate is checked."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    bundle: str
    insecure: bool
    order: tuple[int, str, int, tuple[int, int, int, str]]

    @property
    def root(self) -> str:
        """The path below which it is asked."""
        return f"/apis/{self.group}/{self.version}"


def reference(obj: Obj) -> Reference | None:
    """Who serves an APIService; None for one of this server's own."""
    spec: Obj = obj["spec"]
    service = spec.get("service")
    if not service:
        return None
    group, version = spec.get("group", ""), spec.get("version", "")
    return Reference(
        obj["metadata"]["name"],
        group,
        version,
        service["namespace"],
        service["name"],
        service.get("port") or 443,
        spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")),
        (-spec["groupPriorityMinimum"], group, -spec["versionPriority"], version_order(version)),
    )


def local(kinds: Iterable[Kind]) -> dict[str, Obj]:
    """The APIService of every group version that this server serves itself, by name."""
    found: dict[str, Obj] = {}
    for kind in kinds:
        name = f"{kind.version}.{kind.group}"
        if name not in found:
            custom = type(kind) is not Kind
            found[name] = {
                "metadata": {"name": name, "labels": {AUTOMANAGED: "true" if custom else "onstart"}},
                "spec": {
                    **({"group": kind.group} if kind.group else {}),
                    "version": kind.version,
                    "groupPriorityMinimum": 1000 if custom else 18000 if not kind.group else 17000,
                    "versionPriority": 100 if custom else _STAGES[version_order(kind.version)[0] % len(_STAGES)],
                },
            }
    return found


class Reason(NamedTuple):
    """Of an Available condition."""

    reason: str
    message: str


def absent(reference: Reference, service: Obj | None, slices: Sequence[Obj]) -> Reason | None:
    """Why nobody can be asked at an APIService's Service; None when somebody can. slices: its EndpointSlices.

    Source: kube-aggregator's available controller. Services of other types than ClusterIP are asked in any case.
    """
    name, namespace = reference.service, f'"{reference.namespace}"'
    if service is None:
        return Reason("ServiceNotFound", f"service/{name} in {namespace} is not present")
    spec = service["spec"]
    if (spec.get("type") or "ClusterIP") != "ClusterIP":
        return None
    port = next((port for port in spec.get("ports") or () if port["port"] == reference.port), None)
    if port is None:
        text = f"service/{name} in {namespace} is not listening on port {reference.port}"
        return Reason("ServicePortError", text)
    if not slices:
        return Reason("EndpointsNotFound", f"cannot find endpointslices for service/{name} in {namespace}")
    wanted = port.get("name") or ""
    if not any(_offers(each, wanted) for each in slices):
        text = f'endpointslices for service/{name} in {namespace} have no addresses with port name "{wanted}"'
        return Reason("MissingEndpoints", text)
    return None


def is_of(endpoints: Obj, service: str) -> bool:
    """Whether an EndpointSlice is of a Service of its namespace."""
    return (endpoints["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service


def _offers(endpoints: Obj, port: str) -> bool:
    """Whether an EndpointSlice has a ready endpoint, and a port of that name."""
    ready = ((each.get("conditions") or {}).get("ready") for each in endpoints.get("endpoints") or ())
    names = [each.get("name") or "" for each in endpoints.get("ports") or () if each.get("port") is not None]
    return port in names and any(each is None or each for each in ready)


def available(reason: str, message: str, good: bool, now: str, old: Obj) -> Obj:
    """The status of an APIService with its Available condition; the time moves only when the condition does."""
    rest = [c for c in (old.get("conditions") or ()) if c.get("type") != "Available"]
    before: Obj = next((c for c in (old.get("conditions") or ()) if c.get("type") == "Available"), {})
    status = "True" if good else "False"
    since = before.get("lastTransitionTime") if before.get("status") == status else now
    condition = {
        "type": "Available",
        "status": status,
        "lastTransitionTime": since or now,
        "reason": reason,
        "message": message,
    }
    return {**old, "conditions": [*rest, condition]}


def needs_report(obj: Obj) -> bool:
    """Whether an APIService of our own does not say yet that it is available."""
    if obj["spec"].get("service"):
        return False
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return not any(
        (c.get("type"), c.get("status"), c.get("reason")) == ("Available", "True", LOCAL[0]) for c in conditions
    )


LOCAL = ("Local", "Local APIServices are always available")
"""Reason and message of what this server serves itself."""


def rows(group: str, version: str, resources: Iterable[Any]) -> list[Kind]:
    """Rows for discovery, of an APIResourceList's resources as another server gave them, without nonsense."""
    found: dict[str, Obj] = {}
    below: dict[str, list[str]] = {}
    for resource in resources:
        if not isinstance(resource, dict) or not isinstance(resource.get("name"), str):
            continue
        plural, slash, subresource = resource["name"].partition("/")
        if slash:
            below.setdefault(plural, []).append(subresource)
        elif isinstance(resource.get("kind"), str):
            found[plural] = resource
    return [
        Kind(
            group,
            version,
            resource["kind"],
            plural,
            bool(resource.get("namespaced")),
            tuple(map(str, resource.get("shortNames") or ())),
            tuple(map(str, resource.get("categories") or ())),
            tuple(below.get(plural, ())),
            tuple(map(str, resource.get("verbs") or ALL_VERBS)),
        )
        for plural, resource in found.items()
    ]

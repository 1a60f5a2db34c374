"""Defaults of Pods and pod templates.

Source: API reference, PodSpec, Container, Probe and Volume. Some defaults are only a Pod's, not a template's, so that
a template is not rewritten when Kubernetes gains a default: requests from limits, service links, host ports.
"""

from __future__ import annotations

from hawser.api import quantity
from hawser.api.defaults.image import pull_policy
from hawser.api.defaults.volume import field_ref, volume
from hawser.api.types import Obj

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def pod(obj: Obj) -> None:
    """Everything that a Pod gets, without what admission sets (priority, tolerations, service account)."""
    spec = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    host_network = spec.get("hostNetwork")
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            _requests_from_limits(container["resources"])
            if host_network:
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and "containerPort" in port:
                        port["hostPort"] = port["containerPort"]
    if (spec.get("resources") or {}).get("limits"):
        _pod_level_requests(spec)


def pod_spec(spec: Obj) -> None:
    """What Pods and templates both get."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    # The old name of the field is kept equal: clients of both read what they expect.
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for field in _CONTAINERS:
        for container in spec.get(field) or ():
            _container(container)
    for entry in spec.get("volumes") or ():
        volume(entry)
    round_amounts(spec.get("overhead"))
    if resources := spec.get("resources"):
        round_amounts(resources.get("limits"))
        round_amounts(resources.get("requests"))


def _container(container: Obj) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for variable in container.get("env") or ():
        if source := variable.get("valueFrom"):
            field_ref(source)
            file = source.get("fileKeyRef")
            if file is not None:
                file.setdefault("optional", False)
    for name in _PROBES:
        if name in container:
            _probe(container[name])
    if hooks := container.get("lifecycle"):
        for name in _HOOKS:
            if action := (hooks.get(name) or {}).get("httpGet"):
                _http_get(action)
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    elif resources:
        round_amounts(resources.get("limits"))
        round_amounts(resources.get("requests"))


def _probe(probe: Obj) -> None:
    if action := probe.get("httpGet"):
        _http_get(action)
    grpc = probe.get("grpc")
    if grpc is not None:
        grpc.setdefault("service", "")
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value


def _http_get(action: Obj) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _requests_from_limits(resources: Obj) -> None:
    limits = resources.get("limits")
    if limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def round_amounts(amounts: Obj | None) -> None:
    """Resources are counted in thousandths at most: smaller fractions are rounded up."""
    if not amounts:
        return
    for name, amount in amounts.items():
        if amount[-1] in "nu" or "e-" in amount or "E-" in amount:
            amounts[name] = quantity.canonical(f"{quantity.milli(amount)}m")


def _pod_level_requests(spec: Obj) -> None:
    """Requests of a pod that has limits of its own: what its containers ask for, else the limit (KEP-2837)."""
    resources = spec["resources"]
    requests = dict(resources.get("requests") or {})
    for name, amount in _container_requests(spec).items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, amount)
    for name, amount in resources["limits"].items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            requests.setdefault(name, amount)
    if requests:
        resources["requests"] = requests


def _container_requests(spec: Obj) -> dict[str, str]:
    """What a pod's containers need at once: all containers and sidecars, or the hungriest moment of initialization."""
    total: dict[str, str] = {}
    for container in spec.get("containers") or ():
        _add(total, container)
    sidecars: dict[str, str] = {}
    peak: dict[str, str] = {}
    for container in spec.get("initContainers") or ():
        moment = dict(sidecars)
        _add(moment, container)
        if container.get("restartPolicy") == "Always":
            _add(total, container)
            sidecars = moment
        for name, amount in moment.items():
            if name not in peak or quantity.compare(amount, peak[name]) > 0:
                peak[name] = amount
    for name, amount in peak.items():
        if name not in total or quantity.compare(amount, total[name]) > 0:
            total[name] = amount
    return total


def _add(sums: dict[str, str], container: Obj) -> None:
    for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
        sums[name] = quantity.add(sums[name], amount) if name in sums else amount

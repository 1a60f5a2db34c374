"""LimitRanges: defaults for containers, and bounds of containers, pods and claims.

Source: Kubernetes documentation, "Limit Ranges"; API reference, LimitRange; messages are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.pod_sums import pod_sum
from hawser.api.quantity import Number, parse_quantity
from hawser.api.types import Obj

ANNOTATION = "kubernetes.io/limit-ranger"
_PLACES = (("containers", "container"), ("initContainers", "init container"))


def set_defaults(limit_range: Obj, pod: Obj) -> None:
    """Give the containers of a pod what they do not ask for themselves, and say so in an annotation."""
    requests, limits = _defaults(limit_range)
    if not requests and not limits:
        return
    said: list[str] = []
    for part, word in _PLACES:
        for container in pod["spec"].get(part) or ():
            for name, given in (("requests", requests), ("limits", limits)):
                added = _add(container, name, given)
                if added:
                    said.append(f"{', '.join(added)} {name[:-1]} for {word} {container['name']}")
    if said:
        metadata = pod["metadata"]
        text = "LimitRanger plugin set: " + "; ".join(said)
        metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: text}


def _defaults(limit_range: Obj) -> tuple[Obj, Obj]:
    """What containers get as requests and as limits."""
    requests: Obj = {}
    limits: Obj = {}
    for limit in limit_range["spec"].get("limits") or ():
        if limit.get("type") == "Container":
            requests |= limit.get("defaultRequest") or {}
            limits |= limit.get("default") or {}
    return requests, limits


def _add(container: Obj, name: str, given: Obj) -> list[str]:
    """Add what is missing; which resources those were."""
    resources = container.get("resources") or {}
    have = resources.get(name) or {}
    missing = sorted(given.keys() - have.keys())
    if missing:
        container["resources"] = {**resources, name: {**have, **{key: given[key] for key in missing}}}
    return missing


def pod_violations(limit_range: Obj, pod: Obj) -> list[str]:
    """What a pod asks for that a LimitRange does not allow."""
    spec = pod["spec"]
    found: list[str] = []
    for limit in limit_range["spec"].get("limits") or ():
        if limit.get("type") == "Container":
            for part, _ in _PLACES:
                for container in spec.get(part) or ():
                    resources = container.get("resources") or {}
                    found += _violations(limit, resources.get("requests") or {}, resources.get("limits") or {})
        elif limit.get("type") == "Pod":
            found += _violations(limit, pod_sum(spec, "requests"), pod_sum(spec, "limits"))
    return found


def claim_violations(limit_range: Obj, claim: Obj) -> list[str]:
    """What a claim asks for that a LimitRange does not allow."""
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    found: list[str] = []
    for limit in limit_range["spec"].get("limits") or ():
        if limit.get("type") != "PersistentVolumeClaim":
            continue
        for name, bound in sorted((limit.get("min") or {}).items()):
            found += _least(limit["type"], name, bound, requests.get(name), None)
        for name, bound in sorted((limit.get("max") or {}).items()):
            start = f"maximum {name} usage per {limit['type']} is {bound}"
            asked = requests.get(name)
            if asked is None:
                found.append(f"{start}.  No request is specified")
            elif parse_quantity(asked) > parse_quantity(bound):
                found.append(f"{start}, but request is {asked}")
    return found


def _violations(limit: Obj, requests: Obj, limits: Obj) -> Iterator[str]:
    kind = limit["type"]
    for name, bound in sorted((limit.get("min") or {}).items()):
        yield from _least(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted((limit.get("max") or {}).items()):
        yield from _most(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted((limit.get("maxLimitRequestRatio") or {}).items()):
        yield from _ratio(kind, name, bound, requests.get(name), limits.get(name))


def _least(kind: str, name: str, bound: Number, asked: Number | None, limit: Number | None) -> Iterator[str]:
    start = f"minimum {name} usage per {kind} is {bound}"
    least = parse_quantity(bound)
    if asked is None:
        yield f"{start}.  No request is specified"
    elif parse_quantity(asked) < least:
        yield f"{start}, but request is {asked}"
    elif limit is not None and parse_quantity(limit) < least:
        yield f"{start}, but limit is {limit}"


def _most(kind: str, name: str, bound: Number, asked: Number | None, limit: Number | None) -> Iterator[str]:
    start = f"maximum {name} usage per {kind} is {bound}"
    most = parse_quantity(bound)
    if limit is None:
        yield f"{start}.  No limit is specified"
    elif parse_quantity(limit) > most:
        yield f"{start}, but limit is {limit}"
    elif asked is not None and parse_quantity(asked) > most:
        yield f"{start}, but request is {asked}"


def _ratio(kind: str, name: str, bound: Number, asked: Number | None, limit: Number | None) -> Iterator[str]:
    start = f"{name} max limit to request ratio per {kind} is {bound}"
    request = parse_quantity(asked) if asked is not None else 0
    most = parse_quantity(limit) if limit is not None else 0
    if not request:
        yield f"{start}, but no request is specified or request is 0"
    elif not most:
        yield f"{start}, but no limit is specified or limit is 0"
    elif float(most / request) > float(parse_quantity(bound)):
        yield f"{start}, but provided ratio is {float(most / request):f}"

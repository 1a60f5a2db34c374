"""Which ResourceClaims a pod and each of its containers use: pure.

Source: Kubernetes documentation, "Dynamic Resource Allocation"; the API of PodSpec.resourceClaims and of
status.resourceClaimStatuses, status.extendedResourceClaimStatus; words are kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.types import Obj
from hawser.node.cri.errors import CRIError
from hawser.node.pod import view


class NotPrepared(CRIError):
    """What a pod claims cannot be had now; the message says why."""

    @property
    def text(self) -> str:
        return self.message


def uses_any(pod: Obj) -> bool:
    """Whether a pod claims something."""
    return bool(pod["spec"].get("resourceClaims")) or "extendedResourceClaimStatus" in (pod.get("status") or ())


def names(pod: Obj) -> Iterator[tuple[str, str, bool]]:
    """For each claim its name in the pod, the name of its object, and whether that must be the pod's own.

    Claims that were left out on purpose are left out. Raises NotPrepared.
    """
    namespace, pod_name = view.key(pod)
    status = pod.get("status") or {}
    made = {row["name"]: row.get("resourceClaimName") for row in status.get("resourceClaimStatuses") or ()}
    for entry in pod["spec"].get("resourceClaims") or ():
        if entry.get("resourceClaimName"):
            yield entry["name"], entry["resourceClaimName"], False
        elif not entry.get("resourceClaimTemplateName"):
            text = f'pod "{namespace}/{pod_name}", spec.resourceClaim {entry["name"]}: '
            raise NotPrepared(f"{text}none of the supported fields are set")
        elif entry["name"] not in made:
            raise NotPrepared(f'pod "{namespace}/{pod_name}": ResourceClaim not created yet')
        elif made[entry["name"]]:
            yield entry["name"], made[entry["name"]], True
    if extended := status.get("extendedResourceClaimStatus"):
        yield "", extended["resourceClaimName"], False


def problem(pod: Obj, claim: Obj, *, owned: bool) -> str:
    """Why a pod may not use a claim, "" when it may. owned: the claim was made for the pod."""
    namespace, name = view.key(pod)
    metadata, status = claim["metadata"], claim.get("status") or {}
    uid = view.uid(pod)
    controllers = [ref["uid"] for ref in metadata.get("ownerReferences") or () if ref.get("controller")]
    if owned and uid not in controllers:
        mine = f"{namespace}/{metadata['name']}"
        return f"ResourceClaim {mine} was not created for pod {namespace}/{name} (pod is not owner)"
    if all(consumer.get("uid") != uid for consumer in status.get("reservedFor") or ()):
        return f"pod {name} ({uid}) is not allowed to use ResourceClaim {metadata['name']} ({metadata['uid']})"
    if not status.get("allocation"):
        return f"ResourceClaim {metadata['name']}: not allocated"
    return ""


def drivers(claim: Obj) -> list[str]:
    """The drivers whose devices are allocated to a claim."""
    results = (claim["status"]["allocation"].get("devices") or {}).get("results") or ()
    return sorted({result["driver"] for result in results})


def requests(pod: Obj, spec: Obj) -> dict[str, list[str]]:
    """By the name of the object, which requests of it a container uses; "" is all of them."""
    asked: dict[str, list[str]] = {}
    resources = spec.get("resources") or {}
    for row in resources.get("claims") or ():
        asked.setdefault(row["name"], []).append(row.get("request") or "")
    found: dict[str, list[str]] = {}
    for name, claim, _ in names(pod):
        if name and name in asked:
            found.setdefault(claim, []).extend(asked[name])
    if extended := (pod.get("status") or {}).get("extendedResourceClaimStatus"):
        wanted = {name for name, value in (resources.get("requests") or {}).items() if str(value) != "0"}
        for row in extended.get("requestMappings") or ():
            if row["containerName"] == spec["name"] and row["resourceName"] in wanted:
                found.setdefault(extended["resourceClaimName"], []).append(row["requestName"])
    return found

"""ResourceClaims: made of templates for the pods that want them, released by pods that are done, and cleaned up.

Source: "Dynamic Resource Allocation" (ResourceClaimTemplate); API reference, ResourceClaimStatus; KEP-4381.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable

from hawser.api import extended_resources
from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import POD, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.controller import Controller, Manager, controller_of
from hawser.client.informer import key_of
from hawser.controllers import pods
from hawser.exposition import gauge
from hawser.series import Counters

POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
PROTECTION = "resource.kubernetes.io/delete-protection"
# Keys of pods; the others are claims'. No namespace has a colon in it.
_POD = "pod:"
_LONGEST = 57
_MOST_CONSUMERS = 256
_CREATES = "Number of ResourceClaims creation requests, categorized by creation status and admin access"
_CLAIMS = (
    "Number of ResourceClaims, categorized by allocation status, admin access, and source. Source can be "
    "'resource_claim_template' (created from a template), 'extended_resource' (extended resources), or empty (manually "
    "created by a user)."
)
_LABELS = ("allocated", "admin_access", "source")


def is_done(pod: Obj) -> bool:
    """Whether nothing of the pod runs any more, or ever will."""
    return has_ended(pod) or (pods.is_terminating(pod) and not pod["spec"].get("nodeName"))


def generate_name(pod: str, claim: str) -> str:
    """The beginning of a claim's name, in which both names have their share when they are too long."""
    length = len(pod) + len(claim) + 2
    if length <= _LONGEST:
        return f"{pod}-{claim}-"
    return f"{pod[: len(pod) * _LONGEST // length]}-{claim[: len(claim) * _LONGEST // length]}-"


def missing(pod: Obj) -> list[Obj]:
    """Entries of spec.resourceClaims for which a claim is to be made and the status names none."""
    if is_done(pod) or pods.is_terminating(pod):
        return []
    told = {status["name"] for status in pod.get("status", {}).get("resourceClaimStatuses") or ()}
    wanted = pod["spec"].get("resourceClaims") or ()
    return [entry for entry in wanted if entry.get("resourceClaimTemplateName") and entry["name"] not in told]


def from_template(pod: Obj, entry: str, template: Obj) -> Obj:
    """The claim of a template for one entry of a pod."""
    metadata, given = pod["metadata"], template["spec"].get("metadata") or {}
    own: Obj = {
        "generateName": generate_name(metadata["name"], entry),
        "namespace": metadata["namespace"],
        "ownerReferences": [pods.owner_reference({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})],
        "annotations": {**(given.get("annotations") or {}), POD_CLAIM: entry},
    }
    if given.get("labels"):
        own["labels"] = dict(given["labels"])
    spec = copy.deepcopy(template["spec"]["spec"])
    return {"apiVersion": RESOURCE_CLAIM.api_version, "kind": "ResourceClaim", "metadata": own, "spec": spec}


def names_of(pod: Obj) -> Iterable[str]:
    """The names of the claims that a pod uses, as far as they are known."""
    for entry in pod["spec"].get("resourceClaims") or ():
        if entry.get("resourceClaimName"):
            yield entry["resourceClaimName"]
    for status in pod.get("status", {}).get("resourceClaimStatuses") or ():
        if status.get("resourceClaimName"):
            yield status["resourceClaimName"]
    if extended := _extended(pod):
        yield extended["resourceClaimName"]


def _extended(pod: Obj) -> Obj | None:
    """What the pod is told of the claim for its extended resources."""
    found: Obj | None = (pod.get("status") or {}).get("extendedResourceClaimStatus")
    return found


def is_for_admin(claim: Obj) -> bool:
    """Whether the claim asks for devices to administer them."""
    requests = (claim["spec"].get("devices") or {}).get("requests") or ()
    return any((request.get("exactly") or {}).get("adminAccess") for request in requests)


def _labels(claim: Obj) -> tuple[str, ...]:
    """As what a claim is counted: see _LABELS."""
    annotations = claim["metadata"].get("annotations") or {}
    source = "resource_claim_template" if POD_CLAIM in annotations else ""
    if annotations.get(extended_resources.CLAIM) == "true":
        source = "extended_resource"
    allocated = "allocation" in (claim.get("status") or {})
    return str(allocated).lower(), str(is_for_admin(claim)).lower(), source


class ResourceClaimController(Controller):
    """See the module."""

    name = "resourceclaim-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("resource_claim")
        self._claims = manager.informer(RESOURCE_CLAIM)
        self._claims.add_index("owner", pods.owner_uids)
        self._templates = manager.informer(RESOURCE_CLAIM_TEMPLATE)
        self._pods = manager.informer(POD)
        self._claims.on_change(self.enqueue)
        self._pods.on_change(self._pod_changed)
        self._templates.on_change(self._template_changed)
        self._creates = Counters("resourceclaim_controller_creates_total", _CREATES, ("status", "admin_access"))

    def exposed(self) -> Iterable[str]:
        yield from self._creates.lines()
        counted = Counter(map(_labels, self._claims.list()))
        yield from gauge("resourceclaim_controller_resource_claims", _CLAIMS, counted, _LABELS)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old
        if pod is None or not (pod["spec"].get("resourceClaims") or _extended(pod)):
            return
        if new is None or is_done(new):
            namespace = pod["metadata"]["namespace"]
            for name in names_of(pod):
                self.queue.add(f"{namespace}/{name}")
        elif missing(new) or new["spec"].get("nodeName"):
            self.queue.add(_POD + key_of(new))

    def _template_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Pods may have been there before it."""
        if old is not None or new is None:
            return
        for pod in self._pods.list(new["metadata"]["namespace"]):
            if pod["spec"].get("resourceClaims") and missing(pod):
                self.queue.add(_POD + key_of(pod))

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            pod = self._pods.get_key(key.removeprefix(_POD))
            if pod is not None and (entries := missing(pod)):
                await self._provide(pod, entries)
            elif pod is not None and pod["spec"].get("nodeName") and not is_done(pod):
                await self._reserve(pod)
            return None
        claim = self._claims.get_key(key)
        if claim is not None:
            await self._see_to(claim)
        return None

    async def _provide(self, pod: Obj, entries: list[Obj]) -> None:
        """Makes what is missing and says in the pod's status how it is called."""
        made = []
        for entry in entries:
            try:
                claim = self._made_before(pod, entry["name"]) or await self._make(pod, entry)
            except APIError as err:
                message = f"PodResourceClaim {entry['name']}: {err.message}"
                self._recorder.event(pod, "Warning", "FailedResourceClaimCreation", message)
                raise
            made.append({"name": entry["name"], "resourceClaimName": claim["metadata"]["name"]})
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"resourceClaimStatuses": made}}
        try:
            changed = await self._client.patch(POD, metadata["name"], metadata["namespace"], body, STRATEGIC, "status")
        except APIError as err:
            if err.code not in (404, 409):
                raise
            return
        self._pods.observe(changed)

    def _made_before(self, pod: Obj, entry: str) -> Obj | None:
        """The claim that was made for an entry, although the pod's status does not say so yet."""
        for claim in self._claims.by_index("owner", pod["metadata"]["uid"]):
            if (claim["metadata"].get("annotations") or {}).get(POD_CLAIM) == entry:
                return claim
        return None

    async def _make(self, pod: Obj, entry: Obj) -> Obj:
        name, namespace = entry["resourceClaimTemplateName"], pod["metadata"]["namespace"]
        template = self._templates.get(namespace, name)
        if template is None:
            missing_one = f'resourceclaimtemplate.resource.k8s.io "{name}" not found'
            raise APIError(404, "NotFound", f'resource claim template "{name}": {missing_one}')
        claim = from_template(pod, entry["name"], template)
        admin = str(is_for_admin(claim)).lower()
        try:
            made = await self._client.create(RESOURCE_CLAIM, claim)
        except APIError:
            self._creates.add("failure", admin)
            raise
        self._creates.add("success", admin)
        self._claims.observe(made)
        return made

    async def _reserve(self, pod: Obj) -> None:
        """Reserves what is allocated for a pod that has a node, in case whoever assigned that has not."""
        metadata = pod["metadata"]
        for name in names_of(pod):
            claim = self._claims.get(metadata["namespace"], name)
            status = (claim or {}).get("status") or {}
            reserved = status.get("reservedFor") or []
            known = any(consumer["uid"] == metadata["uid"] for consumer in reserved)
            if claim is None or known or "allocation" not in status or len(reserved) >= _MOST_CONSUMERS:
                continue
            consumer = {"resource": "pods", "name": metadata["name"], "uid": metadata["uid"]}
            wanted = {**status, "reservedFor": [*reserved, consumer]}
            self._claims.observe(await self._client.update(RESOURCE_CLAIM, {**claim, "status": wanted}, "status"))

    async def _see_to(self, claim: Obj) -> None:
        """Releases a claim from pods that are done, takes back what nobody uses, deletes what nobody will use."""
        status = claim.get("status") or {}
        reserved = status.get("reservedFor") or []
        left = [consumer for consumer in reserved if await self._uses(claim, consumer)]
        protected = PROTECTION in (claim["metadata"].get("finalizers") or ())
        free = not left and (bool(reserved) or pods.is_terminating(claim))
        if len(left) < len(reserved) or (free and protected and "allocation" in status):
            wanted = {field: value for field, value in status.items() if field != "reservedFor"}
            if left:
                wanted["reservedFor"] = left
            elif protected:
                wanted.pop("allocation", None)
                wanted.pop("devices", None)
            claim = await self._client.update(RESOURCE_CLAIM, {**claim, "status": wanted}, subresource="status")
            self._claims.observe(claim)
        if free and protected and not (claim.get("status") or {}).get("allocation"):
            claim = await self._unprotect(claim)
        if not left and not pods.is_terminating(claim) and self._is_unwanted(claim):
            await self._delete(claim)

    async def _uses(self, claim: Obj, consumer: Obj) -> bool:
        """Whether a consumer is there and not done; only pods are known here, others keep what they have."""
        if consumer.get("apiGroup") or consumer.get("resource") != "pods":
            return True
        namespace, name = claim["metadata"]["namespace"], consumer["name"]
        pod = self._pods.get(namespace, name)
        if pod is None or pod["metadata"]["uid"] != consumer["uid"]:
            # The cache may be behind.
            try:
                pod = await self._client.get(POD, name, namespace)
            except APIError as err:
                if err.code != 404:
                    raise
                return False
        return pod["metadata"]["uid"] == consumer["uid"] and not is_done(pod)

    async def _unprotect(self, claim: Obj) -> Obj:
        metadata = claim["metadata"]
        finalizers = [name for name in metadata["finalizers"] if name != PROTECTION]
        changed = {**claim, "metadata": {**metadata, "finalizers": finalizers}}
        written = await self._client.update(RESOURCE_CLAIM, changed)
        self._claims.observe(written)
        return written

    def _is_unwanted(self, claim: Obj) -> bool:
        """Whether it was made for a pod that is done or gone."""
        owner = controller_of(claim)
        if owner is None or owner["kind"] != "Pod" or owner["apiVersion"] != "v1":
            return False
        pod = self._pods.get(claim["metadata"]["namespace"], owner["name"])
        return pod is None or pod["metadata"]["uid"] != owner["uid"] or is_done(pod)

    async def _delete(self, claim: Obj) -> None:
        metadata = claim["metadata"]
        with ignoring(404):
            await self._client.delete(RESOURCE_CLAIM, metadata["name"], metadata["namespace"], uid=metadata["uid"])

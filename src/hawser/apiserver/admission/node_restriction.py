"""NodeRestriction: a node agent changes its own Node, its own pods and what belongs to them, nothing else.

Source: Kubernetes documentation, "Admission Control in Kubernetes" (NodeRestriction); messages are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hawser.api.errors import not_found
from hawser.api.kind import Kind
from hawser.api.kinds import CSI_DRIVER, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from hawser.api.pod_claims import claim_name
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.authorization import references
from hawser.apiserver.authorization.base import Attributes, Authorizer
from hawser.apiserver.authorization.node import node_of
from hawser.apiserver.strategies.base import Lookup

_LEASES = "kube-node-lease"
_RESTRICTED = "node-restriction.kubernetes.io"
_AGENT_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)
_AGENT_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_NODE_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_UNUSED = ("resourceVersion", "managedFields")
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")


class NodeRestriction(Plugin):
    """See the module."""

    name = "NodeRestriction"

    def __init__(self, lookup: Lookup, authorizer: Authorizer) -> None:
        self._lookup = lookup
        self._authorizer = authorizer
        self._rows: dict[tuple[str, str], Callable[[str, Request], None]] = {
            ("", "pods"): self._pod,
            ("", "nodes"): _node,
            ("", "persistentvolumeclaims"): _claim,
            ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): _lease,
            ("storage.k8s.io", "csinodes"): _csi_node,
            ("resource.k8s.io", "resourceslices"): _slice,
            ("certificates.k8s.io", "certificatesigningrequests"): _signing_request,
        }

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """What nodes write."""
        return (kind.group, kind.plural) in self._rows and operation is not Operation.CONNECT

    def mutate(self, request: Request) -> None:
        """APIError 403 for what is not the node's own; changes nothing."""
        user = request.user
        if not user.name.startswith("system:node:"):
            return
        node = node_of(user)
        if node is None:
            return
        if not node:
            raise refused(request, f'could not determine node from user "{user.name}"')
        self._rows[request.kind.group, request.kind.plural](node, request)

    def _pod(self, node: str, request: Request) -> None:
        match request.subresource:
            case "":
                self._whole_pod(node, request)
            case "status":
                _pod_status(node, request)
            case "eviction":
                if self._stored_pod(request).get("nodeName") != node:
                    raise refused(request, f"node {node} can only evict pods with spec.nodeName set to itself")
            case other:
                reason = f"unexpected pod subresource \"{other}\", only 'status' and 'eviction' are allowed"
                raise refused(request, reason)

    def _whole_pod(self, node: str, request: Request) -> None:
        match request.operation:
            case Operation.CREATE:
                self._mirror_pod(node, request, request.new)
            case Operation.DELETE:
                if self._stored_pod(request).get("nodeName") != node:
                    raise refused(request, f'node "{node}" can only delete pods with spec.nodeName set to itself')
            case other:
                reason = f'unexpected operation "{other}", node "{node}" can only create and delete mirror pods'
                raise refused(request, reason)

    def _stored_pod(self, request: Request) -> Obj:
        """The spec of the pod that is named."""
        name = request.name or ((request.object or {}).get("metadata") or {}).get("name") or ""
        if not name:
            raise refused(request, "could not determine pod from request data")
        pod = self._lookup.find(POD, request.namespace, name)
        if pod is None:
            raise not_found("", "pod", name)
        spec: Obj = pod["spec"]
        return spec

    def _mirror_pod(self, node: str, request: Request, pod: Obj) -> None:
        metadata, spec = pod["metadata"], pod.get("spec") or {}
        if references.MIRROR not in (metadata.get("annotations") or {}):
            reason = f'pod does not have "{references.MIRROR}" annotation, node "{node}" can only create mirror pods'
            raise refused(request, reason)
        if spec.get("nodeName") != node:
            raise refused(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
        self._check_owner(node, request, metadata.get("ownerReferences") or [])
        what = ""
        if spec.get("serviceAccountName"):
            what = "a service account"
        elif any(references.secrets(spec)):
            what = "secrets"
        elif any(references.config_maps(spec)):
            what = "configmaps"
        elif any("clusterTrustBundle" in source for source in _projections(spec)):
            what = "clustertrustbundles"
        elif any("persistentVolumeClaim" in volume for volume in spec.get("volumes") or ()):
            what = "persistentvolumeclaims"
        if what:
            raise refused(request, f'node "{node}" can not create pods that reference {what}')

    def _check_owner(self, node: str, request: Request, owners: list[Obj]) -> None:
        who = f'node "{node}"'
        if len(owners) > 1:
            raise refused(request, f"{who} can only create pods with a single owner reference set to itself")
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refused(request, f"{who} can only create pods with an owner reference set to itself")
        if not owner.get("controller"):
            raise refused(request, f"{who} can only create pods with a controller owner reference set to itself")
        if owner.get("blockOwnerDeletion"):
            raise refused(request, f"{who} must not set blockOwnerDeletion on an owner reference")
        found = self._lookup.find(NODE, "", node)
        if found is None:
            raise not_found("", "node", node)
        uid = found["metadata"]["uid"]
        if owner.get("uid") != uid:
            raise refused(request, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")

    def _token(self, node: str, request: Request) -> None:
        if request.operation is not Operation.CREATE or request.subresource != "token":
            return
        bound = (request.new.get("spec") or {}).get("boundObjectRef") or {}
        name = bound.get("name")
        if (bound.get("apiVersion"), bound.get("kind")) != ("v1", "Pod") or not name:
            raise refused(request, "node requested token not bound to a pod")
        uid = bound.get("uid")
        if not uid:
            raise refused(request, "node requested token with a pod binding without a uid")
        pod = self._lookup.find(POD, request.namespace, name)
        if pod is None:
            raise not_found("", "pod", name)
        if pod["metadata"]["uid"] != uid:
            reason = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise refused(request, reason)
        if pod["spec"].get("nodeName") != node:
            raise refused(request, "node requested token bound to a pod scheduled on a different node")
        self._audience(request, pod)

    def _audience(self, request: Request, pod: Obj) -> None:
        """A node's tokens are for whom its pod's volumes name, or whom the node may ask for (KEP-4412)."""
        audiences = (request.new.get("spec") or {}).get("audiences") or [""]
        if len(audiences) > 1:
            raise refused(request, "node may only request 0 or 1 audiences")
        (audience,) = audiences
        if audience in self._audiences(pod):
            return
        verb = "request-serviceaccounts-token-audience"
        question = Attributes(verb, resource=audience, namespace=request.namespace, name=request.name)
        if not self._authorizer.allows(request.user, question).allowed:
            raise refused(
                request,
                f'audience "{audience}" not found in pod spec volume, {request.user.name} is not authorized to request '
                "tokens for this audience",
            )

    def _audiences(self, pod: Obj) -> Iterator[str]:
        """Whom the volumes of a pod have tokens for; empty for this server."""
        for volume in pod["spec"].get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if (token := source.get("serviceAccountToken")) is not None:
                    yield token.get("audience") or ""
            if driver := self._driver(pod, volume):
                found = self._lookup.find(CSI_DRIVER, "", driver) or {}
                for token in (found.get("spec") or {}).get("tokenRequests") or ():
                    yield token.get("audience") or ""

    def _driver(self, pod: Obj, volume: Obj) -> str:
        """The CSI driver of a pod's volume; empty without one."""
        if inline := volume.get("csi"):
            return str(inline.get("driver") or "")
        claim = claim_name(pod["metadata"]["name"], volume)
        if not claim:
            return ""
        bound = self._lookup.find(PERSISTENT_VOLUME_CLAIM, pod["metadata"]["namespace"], claim) or {}
        name = (bound.get("spec") or {}).get("volumeName")
        found = self._lookup.find(PERSISTENT_VOLUME, "", name) if name else None
        return str(((found or {}).get("spec") or {}).get("csi", {}).get("driver") or "")


def _pod_status(node: str, request: Request) -> None:
    if request.operation is not Operation.UPDATE or request.old is None:
        raise refused(request, f'unexpected operation "{request.operation}"')
    old, new = request.old, request.new
    if old["spec"].get("nodeName") != node:
        raise refused(request, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
        raise refused(request, f'node "{node}" cannot update labels through pod status')
    if _claims_made(old) != _claims_made(new):
        raise refused(request, f'node "{node}" cannot update resource claim statues')


def _claims_made(pod: Obj) -> list[tuple[str, str | None]]:
    made = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    return [(one["name"], one.get("resourceClaimName")) for one in made]


def _projections(spec: Obj) -> Iterable[Obj]:
    for volume in spec.get("volumes") or ():
        yield from (volume.get("projected") or {}).get("sources") or ()


def _node(node: str, request: Request) -> None:
    if request.name != node:
        raise refused(request, f'node "{node}" is not allowed to modify node "{request.name}"')
    if request.operation is Operation.CREATE:
        labels = forbidden_labels(request.new["metadata"].get("labels") or {}, {})
        if labels:
            raise refused(request, f'node "{node}" is not allowed to set the following labels: {", ".join(labels)}')
    elif request.operation is Operation.UPDATE and request.old is not None:
        if _taints(request.new) != _taints(request.old):
            raise refused(request, f'node "{node}" is not allowed to modify taints')
        if _owners(request.new) != _owners(request.old):
            raise refused(request, f'node "{node}" is not allowed to modify ownerReferences')
        old = request.old["metadata"].get("labels") or {}
        labels = forbidden_labels(request.new["metadata"].get("labels") or {}, old)
        if labels:
            raise refused(request, f"is not allowed to modify labels: {', '.join(labels)}")


def _taints(node: Obj) -> list[Obj]:
    taints: list[Obj] = (node.get("spec") or {}).get("taints") or []
    return taints


def _owners(node: Obj) -> list[Obj]:
    owners: list[Obj] = node["metadata"].get("ownerReferences") or []
    return owners


def forbidden_labels(new: dict[str, str], old: dict[str, str]) -> list[str]:
    """The labels that differ although nodes may not set, change or remove them on themselves; in order."""
    changed = (key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
    return sorted(key for key in changed if _is_forbidden(key))


def _is_forbidden(key: str) -> bool:
    prefix, slash, _ = key.partition("/")
    if not slash:
        return False
    if _below(prefix, _RESTRICTED):
        return True
    if not _below(prefix, "kubernetes.io") and not _below(prefix, "k8s.io"):
        return False
    return key not in _AGENT_LABELS and not any(_below(prefix, allowed) for allowed in _AGENT_PREFIXES)


def _below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _claim(node: str, request: Request) -> None:
    if request.subresource != "status":
        raise refused(request, "may only update PVC status")
    if request.operation is not Operation.UPDATE or request.old is None:
        raise refused(request, f'unexpected operation "{request.operation}"')
    if _fixed(request.old) != _fixed(request.new):
        reason = f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions'
        raise refused(request, reason)


def _fixed(claim: Obj) -> Obj:
    """What of a claim its node may not change."""
    metadata = {key: value for key, value in claim["metadata"].items() if key not in _UNUSED}
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in _CLAIM_STATUS}
    return {**claim, "metadata": metadata, "status": status}


def _own_name(request: Request) -> str:
    if request.operation is Operation.CREATE:
        return str(request.new["metadata"].get("name") or "")
    return request.name


def _lease(node: str, request: Request) -> None:
    if request.namespace != _LEASES:
        raise refused(request, f'can only access leases in the "{_LEASES}" system namespace')
    if _own_name(request) != node:
        raise refused(request, "can only access node lease with the same name as the requesting node")


def _csi_node(node: str, request: Request) -> None:
    if _own_name(request) != node:
        raise refused(request, "can only access CSINode with the same name as the requesting node")


def _slice(node: str, request: Request) -> None:
    for operation, obj, verb in (
        (Operation.CREATE, request.object, "create"),
        (Operation.DELETE, request.old, "delete"),
    ):
        if request.operation is operation and obj is not None and (obj.get("spec") or {}).get("nodeName") != node:
            raise refused(request, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")


def _signing_request(node: str, request: Request) -> None:
    if request.operation is not Operation.CREATE or request.subresource:
        return
    spec = request.new.get("spec") or {}
    if spec.get("signerName") not in _NODE_SIGNERS:
        return
    import base64

    from cryptography import x509

    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or "")).subject
    except ValueError as error:
        raise refused(request, f"unable to parse csr: {error}") from error
    names = [str(one.value) for one in subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if names != [f"system:node:{node}"]:
        raise refused(request, f"can only create a node CSR with CN=system:node:{node}")

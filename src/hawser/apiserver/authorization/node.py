"""What node agents may do: each what its own pods need, and report on itself.

Source: Kubernetes documentation, "Using Node Authorization"; KEP-4601 (reads of nodes and pods are limited to the
node's own). Reasons are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Callable

from hawser.api.kinds import POD, RESOURCE_SLICE, VOLUME_ATTACHMENT
from hawser.apiserver.authorization.base import NO_OPINION, Attributes, Decision
from hawser.apiserver.authorization.graph import Graph
from hawser.apiserver.authorization.roles import Role, keys
from hawser.apiserver.identity import User
from hawser.apiserver.strategies.base import Lookup

_PREFIX = "system:node:"
_GROUP = "system:nodes"
_LEASES = "kube-node-lease"
_ALLOWED = Decision(True)
_READ = ("get", "list", "watch")
_CHANGE = ("get", "create", "update", "patch", "delete")


def node_of(user: User) -> str | None:
    """The name of the node that a user is; None for users that are none, empty when it cannot be told."""
    if _GROUP not in user.groups or not user.name.startswith(_PREFIX):
        return None
    return user.name.removeprefix(_PREFIX)


def _no(reason: str) -> Decision:
    return Decision(False, reason)


class NodeAuthorizer:
    """The authorizer."""

    def __init__(self, graph: Graph, lookup: Lookup, rules: Callable[[], Role]) -> None:
        """rules: the role system:node as Kubernetes ships it, for what is no single node's business."""
        self._graph = graph
        self._lookup = lookup
        self._rules = rules
        self._kept: Role | None = None
        self._rows: dict[tuple[str, str], Callable[[str, Attributes], Decision]] = {
            ("", "secrets"): self._read,
            ("", "configmaps"): self._read,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("", "serviceaccounts"): self._account,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
            ("storage.k8s.io", "volumeattachments"): self._attachment,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("coordination.k8s.io", "leases"): self._lease,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("resource.k8s.io", "resourceslices"): self._slice,
        }

    def allows(self, user: User, request: Attributes) -> Decision:
        """Whether a node may do this; no opinion on others."""
        node = node_of(user)
        if node is None:
            return NO_OPINION
        if not node:
            return _no(f'unknown node for user "{user.name}"')
        row = self._rows.get((request.group, request.resource))
        if row is not None:
            return row(node, request)
        if self._kept is None:
            self._kept = self._rules()
        role = self._kept
        if not request.resource:
            return _ALLOWED if role.path(request.verb, request.path) else NO_OPINION
        names = role.names(keys(request.verb, request.group, request.resource, request.subresource))
        return _ALLOWED if names is None or request.name in names else NO_OPINION

    def _related(self, node: str, request: Attributes) -> Decision:
        if not request.name:
            return _no("No Object name found")
        if self._graph.refers(node, request.resource, request.namespace, request.name):
            return _ALLOWED
        return _unrelated(node)

    def _read(self, node: str, request: Attributes) -> Decision:
        if request.verb not in _READ:
            return _no("can only read resources of this type")
        if request.subresource:
            return _no("cannot read subresource")
        if not request.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, request)

    def _get(self, node: str, request: Attributes) -> Decision:
        if request.verb != "get":
            return _no("can only get individual resources of this type")
        if request.subresource:
            return _no("cannot get subresource")
        return self._related(node, request)

    def _claim(self, node: str, request: Attributes) -> Decision:
        if request.subresource != "status":
            return self._get(node, request)
        if request.verb not in ("update", "patch"):
            return _no("can only get/update/patch this type")
        return self._related(node, request)

    def _account(self, node: str, request: Attributes) -> Decision:
        if request.verb == "get":
            return self._get(node, request)
        if request.verb != "create" or not request.name:
            return _no("can only create tokens for individual service accounts")
        if request.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, request)

    def _attachment(self, node: str, request: Attributes) -> Decision:
        if request.verb != "get":
            return _no("can only get individual resources of this type")
        if request.subresource:
            return _no("cannot get subresource")
        found = self._lookup.find(VOLUME_ATTACHMENT, "", request.name) if request.name else None
        return _ALLOWED if found is not None and found["spec"].get("nodeName") == node else _unrelated(node)

    def _node(self, node: str, request: Attributes) -> Decision:
        if request.subresource:
            status = request.subresource == "status" and request.verb in ("update", "patch")
            return _ALLOWED if status else NO_OPINION
        if request.verb in ("create", "update", "patch"):
            return _ALLOWED  # NodeRestriction sees to it that it is the node's own.
        if request.verb not in _READ:
            return NO_OPINION
        if request.name == node:
            return _ALLOWED
        which = f"'{request.name}'" if request.name else "all nodes"
        return _no(f"node '{node}' cannot read {which}, only its own Node object")

    def _pod(self, node: str, request: Attributes) -> Decision:
        if request.subresource:
            wanted = {"status": ("update", "patch"), "eviction": ("create",)}.get(request.subresource, ())
            return _ALLOWED if request.verb in wanted else NO_OPINION
        if request.verb in _READ:
            if ("spec.nodeName", "In", (node,)) in request.fields:
                return _ALLOWED
            if request.name:
                found = self._lookup.find(POD, request.namespace, request.name)
                mine = found is not None and found["spec"].get("nodeName") == node
                return _ALLOWED if mine else _unrelated(node)
            return _no("can only list/watch pods with spec.nodeName field selector")
        return _ALLOWED if request.verb in ("create", "delete") else NO_OPINION

    def _lease(self, node: str, request: Attributes) -> Decision:
        if request.verb not in _CHANGE:
            return _no("can only get, create, update, patch, or delete a node lease")
        if request.namespace != _LEASES:
            return _no(f'can only access leases in the "{_LEASES}" system namespace')
        if request.verb != "create" and request.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return _ALLOWED

    def _csi_node(self, node: str, request: Attributes) -> Decision:
        if request.verb not in _CHANGE:
            return _no("can only get, create, update, patch, or delete a CSINode")
        if request.subresource:
            return _no("cannot authorize CSINode subresources")
        if request.verb != "create" and request.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return _ALLOWED

    def _slice(self, node: str, request: Attributes) -> Decision:
        if request.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        match request.verb:
            case "create":
                return _ALLOWED  # NodeRestriction sees to it that it is the node's own.
            case "get" | "update" | "patch" | "delete":
                found = self._lookup.find(RESOURCE_SLICE, "", request.name)
                mine = found is not None and found["spec"].get("nodeName") == node
                return _ALLOWED if mine else _unrelated(node)
            case "list" | "watch" | "deletecollection":
                if ("spec.nodeName", "In", (node,)) in request.fields:
                    return _ALLOWED
                return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        return _no(
            "only the following verbs are allowed for a ResourceSlice: "
            "get, watch, list, create, update, patch, delete, deletecollection"
        )


def _unrelated(node: str) -> Decision:
    return _no(f"no relationship found between node '{node}' and this object")

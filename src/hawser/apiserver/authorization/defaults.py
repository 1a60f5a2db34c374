"""Kubernetes' default roles and bindings, compactly, and the engine's own.

A rule is ``verbs / groups / resources`` or ``verbs / groups / resources / names``, words apart by spaces; ``core`` is
the empty group. A rule about paths is ``verbs / paths``. Source: the default policy of Kubernetes v1.36 ("Using RBAC
Authorization", default roles and role bindings) with the features that are on by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from hawser.api.rbac import GROUP, aggregate, compact
from hawser.api.types import Obj
from hawser.apiserver.authorization.default_controllers import CONTROLLERS
from hawser.apiserver.authorization.default_roles import AGGREGATED, NAMESPACED, ROLES

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_CONTROLLER = "system:controller:"
MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
_AUTHENTICATED = "system:authenticated"
ENGINE = "hawser:controllers"
"""What the engine's one process of controllers and scheduler may do beyond system:kube-controller-manager."""

METRICS_READER = "hawser:metrics-reader"
"""kubectl top for whoever may view; metrics-server brings such a role itself."""

AGENT = "hawser:node-agent"
"""What the node agent may do beyond the node authorizer: it is kube-proxy and the cluster's DNS server, too, and tells
hawser-runtime of RichProfiles."""
_AGENT_RULES = (
    "list watch / core / services endpoints",
    "list watch / discovery.k8s.io / endpointslices",
    "list / rich.hawser.dev / richprofiles",
    "patch / rich.hawser.dev / richprofiles/status",
)

NETWORK = "hawser:network-agent"
"""What enforcing network policies takes: elsewhere the role of a network plugin, whose pods run on every node."""
NETWORK_GROUP = "hawser:network-agents"
"""Who has that role: the engine's own agents, by their certificates, and not whatever else joins as a node."""
_NETWORK_RULES = ("list watch / core / pods namespaces", "list watch / networking.k8s.io / networkpolicies")


@cache
def cluster_roles() -> tuple[Obj, ...]:
    """Every default ClusterRole. Aggregated ones have their rules already, as the controller would fill them in."""
    roles = [_role(name, rules) for name, rules in ROLES.items()]
    for role in roles:
        metadata = role["metadata"]
        wide = metadata["name"].removeprefix("system:aggregate-to-")
        if wide in AGGREGATED:
            metadata["labels"][_AGGREGATE + wide] = "true"
    metrics = _role(METRICS_READER, ("get list / metrics.k8s.io / nodes pods",))
    metrics["metadata"]["labels"][_AGGREGATE + "view"] = "true"
    roles.append(metrics)
    # From the narrowest to the widest: each takes in the one before.
    wider = {"view": "edit", "edit": "admin"}
    for name in ("view", "edit", "admin"):
        role = _role(name, ())
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {_AGGREGATE + name: "true"}}]}
        if name in wider:
            role["metadata"]["labels"][_AGGREGATE + wider[name]] = "true"
        role["rules"] = aggregate(role, roles)
        roles.append(role)
    roles += [_role(_CONTROLLER + name, rules) for name, rules in CONTROLLERS.items()]
    roles.append(_engine())
    roles += [_role(AGENT, _AGENT_RULES), _role(NETWORK, _NETWORK_RULES)]
    return tuple(roles)


def node_rules() -> list[Obj]:
    """What every node agent may do that is no single node's business: the role system:node."""
    return [parse(text) for text in ROLES["system:node"]]


def _engine() -> Obj:
    """Every controller's rules and the scheduler's in one: one process does the work of all of them."""
    texts = [text for rules in CONTROLLERS.values() for text in rules]
    texts += [*ROLES[SCHEDULER], *ROLES["system:volume-scheduler"]]
    rules = compact(parse(text) for text in dict.fromkeys(texts))
    for rule in rules:
        rule["verbs"] = list(dict.fromkeys(rule["verbs"]))
    return {**_role(ENGINE, ()), "rules": rules}


@cache
def cluster_role_bindings() -> tuple[Obj, ...]:
    """Every default ClusterRoleBinding."""
    named: dict[str, list[Obj]] = {
        "cluster-admin": [_group("system:masters")],
        "system:monitoring": [_group("system:monitoring")],
        "system:discovery": [_group(_AUTHENTICATED)],
        "system:basic-user": [_group(_AUTHENTICATED)],
        "system:public-info-viewer": [_group(_AUTHENTICATED), _group("system:unauthenticated")],
        "system:node-proxier": [_user("system:kube-proxy")],
        MANAGER: [_user(MANAGER)],
        "system:kube-dns": [_account("kube-dns")],
        SCHEDULER: [_user(SCHEDULER)],
        "system:volume-scheduler": [_user(SCHEDULER)],
        "system:node": [],
        "system:service-account-issuer-discovery": [_group("system:serviceaccounts")],
    }
    named |= {_CONTROLLER + name: [_account(name)] for name in CONTROLLERS}
    named |= {ENGINE: [_user(MANAGER)], AGENT: [_group("system:nodes")], NETWORK: [_group(NETWORK_GROUP)]}
    return tuple(
        _binding("ClusterRoleBinding", name, "ClusterRole", name, subjects) for name, subjects in named.items()
    )


@cache
def roles() -> tuple[Obj, ...]:
    """Every default Role."""
    made = []
    for (namespace, name), (rules, _, _) in NAMESPACED.items():
        role = _role(name, rules)
        role["kind"] = "Role"
        role["metadata"]["namespace"] = namespace
        made.append(role)
    return tuple(made)


@cache
def role_bindings() -> tuple[Obj, ...]:
    """Every default RoleBinding."""
    made = []
    for (namespace, role), (_, name, subjects) in NAMESPACED.items():
        found = [_user(one[5:]) if one.startswith("user ") else _account(one) for one in subjects]
        binding = _binding("RoleBinding", name, "Role", role, found)
        binding["metadata"]["namespace"] = namespace
        made.append(binding)
    return tuple(made)


def parse(text: str) -> Obj:
    """A rule of its compact form."""
    parts = [part.split() for part in text.split(" / ")]
    if len(parts) == 2:
        return {"verbs": parts[0], "nonResourceURLs": parts[1]}
    groups = ["" if group == "core" else group for group in parts[1]]
    rule: Obj = {"verbs": parts[0], "apiGroups": groups, "resources": parts[2]}
    if len(parts) == 4:
        rule["resourceNames"] = parts[3]
    return rule


def _metadata(name: str) -> Obj:
    return {"name": name, "labels": dict(_LABEL), "annotations": {AUTOUPDATE: "true"}}


def _role(name: str, rules: tuple[str, ...]) -> Obj:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": _metadata(name),
        "rules": [parse(text) for text in rules],
    }


def _binding(kind: str, name: str, role_kind: str, role: str, subjects: list[Obj]) -> Obj:
    binding: Obj = {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": _metadata(name),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    }
    return {**binding, "subjects": subjects} if subjects else binding


def _user(name: str) -> Obj:
    return {"kind": "User", "apiGroup": GROUP, "name": name}


def _group(name: str) -> Obj:
    return {"kind": "Group", "apiGroup": GROUP, "name": name}


def _account(name: str) -> Obj:
    return {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}


def by_kind() -> Iterator[Obj]:
    """Everything, roles before the bindings to them."""
    yield from cluster_roles()
    yield from roles()
    yield from cluster_role_bindings()
    yield from role_bindings()

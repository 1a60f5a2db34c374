"""The rules of placement read straight from the API reference, over plain objects and without any memory: what the
scheduler decides is held against them."""

from __future__ import annotations

from hawser.api.node_affinity import node_matches
from hawser.api.pod_resources import amounts, pod_requests
from hawser.api.selectors import LabelSelector
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, UNSCHEDULABLE, untolerated

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def labels_of(obj):
    return obj["metadata"].get("labels") or {}


def allowed(pod, node, nodes, placed):
    """Whether the pod may go to the node. placed: (pod, node) of every pod that has one; nodes: all of them."""
    by_name = {n["metadata"]["name"]: n for n in nodes}
    here = [p for p, name in placed if name == node["metadata"]["name"]]
    there = [(p, by_name[name]) for p, name in placed if name in by_name]
    taints = [*(node["spec"].get("taints") or ())]
    if node["spec"].get("unschedulable"):
        taints.append({"key": UNSCHEDULABLE, "effect": NO_SCHEDULE})
    return (
        _fits(pod, node, here)
        and untolerated(taints, pod["spec"].get("tolerations") or (), (NO_SCHEDULE, NO_EXECUTE)) is None
        and node_matches(pod["spec"], node["metadata"]["name"], labels_of(node))
        and _ports_free(pod, here)
        and all(_even(pod, node, nodes, there, c) for c in _hard(pod))
        and _together(pod, node, there)
        and _apart(pod, node, there)
    )


def _fits(pod, node, here):
    whole = amounts(node["status"]["allocatable"])
    if len(here) + 1 > whole["pods"]:
        return False
    wanted = {name: value for name, value in pod_requests(pod["spec"]).items() if value}
    used = [pod_requests(p["spec"]) for p in here]
    return all(value + sum(u.get(name, 0) for u in used) <= whole.get(name, 0) for name, value in wanted.items())


def _ports(pod):
    return {p["hostPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or () if p.get("hostPort")}


def _ports_free(pod, here):
    return not any(_ports(pod) & _ports(other) for other in here)


def _hard(pod):
    return [c for c in pod["spec"].get("topologySpreadConstraints") or () if c["whenUnsatisfiable"] == "DoNotSchedule"]


def _even(pod, node, nodes, there, constraint):
    key = constraint["topologyKey"]
    selector = LabelSelector.from_object(constraint["labelSelector"])
    keys = [c["topologyKey"] for c in _hard(pod)]
    if key not in labels_of(node):
        return False

    def counted(other):
        tolerations = pod["spec"].get("tolerations") or ()
        taints = other["spec"].get("taints") or ()
        return (
            all(k in labels_of(other) for k in keys)
            and (
                constraint.get("nodeAffinityPolicy") == "Ignore"
                or node_matches(pod["spec"], other["metadata"]["name"], labels_of(other))
            )
            and (
                constraint.get("nodeTaintsPolicy") != "Honor"
                or untolerated(taints, tolerations, (NO_SCHEDULE, NO_EXECUTE)) is None
            )
        )

    domains = {labels_of(n)[key]: 0 for n in nodes if counted(n)}
    for other, where in there:
        same = other["metadata"]["namespace"] == pod["metadata"]["namespace"]
        leaving = "deletionTimestamp" in other["metadata"]
        if counted(where) and same and not leaving and selector.matches(labels_of(other)):
            domains[labels_of(where)[key]] += 1
    least = min(domains.values(), default=0) if len(domains) >= constraint.get("minDomains", 1) else 0
    itself = int(selector.matches(labels_of(pod)))
    return domains.get(labels_of(node)[key], 0) + itself - least <= constraint["maxSkew"]


def _terms(pod, kind):
    return ((pod["spec"].get("affinity") or {}).get(kind) or {}).get(REQUIRED) or ()


def _speaks(term, owner, other):
    names = term.get("namespaces") or [owner["metadata"]["namespace"]]
    selector = LabelSelector.from_object(term["labelSelector"])
    return other["metadata"]["namespace"] in names and selector.matches(labels_of(other))


def _same_place(key, one, other):
    return key in labels_of(one) and labels_of(one)[key] == labels_of(other).get(key)


def _together(pod, node, there):
    terms = _terms(pod, "podAffinity")
    if not terms:
        return True
    if any(term["topologyKey"] not in labels_of(node) for term in terms):
        return False
    wanted = [(o, w) for o, w in there if all(_speaks(t, pod, o) for t in terms)]
    if all(any(_same_place(t["topologyKey"], node, w) for _, w in wanted) for t in terms):
        return True
    nowhere = not any(t["topologyKey"] in labels_of(w) for t in terms for _, w in wanted)
    return nowhere and all(_speaks(t, pod, pod) for t in terms)


def _apart(pod, node, there):
    for term in _terms(pod, "podAntiAffinity"):
        if any(_speaks(term, pod, o) and _same_place(term["topologyKey"], node, w) for o, w in there):
            return False
    return not any(
        _speaks(term, other, pod) and _same_place(term["topologyKey"], node, where)
        for other, where in there
        for term in _terms(other, "podAntiAffinity")
    )

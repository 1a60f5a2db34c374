"""Validation of Pods and pod templates. Source: API reference, PodSpec."""

from __future__ import annotations

import re

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.container import Pod, containers, ephemeral_containers, init_containers
from hawser.api.validation.metadata import annotation_map
from hawser.api.validation.resources import requirements
from hawser.api.validation.rules import (
    MAX_INT32,
    Errors,
    duplicate,
    each,
    forbidden,
    in_range,
    invalid,
    one_of,
    required,
    too_many,
)
from hawser.api.validation.scheduling import affinity, gates, spread, tolerations
from hawser.api.validation.security import pod_security
from hawser.api.validation.volumes import volumes

MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_LENGTH = 2048


def pod(obj: Obj) -> Errors:
    """spec and the annotations with a meaning of a Pod."""
    spec = obj.get("spec") or {}
    notes = (obj.get("metadata") or {}).get("annotations")
    if notes:
        yield from pod_annotations(notes, spec, "metadata.annotations")
    yield from pod_spec(spec, "spec", is_pod=True)


def pod_create(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    if spec.get("ephemeralContainers"):
        yield forbidden("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("nodeName") and spec.get("schedulingGates"):
        yield forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def pod_template(template: Obj, path: str) -> Errors:
    """A PodTemplateSpec of a workload."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    # Kubernetes leaves metadata out of these paths.
    yield from rules.labels(meta.get("labels"), f"{path}.labels")
    yield from annotation_map(meta.get("annotations"), f"{path}.annotations")
    yield from pod_annotations(meta.get("annotations") or {}, spec, f"{path}.annotations")
    yield from pod_spec(spec, f"{path}.spec", is_pod=False)
    if spec.get("ephemeralContainers"):
        yield forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def pod_annotations(notes: dict[str, str], spec: Obj, path: str) -> Errors:
    if MIRROR in notes and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid(f"{path}[{MIRROR}]", notes[MIRROR], detail)
    cost = notes.get(_DELETION_COST)
    if cost is not None and not (re.fullmatch(r"-?(0|[1-9][0-9]*)", cost) and -MAX_INT32 - 1 <= int(cost) <= MAX_INT32):
        yield invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer")


def pod_spec(spec: Obj, path: str, is_pod: bool) -> Errors:
    """is_pod: rules of a Pod itself, not of a template, apply."""
    get = spec.get
    if get("volumes"):
        yield from volumes(spec["volumes"], f"{path}.volumes")
    grace = get("terminationGracePeriodSeconds")
    context = Pod(
        spec,
        is_pod,
        {volume.get("name", ""): volume for volume in get("volumes") or ()},
        {claim.get("name", "") for claim in get("resourceClaims") or ()},
        30 if grace is None else grace,
    )
    yield from containers(context, f"{path}.containers")
    if get("initContainers"):
        yield from init_containers(context, f"{path}.initContainers")
    if is_pod and get("ephemeralContainers"):
        yield from ephemeral_containers(context, f"{path}.ephemeralContainers")
    if get("restartPolicy") not in _RESTART_POLICIES:
        yield from one_of(f"{path}.restartPolicy", get("restartPolicy"), _RESTART_POLICIES)
    if get("dnsPolicy") not in _DNS_POLICIES:
        yield from one_of(f"{path}.dnsPolicy", get("dnsPolicy"), _DNS_POLICIES)
    yield from _names(spec, path)
    yield from _limits(spec, path)
    yield from _scheduling(spec, path)
    if get("securityContext"):
        yield from pod_security(spec["securityContext"], spec, f"{path}.securityContext")
    if get("shareProcessNamespace") and get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{path}.securityContext.shareProcessNamespace", True, detail)
    if get("hostUsers") is False:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if get(field):
                yield forbidden(f"{path}.{field}", "when `hostUsers` is false")
    if get("dnsConfig") or get("dnsPolicy") == "None":
        yield from _dns_config(get("dnsConfig"), get("dnsPolicy"), f"{path}.dnsConfig")
    for alias in get("hostAliases") or ():
        yield from each(f"{path}.hostAliases.ip", alias.get("ip", ""), rules.ip_errors(alias.get("ip", "")))
        for name in alias.get("hostnames") or ():
            yield from each(f"{path}.hostAliases.hostnames", name, rules.subdomain_errors(name))
    if (system := get("os")) is not None:
        yield from one_of(f"{path}.os.name", system.get("name"), ("linux", "windows"))


def _names(spec: Obj, path: str) -> Errors:
    """Fields that hold the name of something."""
    for field, rule in _NAME_FIELDS:
        if name := spec.get(field):
            yield from each(f"{path}.{field}", name, rule(name))


_NAME_FIELDS = (
    ("serviceAccountName", rules.subdomain_errors),
    ("nodeName", rules.subdomain_errors),
    ("hostname", rules.label_errors),
    ("subdomain", rules.label_errors),
    ("priorityClassName", rules.subdomain_errors),
    ("runtimeClassName", rules.subdomain_errors),
)


def _limits(spec: Obj, path: str) -> Errors:
    yield from in_range(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1, MAX_INT32)
    if spec.get("resources"):
        yield from requirements(spec["resources"], f"{path}.resources", pod_level=True)
    if spec.get("overhead"):
        yield from requirements({"limits": spec["overhead"]}, f"{path}.overhead")


def _scheduling(spec: Obj, path: str) -> Errors:
    get = spec.get
    if get("nodeSelector"):
        yield from rules.labels(spec["nodeSelector"], f"{path}.nodeSelector")
    if get("affinity"):
        yield from affinity(spec["affinity"], f"{path}.affinity")
    if get("tolerations"):
        yield from tolerations(spec["tolerations"], f"{path}.tolerations")
    if get("topologySpreadConstraints"):
        yield from spread(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    if get("schedulingGates"):
        yield from gates(spec["schedulingGates"], f"{path}.schedulingGates")
    for i, gate in enumerate(get("readinessGates") or ()):
        name = gate.get("conditionType", "")
        yield from each(f"{path}.readinessGates[{i}].conditionType", name, rules.qualified_name_errors(name))
    seen = set()
    for i, claim in enumerate(get("resourceClaims") or ()):
        name = claim.get("name", "")
        if not name:
            yield required(f"{path}.resourceClaims[{i}].name")
        elif name in seen:
            yield duplicate(f"{path}.resourceClaims[{i}].name", name)
        else:
            yield from each(f"{path}.resourceClaims[{i}].name", name, rules.label_errors(name))
        seen.add(name)
    if (policy := get("preemptionPolicy")) is not None:
        yield from one_of(f"{path}.preemptionPolicy", policy, ("Never", "PreemptLowerPriority"))


def _dns_config(config: Obj | None, policy: str | None, path: str) -> Errors:
    if policy == "None":
        if config is None:
            yield required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            yield required(f"{path}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _MAX_NAMESERVERS:
        yield invalid(f"{path}.nameservers", servers, f"must not have more than {_MAX_NAMESERVERS} nameservers")
    for i, server in enumerate(servers):
        yield from each(f"{path}.nameservers[{i}]", server, rules.ip_errors(server))
    if len(searches) > _MAX_SEARCHES:
        yield invalid(f"{path}.searches", searches, f"must not have more than {_MAX_SEARCHES} search paths")
    if len(" ".join(searches)) > _MAX_SEARCH_LENGTH:
        detail = f"must not have more than {_MAX_SEARCH_LENGTH} characters (including spaces) in the search list"
        yield invalid(f"{path}.searches", searches, detail)
    for i, search in enumerate(searches):
        # A lone dot and names with underscores are legal search domains (KEP-4427).
        if search != ".":
            plain = search.removesuffix(".").replace("_", "a")
            yield from each(f"{path}.searches[{i}]", search, rules.subdomain_errors(plain))
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{path}.options[{i}]", "must not be empty")


def pod_ips(status: Obj) -> Errors:
    """status.podIPs: at most one address of each family."""
    addresses = [entry.get("ip", "") for entry in status.get("podIPs") or ()]
    for i, address in enumerate(addresses):
        yield from each(f"status.podIPs[{i}]", address, rules.ip_errors(address))
    if len(addresses) > 2:
        yield too_many("status.podIPs", len(addresses), 2)

"""What pod security looks at: pods in workloads, changes of pods, and pods that a namespace has already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hawser.api.podsecurity.levels import Rule
from hawser.api.types import Obj

MOST_PODS = 3000
"""So many pods of a namespace are looked at when its labels change."""

_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_PARTS = ("initContainers", "containers")


@dataclass(frozen=True, slots=True)
class Exemptions:
    """Whom pod security does not concern."""

    namespaces: frozenset[str] = field(default_factory=frozenset)
    users: frozenset[str] = field(default_factory=frozenset)
    runtime_classes: frozenset[str] = field(default_factory=frozenset)


def template(kind: str, obj: Obj) -> Obj | None:
    """The pod (metadata and spec) that an object describes, or None when it describes none."""
    if kind == "Pod":
        return obj
    if kind == "PodTemplate":
        return obj.get("template")
    spec: Obj = obj.get("spec") or {}
    if kind == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return spec.get("template")


def significant(pod: Obj, old: Obj) -> bool:
    """Whether an update of a pod changes what the checks look at: images, containers, seccomp annotations."""
    annotations = pod["metadata"].get("annotations") or {}
    before = old["metadata"].get("annotations") or {}
    if annotations.get(_SECCOMP_POD) != before.get(_SECCOMP_POD):
        return True
    pairs: list[tuple[Obj, Obj | None]] = []
    for part in _PARTS:
        new, was = pod["spec"].get(part) or [], old["spec"].get(part) or []
        if len(new) != len(was):
            return True
        pairs += zip(new, was, strict=True)
    ephemeral = {container["name"]: container for container in old["spec"].get("ephemeralContainers") or ()}
    pairs += [(c, ephemeral.get(c["name"])) for c in pod["spec"].get("ephemeralContainers") or ()]
    return any(
        was is None
        or new.get("image") != was.get("image")
        or annotations.get(_SECCOMP_CONTAINER + new["name"]) != before.get(_SECCOMP_CONTAINER + new["name"])
        for new, was in pairs
    )


def _sorted_out(pods: Sequence[Obj]) -> list[Obj]:
    """Pods without a controller and the first of each controller before the others, which are much the same."""
    first: list[Obj] = []
    rest: list[Obj] = []
    seen: set[str] = set()
    for pod in pods:
        references = pod["metadata"].get("ownerReferences") or ()
        uid = next((reference["uid"] for reference in references if reference.get("controller")), "")
        (rest if uid and uid in seen else first).append(pod)
        seen.add(uid)
    return first + rest


def existing(namespace: str, rule: Rule, pods: Sequence[Obj], exempt: Iterable[str] = ()) -> list[str]:
    """The warnings about pods of a namespace that a newly enforced rule would refuse.

    exempt: RuntimeClasses that pod security does not concern.
    """
    from hawser.api.podsecurity.checks import reasons, violations

    looked = _sorted_out(pods)[:MOST_PODS]
    found: dict[str, list[str]] = {}
    for pod in looked:
        if pod["spec"].get("runtimeClassName") in exempt:
            continue
        violated = violations(rule, pod["metadata"], pod["spec"])
        if violated:
            found.setdefault(reasons(violated), []).append(pod["metadata"]["name"])
    warnings: list[str] = []
    if len(looked) < len(pods):
        warnings.append(
            f"new PodSecurity enforce level only checked against the first {len(looked)} of {len(pods)} existing pods"
        )
    if found:
        warnings.append(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{rule}"')
    return warnings + sorted(f"{_who(names)}: {reason}" for reason, names in found.items())


def _who(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other {'pod' if others == 1 else 'pods'})"

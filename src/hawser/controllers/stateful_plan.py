"""The StatefulSet's decision: from what is to what to do next. Pure.

Source: StatefulSet documentation ("Deployment and Scaling Guarantees", "Update strategies", "Start ordinal"), API
reference, KEP-961 (maxUnavailable), KEP-3335 (start ordinal).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from hawser.api.status import has_ended, is_ready
from hawser.api.types import Obj
from hawser.controllers import history, pods, rollout
from hawser.controllers import stateful_claims as claims

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"

FindClaim = Callable[[str], Obj | None]
"""A claim of the set's namespace by its name."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the pod, before it those of its claims that are missing; then see to the claims' owners.

    going: a claim of it that is just being deleted: an error to tell of.
    """

    pod: Obj
    claims: tuple[Obj, ...] = ()
    going: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Create claims that a pod waits for."""

    pod: Obj
    claims: tuple[Obj, ...]


@dataclass(frozen=True, slots=True)
class Own:
    """Give a claim these owner references."""

    claim: Obj
    references: list[Obj]


@dataclass(frozen=True, slots=True)
class Repair:
    """Write the pod as it is here: with the labels and volumes of its identity."""

    pod: Obj


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the pod."""

    pod: Obj


Action = Create | Claim | Own | Repair | Delete
Phase = list[Action]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a StatefulSet needs now.

    phases: one after another, the actions of one at once; what fails ends it. look_again: seconds until a pod becomes
    available by time alone, or None.
    """

    phases: tuple[Phase, ...] = ()
    look_again: float | None = None


def ordinal(sts: Obj, pod: Obj) -> int:
    """The pod's place in the set; -1 when its name is none of the set's."""
    parent, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if parent == sts["metadata"]["name"] and number.isascii() and number.isdigit() else -1


def first_ordinal(sts: Obj) -> int:
    return int((sts["spec"].get("ordinals") or {}).get("start", 0))


def size(sts: Obj) -> int:
    return int(sts["spec"].get("replicas", 1))


def in_range(sts: Obj, number: int) -> bool:
    """Whether the set wants a pod of this ordinal."""
    return 0 <= number - first_ordinal(sts) < size(sts)


def revision_of(pod: Obj) -> str:
    return str((pod["metadata"].get("labels") or {}).get(history.LABEL, ""))


def min_ready_seconds(sts: Obj) -> int:
    return int(sts["spec"].get("minReadySeconds") or 0)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan is made of.

    owned: the set's pods. current, update: the revisions of the template that was and the one that is wanted.
    """

    sts: Obj
    owned: Sequence[Obj]
    current: Obj
    update: Obj
    find_claim: FindClaim
    now: datetime

    def is_available(self, pod: Obj) -> bool:
        return pods.available_in(pod, min_ready_seconds(self.sts), self.now) == 0

    def is_settled(self, pod: Obj | None) -> bool:
        """Whether it is there, available and not on its way out."""
        return pod is not None and self.is_available(pod) and not pods.is_terminating(pod)


def plan(at: Situation) -> Plan:
    """Pure decision."""
    sts = at.sts
    waits = [pods.available_in(pod, min_ready_seconds(sts), at.now) for pod in at.owned]
    look_again = min((w for w in waits if w), default=None)
    if pods.is_terminating(sts):
        return Plan(look_again=look_again)
    by_ordinal = {ordinal(sts, pod): pod for pod in at.owned}
    start = first_ordinal(sts)
    replicas = [by_ordinal.get(number) for number in range(start, start + size(sts))]
    condemned = [by_ordinal[n] for n in sorted(by_ordinal, reverse=True) if n >= 0 and not in_range(sts, n)]
    if sts["spec"].get("podManagementPolicy") == "Parallel":
        phases = _at_once(at, replicas, condemned)
    else:
        phases = _in_order(at, replicas, condemned)
    return Plan(tuple(phase for phase in phases if phase), look_again)


def _at_once(at: Situation, replicas: Sequence[Obj | None], condemned: Sequence[Obj]) -> Iterator[Phase]:
    start = first_ordinal(at.sts)
    steps = [_tend(at, pod, start + index) for index, pod in enumerate(replicas)]
    yield [action for actions, _ in steps for action in actions]
    yield [action for pod in condemned for action in _owners(at, pod)]
    yield [Delete(pod) for pod in condemned if not pods.is_terminating(pod)]
    yield list(_updates(at, replicas))


def _in_order(at: Situation, replicas: Sequence[Obj | None], condemned: Sequence[Obj]) -> Iterator[Phase]:
    """As far as nothing has to be waited for."""
    start = first_ordinal(at.sts)
    for index, pod in enumerate(replicas):
        actions, waits = _tend(at, pod, start + index)
        yield actions
        if waits or not at.is_settled(pod):
            return
    for pod in condemned:
        yield list(_owners(at, pod))
    # The lowest unavailable one: the only one that may go while it is not available.
    unhealthy = next((pod for pod in reversed(condemned) if not at.is_settled(pod)), None)
    if not condemned:
        yield list(_updates(at, replicas))
    elif not pods.is_terminating(condemned[0]) and (at.is_available(condemned[0]) or condemned[0] is unhealthy):
        yield [Delete(condemned[0])]


def _tend(at: Situation, pod: Obj | None, number: int) -> tuple[Phase, bool]:
    """What one replica needs, and whether that has to be seen before others get their turn."""
    sts = at.sts
    if pod is None:
        return _creation(at, number), True
    if has_ended(pod):
        # A new one comes when it is gone.
        return ([] if pods.is_terminating(pod) else [Delete(pod)]), True
    actions: Phase = []
    if (pod.get("status") or {}).get("phase") == "Pending":
        missing = tuple(c for c in claims.of_pod(sts, number) if at.find_claim(c["metadata"]["name"]) is None)
        if missing:
            actions.append(Claim(pod, missing))
    actions += _owners(at, pod)
    actions += _repair(sts, pod, number)
    return actions, False


def _repair(sts: Obj, pod: Obj, number: int) -> Iterator[Repair]:
    metadata, spec = pod["metadata"], pod["spec"]
    labels = metadata.get("labels") or {}
    right = claims.has_volumes(sts, number, spec)
    if labels.get(POD_NAME) != metadata["name"] or not right:
        labels = {**labels, POD_NAME: metadata["name"], POD_INDEX: str(number)}
        if not right:
            spec = {**spec, "volumes": claims.volumes(sts, number, spec)}
        yield Repair({**pod, "metadata": {**metadata, "labels": labels}, "spec": spec})


def _creation(at: Situation, number: int) -> Phase:
    made = new_pod(at, number)
    missing = []
    for claim in claims.of_pod(at.sts, number):
        known = at.find_claim(claim["metadata"]["name"])
        if known is None:
            missing.append(claim)
        elif claims.blocks(at.sts, known, made):
            return []
        elif pods.is_terminating(known):
            return [Create(made, going=claim["metadata"]["name"])]
    return [Create(made, tuple(missing))]


def new_pod(at: Situation, number: int) -> Obj:
    """The pod of an ordinal: below the partition of the revision that was, else of the one that is wanted."""
    sts = at.sts
    partition = int((sts["spec"]["updateStrategy"].get("rollingUpdate") or {}).get("partition", 0))
    revision = at.current if number < first_ordinal(sts) + partition else at.update
    made = pods.from_template(sts, history.template_of(revision))
    metadata = made["metadata"]
    del metadata["generateName"]
    metadata["name"] = f"{sts['metadata']['name']}-{number}"
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        POD_NAME: metadata["name"],
        POD_INDEX: str(number),
        history.LABEL: revision["metadata"]["name"],
    }
    spec = dict(made["spec"])
    spec["hostname"] = metadata["name"]
    if sts["spec"].get("serviceName"):
        spec["subdomain"] = sts["spec"]["serviceName"]
    if claims.templates(sts):
        spec["volumes"] = claims.volumes(sts, number, spec)
    return {**made, "spec": spec}


def _owners(at: Situation, pod: Obj) -> Iterator[Own]:
    number = ordinal(at.sts, pod)
    for template in claims.templates(at.sts):
        claim = at.find_claim(claims.name(at.sts, template, number))
        if claim is not None:
            wanted = claims.references(at.sts, claim, pod, scaled_away=not in_range(at.sts, number))
            if wanted is not None:
                yield Own(claim, wanted)


def _updates(at: Situation, replicas: Sequence[Obj | None]) -> Iterator[Delete]:
    """Pods of another template, the highest ordinals first, as many as may be unavailable."""
    strategy = at.sts["spec"]["updateStrategy"]
    if strategy.get("type") == "OnDelete":
        return
    rolling = strategy.get("rollingUpdate") or {}
    partition = int(rolling.get("partition", 0))
    most = max(1, rollout.scaled(rolling.get("maxUnavailable", 1), len(replicas), up=False))
    left = most - sum(not at.is_settled(pod) for pod in replicas)
    for pod in reversed(replicas[partition:]):
        if left <= 0:
            return
        if pod is not None and revision_of(pod) != at.update["metadata"]["name"] and not pods.is_terminating(pod):
            yield Delete(pod)
            left -= 1


def status(at: Situation) -> Obj:
    """The StatefulSetStatus; a rolling update that has reached every pod ends in it.

    Counts are of the pods that the situation holds; conditions are somebody else's and stay.
    """
    sts, owned = at.sts, at.owned
    before = sts.get("status") or {}
    there = [pod for pod in owned if (pod.get("status") or {}).get("phase")]
    running = [p for p in owned if p["status"].get("phase") == "Running" and is_ready(p)]
    staying = [revision_of(pod) for pod in there if not pods.is_terminating(pod)]
    current, update = at.current["metadata"]["name"], at.update["metadata"]["name"]
    counts = {
        "readyReplicas": len(running),
        "currentReplicas": staying.count(current),
        "updatedReplicas": staying.count(update),
    }
    rolling = sts["spec"]["updateStrategy"].get("type") == "RollingUpdate"
    if rolling and {len(there), counts["readyReplicas"], counts["updatedReplicas"]} == {size(sts)}:
        current, counts["currentReplicas"] = update, counts["updatedReplicas"]
    made: Obj = {
        "replicas": len(there),
        "availableReplicas": sum(at.is_available(pod) for pod in running),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": int(before.get("collisionCount") or 0),
        "observedGeneration": sts["metadata"].get("generation", 0),
    }
    made.update({name: count for name, count in counts.items() if count})
    if before.get("conditions"):
        made["conditions"] = before["conditions"]
    return made

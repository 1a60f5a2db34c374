"""A Job and its pods at one moment, counted: what the plan decides by. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hawser.api.job_indexes import Indexes
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.controllers import pods as any_pods
from hawser.controllers.job import pods
from hawser.controllers.job.policies import judge
from hawser.controllers.tally import ACTIVE, State, Tally, count, tally_of


def is_orderly(job: Obj, indexes: Mapping[int, int], active: int) -> bool:
    """Whether so many active pods have one index each, and one that the Job has. indexes: how many pods have each."""
    return pods.is_indexed(job) and len(indexes) == active and max(indexes, default=-1) < job["spec"]["completions"]


@dataclass(frozen=True)
class View:
    """job: as it is on the server. pods: those it controls and selects.

    tally: their count. over: those that ``pods.is_over`` means; the others need no look at each of them. orderly: of an
    indexed Job, whether the active ones are known to have one index each that the Job has. restarted: how often
    containers were restarted, of those that have not ended; None if that is to be counted.
    """

    job: Obj
    pods: Sequence[Obj]
    tally: Tally
    over: Sequence[Obj]
    orderly: bool = False
    restarted: int | None = None

    @classmethod
    def of(cls, job: Obj, owned: Sequence[Obj]) -> View:
        """The view when nothing is known of the pods but themselves."""
        return cls(job, owned, tally_of(owned), [pod for pod in owned if pods.is_over(pod)])

    @property
    def spec(self) -> Obj:
        spec: Obj = self.job["spec"]
        return spec

    @cached_property
    def old(self) -> Obj:
        """The status as it is."""
        status: Obj = self.job.get("status") or {}
        return status

    @property
    def suspended(self) -> bool:
        return bool(self.spec.get("suspend"))

    @property
    def deleting(self) -> bool:
        return any_pods.is_terminating(self.job)

    @cached_property
    def indexed(self) -> bool:
        return pods.is_indexed(self.job)

    @property
    def by_index(self) -> bool:
        """Whether each index has a limit of failures of its own."""
        return self.spec.get("backoffLimitPerIndex") is not None

    @cached_property
    def uncounted(self) -> tuple[frozenset[str], frozenset[str]]:
        """Uids of pods that the status knows to have succeeded and failed, and has not added up yet."""
        told = self.old.get("uncountedTerminatedPods") or {}
        return frozenset(told.get("succeeded") or ()), frozenset(told.get("failed") or ())

    @property
    def active(self) -> int:
        """How many pods are."""
        return count(self.tally, *ACTIVE)

    @cached_property
    def active_pods(self) -> list[Obj]:
        return [pod for pod in self.pods if any_pods.is_active(pod)]

    @property
    def ready(self) -> int:
        return count(self.tally, State.READY)

    @property
    def restarts(self) -> int:
        """How often containers were restarted, of pods that have not ended."""
        return sum(map(pods.restarts, self.pods)) if self.restarted is None else self.restarted

    @cached_property
    def terminating(self) -> list[Obj]:
        """Being deleted, and not at their end."""
        return [pod for pod in self.over if any_pods.is_terminating(pod) and not has_ended(pod)]

    @cached_property
    def held(self) -> list[Obj]:
        """Pods that still have the finalizer: not counted for good. Active ones only of a Job that is being deleted."""
        return [pod for pod in (self.pods if self.deleting else self.over) if not pods.is_counted(pod)]

    def _news(self) -> list[Obj]:
        """Held pods that the status does not know of; of indexed Jobs only those with an index."""
        known = self.uncounted[0] | self.uncounted[1]
        held = (pod for pod in self.held if pod["metadata"]["uid"] not in known)
        return [pod for pod in held if not self.indexed or pods.valid_index(pod, self.job) is not None]

    @cached_property
    def new_succeeded(self) -> list[Obj]:
        return [pod for pod in self._news() if pods.phase(pod) == "Succeeded"]

    @cached_property
    def new_failed(self) -> list[Obj]:
        return [pod for pod in self._news() if pods.is_failed(pod, self.job)]

    @cached_property
    def succeeded(self) -> int:
        if self.indexed:
            return len(self.completed)
        return int(self.old.get("succeeded", 0)) + len(self.new_succeeded) + len(self.uncounted[0])

    @cached_property
    def failed(self) -> int:
        policy = self.spec.get("podFailurePolicy")
        counting = sum(judge(policy, pod).counts for pod in self.new_failed)
        return int(self.old.get("failed", 0)) + counting + len(self.uncounted[1])

    @cached_property
    def old_completed(self) -> Indexes:
        return Indexes.read(self.old.get("completedIndexes", ""), self.spec["completions"])

    @cached_property
    def completed(self) -> Indexes:
        """The indexes that have succeeded."""
        done = (pods.valid_index(pod, self.job) for pod in self.held if pods.phase(pod) == "Succeeded")
        return self.old_completed.plus(index for index in done if index is not None)

    @cached_property
    def failed_indexes(self) -> Indexes | None:
        """The indexes that are not tried again; None unless they are counted one by one."""
        if not (self.indexed and self.by_index):
            return None
        known = Indexes.read(self.old.get("failedIndexes") or "", self.spec["completions"])
        gone = (pods.valid_index(pod, self.job) for pod in self.held if self._fails_index(pod))
        return known.plus(index for index in gone if index is not None)

    def _fails_index(self, pod: Obj) -> bool:
        if not pods.is_failed(pod, self.job):
            return False
        verdict = judge(self.spec.get("podFailurePolicy"), pod)
        limit = int(self.spec["backoffLimitPerIndex"])
        return verdict.action == "FailIndex" or (verdict.counts and pods.failures(pod) >= limit)

    @cached_property
    def delayed(self) -> dict[int, Obj]:
        """Failed pods, by index, that stay until their replacement carries on their count of failures."""
        failed = self.failed_indexes
        if failed is None:
            return {}
        running = {pods.index_of(pod) for pod in self.active_pods}
        found: dict[int, Obj] = {}
        for pod in self.held:
            index = pods.valid_index(pod, self.job)
            if index is None or not pods.is_failed(pod, self.job):
                continue
            if index in self.completed or index in failed or index in running:
                continue
            other = found.get(index)
            if other is None or (
                pods.all_failures(other) <= pods.all_failures(pod) and pods.ended_at(pod) >= pods.ended_at(other)
            ):
                found[index] = pod
        return found

"""Kinds that run pods, and those that bound them: what the server sets in them, and how they are deleted.

Source: API reference of each kind; "Jobs", "Specifying your own Pod selector"; garbage collection ("Orphaned
dependents": the defaults of the oldest kinds).
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.defaults.apps import own_labels
from hawser.api.types import Obj
from hawser.api.validation.job import LEGACY_LABELS, PREFIXED_LABELS
from hawser.api.validation.pod_update import plain
from hawser.api.validation.workloads import TEMPLATE_GENERATION
from hawser.api.warnings.pod import job, pod, pod_name
from hawser.apiserver.strategies.base import Strategy


class TemplateStrategy(Strategy):
    """Kinds that make pods from a template: what is said of such pods is said of the template.

    template: where it is. names_pods: the object's name becomes a part of theirs.
    """

    template: tuple[str, ...] = ("spec", "template")
    names_pods = True

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Of new objects and new generations."""
        metadata = obj["metadata"]
        if old is None:
            if self.names_pods:
                yield from pod_name(metadata["name"], "Pod names and hostnames")
        elif metadata.get("generation") == old["metadata"].get("generation"):
            return
        template: Obj = obj
        for field in self.template:
            template = template.get(field) or {}
        yield from pod(template, ".".join(self.template) + ".")


class CountingStrategy(Strategy):
    """Counts in the status are there from the start, and when they are zero.

    counts: the fields of the status that Kubernetes always writes.
    """

    counts: tuple[str, ...] = ()

    def prepare_create(self, obj: Obj) -> None:
        """Nothing counted yet."""
        obj["status"] = dict.fromkeys(self.counts, 0)

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """What a client leaves out is zero."""
        for count in self.counts:
            obj["status"].setdefault(count, 0)


class ReplicationControllerStrategy(CountingStrategy, TemplateStrategy):
    """Its pods outlive it unless the client says otherwise."""

    orphans = True
    counts = ("replicas",)


class StatefulSetStrategy(CountingStrategy, TemplateStrategy):
    """See its bases; its name has to be a label."""

    names_pods = False
    counts = ("replicas", "availableReplicas")


_PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


class JobStrategy(TemplateStrategy):
    """Its pods outlive it unless the client says otherwise; its selector is made of its uid."""

    orphans = True

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Of the template, and of indexes that cannot be followed."""
        yield from job(obj["spec"])
        yield from super().warnings(obj, old)

    def deletion_warnings(self, propagation: str) -> Iterable[str]:
        """That the pods stay, to those who may not have thought of it."""
        return () if propagation else (_PRESERVED,)

    def prepare_create(self, obj: Obj) -> None:
        """Labels of the template and the selector, unless the client selects by itself."""
        spec = obj["spec"]
        if spec.get("manualSelector"):
            return
        metadata = obj["metadata"]
        template: Obj = spec.setdefault("template", {})
        own: Obj = template.setdefault("metadata", {})
        labels: Obj = own.setdefault("labels", {})
        for uid_label, name_label in (LEGACY_LABELS, PREFIXED_LABELS):
            labels.setdefault(name_label, metadata["name"])
            labels.setdefault(uid_label, metadata["uid"])
        # A Job without labels has those of its template, these among them.
        own_labels(obj, labels)
        selector: Obj = spec.setdefault("selector", {})
        selector.setdefault("matchLabels", {}).setdefault(PREFIXED_LABELS[0], metadata["uid"])


class DaemonSetStrategy(CountingStrategy, TemplateStrategy):
    """Counts the changes of its template in an annotation, as old clients expect."""

    names_pods = False
    counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")

    def prepare_create(self, obj: Obj) -> None:
        """The first template."""
        super().prepare_create(obj)
        _note(obj, max(_counted(obj), 1))

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """One more when the template changes; clients do not set the count."""
        now, before = ((o.get("spec") or {}).get("template") or {} for o in (obj, old))
        count = _counted(old)
        if now != before and plain(now) != plain(before):
            count += 1
        _note(obj, count)


def _counted(obj: Obj) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _note(obj: Obj, count: int) -> None:
    if not count:
        return
    metadata = obj["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


class CronJobStrategy(TemplateStrategy):
    """Its pods are those of its Jobs."""

    template = ("spec", "jobTemplate", "spec", "template")


class LimitRangeStrategy(Strategy):
    """PUT of a name that does not exist creates it."""

    create_on_update = True


class ReturningStrategy(Strategy):
    """ResourceQuotas, ServiceAccounts: DELETE answers with what was deleted."""

    returns_deleted = True


class PodTemplateStrategy(ReturningStrategy, TemplateStrategy):
    """See its bases."""

    template = ("template",)
    names_pods = False


class ReplicaSetStrategy(CountingStrategy, TemplateStrategy):
    """See its bases."""

    counts = ("replicas",)


class AutoscalerStrategy(CountingStrategy):
    """See its base."""

    counts = ("desiredReplicas",)


class DisruptionBudgetStrategy(CountingStrategy):
    """Updates name the version they change."""

    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    unconditional_update = False

"""Horizontal pod autoscaling: the replicas of anything with a scale follow metrics.

Source: "Horizontal Pod Autoscaling"; API reference, HorizontalPodAutoscaler v2 autoscaling. Reasons, messages and
events are kube-controller-manager's. ``proposals`` asks for metrics; the rest is pure (``usage``, ``behavior``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import HORIZONTAL_POD_AUTOSCALER, POD, Kind
from hawser.api.quantity import parse_quantity
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers.autoscaler.behavior import Bounds, History, normalize
from hawser.controllers.autoscaler.counts import Counts
from hawser.controllers.autoscaler.metrics import Metrics
from hawser.controllers.autoscaler.proposals import Proposal, Proposer, Target, Unproposed
from hawser.controllers.autoscaler.status import Draft
from hawser.controllers.autoscaler.usage import Patience, Tolerance
from hawser.controllers.scales import Scales

_FLAG = "horizontal_pod_autoscaler_"


class Unscalable(Exception):
    """The status says why nothing was done this time."""


class AutoscalerController(Controller):
    """See the module. Times are in seconds; see ``flags``."""

    name = "horizontal-pod-autoscaler-controller"
    workers = 5

    def __init__(self) -> None:
        self._period = 15.0
        self._window = 300.0
        self._tolerance = 0.1
        self._patience = Patience()

    def configure(self, options: Mapping[str, Any]) -> None:
        self._period = options[f"{_FLAG}sync_period"]
        self._window = options[f"{_FLAG}downscale_stabilization"]
        self._tolerance = options[f"{_FLAG}tolerance"]
        self._patience = Patience(
            options[f"{_FLAG}cpu_initialization_period"], options[f"{_FLAG}initial_readiness_delay"]
        )

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("horizontal-pod-autoscaler")
        self._scales = Scales(manager.client, manager.clock)
        self._proposer = Proposer(Metrics(manager.client), self._scales)
        self._counts = Counts()
        self._histories: dict[str, History] = {}
        self._selectors: dict[str, LabelSelector] = {}
        self._autoscalers = manager.informer(HORIZONTAL_POD_AUTOSCALER)
        self._pods = manager.informer(POD)
        self._autoscalers.on_change(self._changed)

    def exposed(self) -> Iterable[str]:
        return self._counts.lines()

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        """Its own status is no reason to look again."""
        if old is None or new is None or old["spec"] != new["spec"]:
            self.enqueue(old, new)

    async def reconcile(self, key: str) -> float | None:
        autoscaler = self._autoscalers.get_key(key)
        if autoscaler is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        began, before, after, error = perf_counter(), 0, 0, "internal"
        draft = Draft(autoscaler, self._clock.now())
        try:
            before, after = await self._scale(autoscaler, draft)
            error = "none"
        except Unscalable:
            pass
        finally:
            self._counts.reconciled(before, after, error, perf_counter() - began)
        # Not in the clause above: whoever is cancelled writes nothing any more.
        await self._write(autoscaler, draft)
        return self._period

    async def _write(self, autoscaler: Obj, draft: Draft) -> None:
        if draft.status == (autoscaler.get("status") or {}):
            return
        body = {**autoscaler, "status": draft.status}
        try:
            written = await self._client.update(HORIZONTAL_POD_AUTOSCALER, body, subresource="status")
        except APIError as err:
            if err.code != 409:
                self._recorder.event(autoscaler, "Warning", "FailedUpdateStatus", err.message)
            raise
        self._autoscalers.observe(written)

    async def _scale(self, autoscaler: Obj, draft: Draft) -> tuple[int, int]:
        """The replicas that there were, and that there are to be. Raises Unscalable."""
        kind, scale = await self._target(autoscaler, draft)
        spec, current = autoscaler["spec"], int((scale.get("spec") or {}).get("replicas", 0))
        least = int(spec.get("minReplicas", 1))
        history = self._histories.get(key_of(autoscaler))
        if history is None:
            history = self._histories[key_of(autoscaler)] = History()
            history.recommend(current, self._clock.now())
        metrics: list[Obj] | None = []
        why = ""
        if current == 0 and least != 0:
            desired = 0
            message = "scaling is disabled since the replica count of the target is zero"
            draft.say("ScalingActive", False, "ScalingDisabled", message)
        elif current > spec["maxReplicas"]:
            desired, why = spec["maxReplicas"], "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            desired, why = least, "Current number of replicas below Spec.MinReplicas"
        else:
            asked, name, metrics = await self._asked(autoscaler, scale, draft)
            why = f"{name} above target" if asked > current else "All metrics below target"
            bounds = Bounds(least, spec["maxReplicas"], self._window)
            behavior, now = spec.get("behavior"), self._clock.now()
            desired, able, limited = normalize(behavior, history, current, asked, bounds, now)
            draft.said("AbleToScale", able)
            draft.said("ScalingLimited", limited)
        if desired != current:
            await self._set(autoscaler, kind, scale, desired, why, draft)
            history.scaled(current, desired, self._clock.now())
        draft.scaled(current, desired, metrics, now=desired != current)
        return current, desired

    async def _target(self, autoscaler: Obj, draft: Draft) -> tuple[Kind, Obj]:
        """The kind and the Scale of what is scaled."""
        reference, namespace = autoscaler["spec"]["scaleTargetRef"], autoscaler["metadata"]["namespace"]
        try:
            kind = await self._scales.preferred(reference.get("apiVersion", ""), reference["kind"])
            scale = await self._scales.get(kind, namespace, reference["name"])
        except APIError as err:
            self._recorder.event(autoscaler, "Warning", "FailedGetScale", err.message)
            message = f"the HPA controller was unable to get the target's current scale: {err.message}"
            draft.say("AbleToScale", False, "FailedGetScale", message)
            raise Unscalable from err
        message = "the HPA controller was able to get the target's current scale"
        draft.say("AbleToScale", True, "SucceededGetScale", message)
        return kind, scale

    async def _set(self, autoscaler: Obj, kind: Kind, scale: Obj, desired: int, why: str, draft: Draft) -> None:
        try:
            await self._scales.set(kind, scale, desired)
        except APIError as err:
            message = f"New size: {desired}; reason: {why}; error: {err.message}"
            self._recorder.event(autoscaler, "Warning", "FailedRescale", message)
            message = f"the HPA controller was unable to update the target scale: {err.message}"
            draft.say("AbleToScale", False, "FailedUpdateScale", message)
            self._keep(draft, scale)
            raise Unscalable from err
        message = f"the HPA controller was able to update the target scale to {desired}"
        draft.say("AbleToScale", True, "SucceededRescale", message)
        self._recorder.event(autoscaler, "Normal", "SuccessfulRescale", f"New size: {desired}; reason: {why}")

    @staticmethod
    def _keep(draft: Draft, scale: Obj, metrics: list[Obj] | None = None) -> None:
        """Says how many replicas there are, and leaves what was desired."""
        current = int((scale.get("spec") or {}).get("replicas", 0))
        draft.scaled(current, draft.status.get("desiredReplicas", 0), metrics, now=False)

    async def _asked(self, autoscaler: Obj, scale: Obj, draft: Draft) -> tuple[int, str, list[Obj]]:
        """What the metrics ask for together, the name of the one that asks for most, and their current values."""
        specs = autoscaler["spec"].get("metrics") or []
        try:
            target = self._looked_at(autoscaler, scale, draft)
        except Unscalable:
            self._keep(draft, scale)
            raise
        found: list[Proposal | None] = []
        errors: list[Unproposed] = []
        for spec in specs:
            began = perf_counter()
            try:
                made = await self._proposer.propose(spec, target)
                found.append(made)
                self._counts.computed(spec["type"], target.replicas, made.replicas, "none", perf_counter() - began)
            except Unproposed as err:
                error = "spec" if err.reason == "InvalidMetricSourceType" else "internal"
                self._counts.computed(spec["type"], 0, 0, error, perf_counter() - began)
                self._recorder.event(autoscaler, "Warning", err.reason, err.cause)
                errors.append(err)
                found.append(None)
        proposals = [proposal for proposal in found if proposal is not None]
        statuses: list[Obj] = [{} if proposal is None else proposal.status for proposal in found]
        most = max(proposals, key=lambda p: p.replicas, default=None)
        # Some metrics are enough to add replicas; to remove some, all of them are needed.
        if most is None or (errors and most.replicas < target.replicas):
            self._fail(autoscaler, errors, len(specs), draft)
            self._keep(draft, scale, statuses)
            raise Unscalable
        message = f"the HPA was able to successfully calculate a replica count from {most.name}"
        draft.say("ScalingActive", True, "ValidMetricFound", message)
        return most.replicas, most.name, statuses

    def _fail(self, autoscaler: Obj, errors: list[Unproposed], metrics: int, draft: Draft) -> None:
        first = errors[0]
        message = f"the HPA was unable to compute the replica count: {first.cause}"
        draft.say("ScalingActive", False, first.reason, message)
        told = f"invalid metrics ({len(errors)} invalid out of {metrics}), first error is: {first.message}"
        self._recorder.event(autoscaler, "Warning", "FailedComputeMetricsReplicas", told)

    def _looked_at(self, autoscaler: Obj, scale: Obj, draft: Draft) -> Target:
        """The target with its pods, unless its selector is missing, wrong or another autoscaler's too."""
        namespace, key = autoscaler["metadata"]["namespace"], key_of(autoscaler)
        text = (scale.get("status") or {}).get("selector", "")

        def refuse(event: str, reason: str, message: str, told: str) -> Unscalable:
            self._recorder.event(autoscaler, "Warning", event, message)
            draft.say("ScalingActive", False, reason, told)
            self._recorder.event(autoscaler, "Warning", "FailedComputeMetricsReplicas", message)
            return Unscalable()

        if not text:
            told = "the HPA target's scale is missing a selector"
            raise refuse("SelectorRequired", "InvalidSelector", "selector is required", told)
        try:
            selector = LabelSelector.parse(text)
        except APIError as err:
            message = f"couldn't convert selector into a corresponding internal selector object: {err.message}"
            raise refuse("InvalidSelector", "InvalidSelector", message, message) from err
        self._selectors[key] = selector
        pods = [p for p in self._pods.list(namespace) if selector.matches(p["metadata"].get("labels"))]
        if others := self._others(key, namespace, pods):
            shown = " ".join(f"{{{name.partition('/')[2]} {namespace}}}" for name in sorted([key, *others]))
            message = f"pods by selector {text} are controlled by multiple HPAs: [{shown}]"
            raise refuse("AmbiguousSelector", "AmbiguousSelector", message, message)
        replicas, counted = ((scale.get(part) or {}).get("replicas", 0) for part in ("spec", "status"))
        return Target(
            namespace, replicas, counted, text, pods, self._tolerated(autoscaler), self._patience, self._clock.now()
        )

    def _others(self, key: str, namespace: str, pods: list[Obj]) -> list[str]:
        """Keys of other autoscalers that the pods belong to as well."""
        rivals = [(k, s) for k, s in self._selectors.items() if k != key and k.startswith(f"{namespace}/")]
        return [k for k, s in rivals if any(s.matches(p["metadata"].get("labels")) for p in pods)]

    def _tolerated(self, autoscaler: Obj) -> Tolerance:
        """The tolerance of each direction (KEP-4951)."""
        behavior = autoscaler["spec"].get("behavior") or {}

        def share(field: str) -> float:
            said = (behavior.get(field) or {}).get("tolerance")
            return self._tolerance if said is None else float(parse_quantity(said))

        return Tolerance(share("scaleDown"), share("scaleUp"))

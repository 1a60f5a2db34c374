"""Disruption budgets: how many of an application's pods evictions may take; and pods that nobody evicted after all.

Source: "Disruptions"; API reference, PodDisruptionBudget v1 policy. What decides is in ``disruption_plan``.
"""

from __future__ import annotations

from hawser.api.errors import APIError
from hawser.api.kinds import DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, REPLICATION_CONTROLLER, STATEFUL_SET
from hawser.api.selectors import LabelSelector
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager, controller_of
from hawser.client.informer import Informer, key_of
from hawser.controllers import disruption_plan, pods
from hawser.controllers.budgeted import Budgeted, Owner, Selected, owner_of
from hawser.controllers.own_writes import OwnWrites
from hawser.controllers.pod_control import LOOKED_AT, resting
from hawser.controllers.scales import Scales
from hawser.controllers.selecting import Selecting, by_labels

# Keys of pods whose condition may be stale; no namespace has a colon in it.
_POD = "pod:"
_OWNERS = (REPLICATION_CONTROLLER, DEPLOYMENT, REPLICA_SET, STATEFUL_SET)


class DisruptionController(Controller):
    """See the module. Owners of pods are watched once there is a budget."""

    name = "disruption-controller"

    def setup(self, manager: Manager) -> None:
        self._manager = manager
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("controllermanager")
        self._scales = Scales(manager.client, manager.clock)
        self._owners: dict[str, Informer] = {}
        self._budgets = manager.informer(POD_DISRUPTION_BUDGET)
        self._selecting = Selecting(self._budgets, _selector)
        self._pods = by_labels(manager.informer(POD))
        self._budgeted = Budgeted(self._pods, self._selecting, _selector)
        self._written = OwnWrites(self._budgets)
        self._budgets.on_change(self._budget_changed)
        self._pods.on_change(self._pod_changed)

    def _budget_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and (new is None or old["spec"].get("selector") != new["spec"].get("selector")):
            self._budgeted.forget(key_of(old))
        if not self._written.has(new):
            self.enqueue(old, new)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and condition(new, disruption_plan.TARGET) is not None:
            wait = disruption_plan.stale_in(new, self._clock.now())
            if wait is not None:
                self.queue.add_after(_POD + key_of(new), wait)
        if not len(self._budgets):
            return
        for key in self._budgeted.change(old, new):
            self.queue.add(key)
        budgets = self._selecting.of(new) if old is None and new is not None else []
        if new is not None and len(budgets) > 1:
            metadata = new["metadata"]
            message = (
                f'Pod "{metadata["namespace"]}"/"{metadata["name"]}" matches multiple PodDisruptionBudgets.  '
                f'Chose "{budgets[0]["metadata"]["name"]}" arbitrarily.'
            )
            self._recorder.event(new, "Warning", "MultiplePodDisruptionBudgets", message)

    def rest(self, key: str) -> float:
        budget = self._budgets.get_key(key)
        # Looks are cheap, but each change of a pod would be written.
        return resting(int((budget.get("status") or {}).get("expectedPods", 0)), LOOKED_AT) if budget else 0.0

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            return await self._clean(key.removeprefix(_POD))
        budget = self._budgets.get_key(key)
        if budget is None:
            return None
        try:
            wanted, look_again = await self._status(budget)
        except APIError as err:
            # Nothing may be evicted on a guess.
            await self._write(budget, disruption_plan.failed(budget, err.message, self._clock.now()))
            raise
        await self._write(budget, wanted)
        return look_again

    async def _status(self, budget: Obj) -> tuple[Obj, float | None]:
        try:
            chosen = self._budgeted.of(budget)
        except APIError:
            chosen = Selected()
        if not len(chosen):
            self._recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        count = len(chosen)
        if disruption_plan.counts_owners(budget):
            try:
                count = await self._asked_for(budget, chosen)
            except APIError as err:
                message = f"Failed to calculate the number of expected pods: {err.message}"
                self._recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
                raise
        now = self._clock.now()
        told = (budget.get("status") or {}).get("disruptedPods") or {}
        named = (self._pods.get(budget["metadata"]["namespace"], name) for name in told if name in chosen.sorts)
        going = disruption_plan.disrupted(budget, (pod for pod in named if pod is not None), now)
        name = f"{budget['metadata']['namespace']}/{budget['metadata']['name']}"
        for pod in going.overdue:
            message = f"Pod was expected by PDB {name} to be deleted but it wasn't"
            self._recorder.event(pod, "Warning", "NotDeleted", message)
        look_again = None if going.look_again is None else going.look_again + 0.001
        return disruption_plan.status(budget, chosen, going, count, now), look_again

    async def _asked_for(self, budget: Obj, chosen: Selected) -> int:
        """How many pods their controllers ask for together. Raises APIError when one of them does not say."""
        scales: dict[str, int] = {}
        for owner in [*chosen.owners]:
            if owner is None:
                continue
            found = await self._scale(owner, budget["metadata"]["namespace"])
            if found is None:
                name = next((name for name, sort in chosen.sorts.items() if sort.owner == owner), "")
                raise APIError(500, "InternalError", f'found no controllers for pod "{name}"')
            scales[found[0]] = found[1]
        if None in chosen.owners:
            self._recorder.event(budget, "Warning", "UnmanagedPods", disruption_plan.unmanaged(budget))
        return sum(scales.values())

    async def _scale(self, owner: Owner, namespace: str) -> tuple[str, int] | None:
        """Uid and replicas of what owns pods; a ReplicaSet's Deployment speaks for it."""
        known = await self._known(owner, namespace)
        if known is not None:
            above = controller_of(known)
            if known["kind"] == "ReplicaSet" and above is not None and above["kind"] == "Deployment":
                known = await self._known(owner_of(above), namespace)
            return None if known is None else (known["metadata"]["uid"], int(known["spec"].get("replicas", 1)))
        kind = await self._scales.kind(owner.api_version, owner.kind)
        try:
            scale = await self._scales.get(kind, namespace, owner.name)
        except APIError as err:
            if err.code not in (404, 405):
                raise
            if not await self._scales.is_scalable(kind):
                resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
                message = f"{resource} does not implement the scale subresource"
                raise APIError(500, "InternalError", message) from None
            return None
        if scale["metadata"].get("uid") != owner.uid:
            return None
        return owner.uid, int((scale.get("spec") or {}).get("replicas", 0))

    async def _known(self, owner: Owner, namespace: str) -> Obj | None:
        """The object of a kind that is watched, when it is still the same."""
        for kind in _OWNERS:
            if (kind.kind, kind.api_version) == (owner.kind, owner.api_version):
                informer = self._owners.get(kind.kind)
                if informer is None:
                    informer = self._owners[kind.kind] = self._manager.informer(kind)
                await informer.synced()
                found = informer.get(namespace, owner.name)
                if found is not None and found["metadata"]["uid"] == owner.uid:
                    return found
        return None

    async def _write(self, budget: Obj, status: Obj) -> None:
        if status == budget.get("status"):
            return
        written = await self._client.update(POD_DISRUPTION_BUDGET, {**budget, "status": status}, subresource="status")
        self._written.observe(written)

    async def _clean(self, key: str) -> float | None:
        """Takes back that a pod is about to go when nobody has deleted it."""
        pod = self._pods.get_key(key)
        wait = None if pod is None else disruption_plan.stale_in(pod, self._clock.now())
        if pod is None or wait is None or wait > 0:
            return wait
        await pods.set_conditions(self._client, pod, {"type": disruption_plan.TARGET, "status": "False"})
        return None


def _selector(budget: Obj) -> LabelSelector:
    return LabelSelector.from_object(budget["spec"].get("selector"))

"""DaemonSets: a pod on every node, or on some; the decisions are in ``daemon_plan``.

Source: DaemonSet documentation and API reference.
"""

from __future__ import annotations

from hawser.api.daemons import Places, node_of, relevant
from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import DAEMON_SET, NODE
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers import history, pods
from hawser.controllers.backoff import Backoff
from hawser.controllers.daemon_plan import Plan, Situation, plan, status
from hawser.controllers.daemon_pods import new_pod
from hawser.controllers.history import History
from hawser.controllers.own_writes import OwnWrites
from hawser.controllers.pod_control import LOOKED_AT, PodControl, is_namespace_terminating

_ENDED = {
    "Failed": ("Warning", "FailedDaemonPod", "Found failed daemon pod {} on node {}, will try to kill it"),
    "Succeeded": ("Normal", "SucceededDaemonPod", "Found succeeded daemon pod {} on node {}, will try to delete it"),
}
_FIRST_WAIT = 1.0
_IN_PEACE = 30.0
_LONGEST_WAIT = 900.0


class DaemonSetController(Controller):
    """See the module."""

    name = "daemonset-controller"
    workers = 2

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("daemonset-controller")
        # Kubelets refuse pods that the scheduler would not: replacing them at once would be a race against them.
        self._failures = Backoff(manager.clock, _FIRST_WAIT, _LONGEST_WAIT)
        self._sets = manager.informer(DAEMON_SET)
        self._nodes = manager.informer(NODE)
        self._pods = PodControl(manager, self._recorder, DAEMON_SET, tallied=True)
        self._history = History(manager, self, DAEMON_SET, history.LABEL)
        self._written = OwnWrites(self._sets)
        self._sets.on_change(self._set_changed)
        self._nodes.on_change(self._node_changed)
        self._pods.informer.on_change(self.enqueue_owner("DaemonSet"))
        self._pods.on_orphan(self._enqueue_adopters)

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        if not self._written.has(new):
            self.enqueue(old, new)

    def rest(self, key: str) -> float:
        ds = self._sets.get_key(key)
        return self._pods.rest(ds["metadata"]["uid"], LOOKED_AT) if ds is not None else 0.0

    def _enqueue_adopters(self, pod: Obj) -> None:
        for ds in self._sets.list(pod["metadata"]["namespace"]):
            if _selector(ds).matches(pod["metadata"].get("labels")):
                self.enqueue(None, ds)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and relevant(old) == relevant(new):
            return
        for ds in self._sets.list():
            places = Places(ds)
            if old is None or new is None or places.on(old) != places.on(new):
                self.enqueue(None, ds)

    async def reconcile(self, key: str) -> float | None:
        ds = self._sets.get_key(key)
        if ds is None or pods.is_terminating(ds):
            return None
        revisions = await self._history.claim(ds)
        owned = await self._pods.claim(ds, _selector(ds))
        if owned is None or revisions is None:
            return None  # the watch brings what the cache does not know yet
        current = await self._history.newest(ds, revisions, lambda: self._count_collision(ds))
        if current is None:
            return None
        digest = current["metadata"]["labels"][history.LABEL]
        owned = await self._merge(ds, revisions, current, owned)
        nodes = self._nodes.list()
        failed = {node_of(p) for p in owned if (p.get("status") or {}).get("phase") == "Failed"}
        waits = {node: left for node in failed if (left := self._failures.left(_failure(ds, node)))}
        at = Situation(ds, nodes, owned, digest, self._clock.now(), waits)
        todo = plan(at)
        error = await self._apply(ds, todo, digest)
        if todo != Plan():
            # Counts of the pods as they are now, after this plan's own writes.
            owned = self._pods.owned(ds["metadata"]["uid"])
            at = Situation(ds, nodes, owned, digest, self._clock.now())
        await self._write_status(ds, status(at))
        if error is not None:
            raise error
        await self._truncate(ds, revisions, current, owned)
        return self._look_again(at, owned, waits)

    async def _merge(self, ds: Obj, revisions: list[Obj], current: Obj, owned: list[Obj]) -> list[Obj]:
        """Other revisions of the current template go, and their pods become the current's.

        Somebody has made the current one by hand, and may be about to do more: it is left in peace for a while.
        """
        same = [r for r in revisions if r is not current and r["data"] == current["data"]]
        if not same:
            return owned
        digests = {_digest(revision) for revision in same}
        label = {history.LABEL: _digest(current)}
        relabelled = [await self._pods.relabel(pod, label) if _digest(pod) in digests else pod for pod in owned]
        age = (self._clock.now() - parse_timestamp(current["metadata"]["creationTimestamp"])).total_seconds()
        if age < _IN_PEACE:
            self.queue.add_after(key_of(ds), _IN_PEACE - age)
        else:
            await self._history.delete(same)
            revisions[:] = [r for r in revisions if r not in same]
        return [pod for pod in relabelled if pod is not None]

    async def _apply(self, ds: Obj, todo: Plan, digest: str) -> APIError | None:
        for pod in todo.ended:
            metadata = pod["metadata"]
            kind, reason, message = _ENDED[pod["status"]["phase"]]
            self._recorder.event(
                ds, kind, reason, message.format(f"{metadata['namespace']}/{metadata['name']}", node_of(pod))
            )
            self._failures.done(_failure(ds, node_of(pod)))
        error = await self._pods.delete_all(ds, todo.delete)
        bodies = [new_pod(ds, digest, node) for node in todo.create]
        refused = await self._pods.create_all(ds, bodies)
        if refused is not None and not is_namespace_terminating(refused):
            return refused
        return error

    async def _truncate(self, ds: Obj, revisions: list[Obj], current: Obj, owned: list[Obj]) -> None:
        digests = {_digest(pod) for pod in owned}
        live = {r["metadata"]["name"] for r in revisions if r is current or _digest(r) in digests}
        await self._history.truncate(ds, revisions, live, len(live) - 1)

    def _look_again(self, at: Situation, owned: list[Obj], waits: dict[str, float]) -> float | None:
        seconds = int(at.ds["spec"].get("minReadySeconds") or 0)
        # By the time of the status: who has become available while that was written is not in it.
        times = [left for pod in owned if (left := pods.available_in(pod, seconds, at.now))]
        return min([*times, *waits.values()], default=None)

    async def _count_collision(self, ds: Obj) -> None:
        """Another object has the revision's name: the next try hashes to another one."""
        known = dict(ds.get("status") or {})
        known["collisionCount"] = int(known.get("collisionCount") or 0) + 1
        await self._write_status(ds, known)
        self.enqueue(None, ds)

    async def _write_status(self, ds: Obj, wanted: Obj) -> None:
        if wanted == ds.get("status"):
            return
        with ignoring(404):
            self._written.observe(await self._client.update(DAEMON_SET, {**ds, "status": wanted}, subresource="status"))


def _digest(labelled: Obj) -> str | None:
    """Which revision a pod is of, or that this revision is."""
    found: str | None = (labelled["metadata"].get("labels") or {}).get(history.LABEL)
    return found


def _failure(ds: Obj, node: str) -> str:
    """What failures are counted by: another template may do better."""
    generation = (ds.get("status") or {}).get("observedGeneration", 0)
    return f"{ds['metadata']['uid']}/{generation}/{node}"


def _selector(ds: Obj) -> LabelSelector:
    return LabelSelector.from_object(ds["spec"]["selector"])

"""EndpointSlices of Services with a selector; the decision is in ``endpoints``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.controller import Controller, Manager
from hawser.client.informer import Informer, key_of
from hawser.controllers import endpoints, topology
from hawser.controllers.endpoints import MANAGED_BY, MANAGER, SERVICE_LABEL, Plan, plan, trigger_time, triggers
from hawser.exposition import gauge
from hawser.series import Counters


def relevant(pod: Obj) -> tuple[object, ...]:
    """What of a pod its endpoints depend on: changes of anything else need no work."""
    metadata, status = pod["metadata"], pod.get("status", {})
    ready = next((c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"), "")
    return (
        metadata.get("labels"),
        metadata.get("deletionTimestamp") is not None,
        status.get("podIPs") or status.get("podIP"),
        has_ended(pod),
        ready,
        pod["spec"].get("nodeName"),
    )


def concerned(services: Informer, old: Obj | None, new: Obj | None) -> Iterator[str]:
    """The keys of the Services whose endpoints may be others after a change of a pod."""
    if old is not None and new is not None and relevant(old) == relevant(new):
        return
    known = new if new is not None else old
    if known is None:
        return
    every = [p["metadata"].get("labels") or {} for p in (old, new) if p is not None]
    for service in services.list(known["metadata"]["namespace"]):
        selector = (service["spec"].get("selector") or {}).items()
        if selector and any(selector <= labels.items() for labels in every):
            yield key_of(service)


async def write(client: Client, slices: Informer, todo: Plan) -> None:
    """Carry out a plan. Raises APIError."""
    # New addresses first: a Service in use is never without an endpoint in between.
    for one in todo.create:
        slices.observe(await client.create(ENDPOINT_SLICE, one))
    for one in todo.update:
        slices.observe(await client.update(ENDPOINT_SLICE, one))
    for one in todo.delete:
        metadata = one["metadata"]
        with ignoring(404):
            await client.delete(ENDPOINT_SLICE, metadata["name"], metadata["namespace"], uid=metadata["uid"])


def sizes(slices: Iterable[Obj]) -> Iterator[str]:
    """How many endpoints and slices there are, and how few slices would do; in Prometheus' text format."""
    alike: Counter[tuple[str, str, str]] = Counter()
    count = 0
    for one in slices:
        count += 1
        alike[one["metadata"]["namespace"], str(_service_key(one)), f"{one['addressType']} {one.get('ports')}"] += len(
            one.get("endpoints") or ()
        )
    prefix = "endpoint_slice_controller_"
    yield from gauge(f"{prefix}endpoints_desired", "Number of endpoints desired", {(): sum(alike.values())})
    yield from gauge(f"{prefix}num_endpoint_slices", "Number of EndpointSlices", {(): count})
    text = "Number of EndpointSlices that would exist with perfect endpoint allocation"
    fewest = sum(max(1, -(-size // endpoints.MOST)) for size in alike.values())
    yield from gauge(f"{prefix}desired_endpoint_slices", text, {(): fewest})


class EndpointSliceController(Controller):
    """See the module."""

    name = "endpointslice-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._services = manager.informer(SERVICE)
        self._pods = manager.informer(POD)
        self._nodes = manager.informer(NODE)
        self._slices = manager.informer(ENDPOINT_SLICE)
        self._slices.add_index("service", _service_key)
        self._triggers: dict[str, dict[str, str]] = {}
        self._recorder = manager.recorder("endpoint-slice-controller")
        # Of topology-aware Services, why their endpoints have no hints; "" when they have.
        self._unsuited: dict[str, str] = {}
        text = "Number of EndpointSlice syncs"
        self._syncs = Counters("endpoint_slice_controller_syncs", text, ("result",))
        text = "Number of EndpointSlice changes"
        self._changes = Counters("endpoint_slice_controller_changes", text, ("operation",))
        self._services.on_change(self.enqueue)
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._enqueue_services)
        self._slices.on_change(self._enqueue_of_slice)

    def exposed(self) -> Iterable[str]:
        yield from self._syncs.lines()
        yield from self._changes.lines()
        yield from sizes([one for one in self._slices.list() if _service_key(one)])

    def _enqueue_services(self, old: Obj | None, new: Obj | None) -> None:
        for key in concerned(self._services, old, new):
            self.queue.add(key)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, now = (topology.relevant(node) if node is not None else (None,) for node in (old, new))
        if before == now:
            return
        moved = before[0] != now[0]
        for service in self._services.list():
            if service["spec"].get("selector") and (moved or topology.wanted(service)):
                self.queue.add(key_of(service))

    def _enqueue_of_slice(self, old: Obj | None, new: Obj | None) -> None:
        for one in (old, new):
            for key in _service_key(one) if one is not None else ():
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get_key(key)
        # Deleted Services' slices go with their owner.
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._triggers.pop(key, None)
            self._unsuited.pop(key, None)
            return None
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return None
        wanted = LabelSelector.from_labels(selector)
        selected = [
            p for p in self._pods.list(service["metadata"]["namespace"]) if wanted.matches(p["metadata"].get("labels"))
        ]
        nodes = {n["metadata"]["name"]: n for n in self._nodes.list()}
        moments = triggers(service, selected)
        trigger = trigger_time(service, self._triggers.get(key), moments)
        todo = plan(service, selected, nodes, self._slices.by_index("service", key), trigger)
        try:
            await write(self._client, self._slices, todo)
        except APIError:
            self._syncs.add("error")
            raise
        self._syncs.add("success")
        self._count(todo)
        self._tell(key, service, todo.unsuited)
        # Only now: what could not be written keeps its time for the next try.
        self._triggers[key] = moments
        return None

    def _count(self, todo: Plan) -> None:
        for operation, slices in (("create", todo.create), ("update", todo.update), ("delete", todo.delete)):
            for _ in slices:
                self._changes.add(operation)

    def _tell(self, key: str, service: Obj, unsuited: str) -> None:
        """Events on whether topology-aware routing works, when that changes."""
        before = self._unsuited.get(key)
        families = f"addressType: {endpoints.families(service)[0]}"
        if not topology.wanted(service):
            if self._unsuited.pop(key, None) == "":
                text = f"{topology.DISABLED}, {families}"
                self._recorder.event(service, "Warning", "TopologyAwareHintsDisabled", text)
            return
        self._unsuited[key] = unsuited
        if unsuited and unsuited != before:
            self._recorder.event(service, "Warning", "TopologyAwareHintsDisabled", unsuited)
        elif not unsuited and before != "":
            self._recorder.event(service, "Normal", "TopologyAwareHintsEnabled", f"{topology.ENABLED}, {families}")


def _service_key(one: Obj) -> list[str]:
    labels = one["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or SERVICE_LABEL not in labels:
        return []
    return [f"{one['metadata']['namespace']}/{labels[SERVICE_LABEL]}"]

"""EndpointSlices of Services with a selector; the decision is in ``endpoints``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from hawser.api.errors import APIError
from hawser.api.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers import endpoints, pods, topology
from hawser.controllers.endpoints import MANAGED_BY, MANAGER, SERVICE_LABEL, Plan, plan, trigger_time, triggers
from hawser.controllers.own_writes import OwnWrites
from hawser.controllers.pod_control import LOOKED_AT, is_namespace_terminating, resting
from hawser.controllers.selecting import Selecting, by_labels, selected
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


def selector_of(service: Obj) -> LabelSelector:
    """The pods of a Service; one without a selector has none."""
    labels = service["spec"].get("selector")
    return LabelSelector.from_labels(labels) if labels else LabelSelector(nothing=True)


def concerned(services: Selecting, old: Obj | None, new: Obj | None) -> Iterator[str]:
    """The keys of the Services whose endpoints may be others after a change of a pod."""
    if old is not None and new is not None and relevant(old) == relevant(new):
        return
    for pod in (old, new):
        if pod is not None:
            yield from map(key_of, services.of(pod))


async def write(client: Client, observe: Callable[[Obj], None], todo: Plan, whose: str) -> None:
    """Carry out a plan. observe: is told the slices that were written. whose they are is said in errors.

    Raises APIError; but not for a namespace that ends, which takes nothing new.
    """

    def failed(error: APIError, did: str) -> APIError:
        text = f"failed to {did} for {whose}: {error.message}"
        return APIError(error.code, error.reason, text, details=error.details)

    # New addresses first: a Service in use is never without an endpoint in between.
    for one in todo.create:
        try:
            observe(await client.create(ENDPOINT_SLICE, one))
        except APIError as error:
            if is_namespace_terminating(error):
                return
            raise failed(error, "create EndpointSlice") from error
    for one in todo.update:
        try:
            observe(await client.update(ENDPOINT_SLICE, one))
        except APIError as error:
            raise failed(error, f"update {one['metadata']['name']} EndpointSlice") from error
    for one in todo.delete:
        metadata = one["metadata"]
        try:
            await client.delete(ENDPOINT_SLICE, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except APIError as error:
            if error.code != 404:
                raise failed(error, f"delete {metadata['name']} EndpointSlice") from error


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
        self._selecting = Selecting(self._services, selector_of)
        self._pods = by_labels(manager.informer(POD))
        self._nodes = manager.informer(NODE)
        self._slices = manager.informer(ENDPOINT_SLICE)
        self._slices.add_index("service", _service_key)
        self._triggers: dict[str, dict[str, str]] = {}
        self._known: dict[str, tuple[Obj, endpoints.Known]] = {}
        """Of each Service, as it was, what its endpoints were made of."""
        self._recorder = manager.recorder("endpoint-slice-controller")
        self._written = OwnWrites(self._slices)
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
        for key in concerned(self._selecting, old, new):
            self.queue.add(key)

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, now = (topology.relevant(node) if node is not None else (None,) for node in (old, new))
        if before == now:
            return
        moved = before[0] != now[0]
        if moved:
            self._known.clear()
        for service in self._services.list():
            if service["spec"].get("selector") and (moved or topology.wanted(service)):
                self.queue.add(key_of(service))

    def _enqueue_of_slice(self, old: Obj | None, new: Obj | None) -> None:
        if self._written.has(new):
            return
        for one in (old, new):
            for key in _service_key(one) if one is not None else ():
                self.queue.add(key)

    def rest(self, key: str) -> float:
        """A Service of many endpoints does not write a slice at each change of one."""
        return resting(len(self._known[key][1]), LOOKED_AT) if key in self._known else 0.0

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get_key(key)
        # Deleted Services' slices go with their owner.
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._triggers.pop(key, None)
            self._unsuited.pop(key, None)
            self._known.pop(key, None)
            return None
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return None
        chosen = selected(self._pods, service["metadata"]["namespace"], selector_of(service))
        nodes = {n["metadata"]["name"]: n for n in self._nodes.list()}
        moments = triggers(service, chosen)
        trigger = trigger_time(service, self._triggers.get(key), moments)
        known = self._known.get(key)
        if known is None or known[0] is not service:
            known = self._known[key] = service, {}
        # What finalizers hold is on its way out all the same.
        slices = [one for one in self._slices.by_index("service", key) if not pods.is_terminating(one)]
        todo = plan(service, chosen, nodes, slices, trigger, known[1])
        try:
            await write(self._client, self._written.observe, todo, f"Service {key}")
        except APIError as error:
            self._syncs.add("error")
            text = f"Error updating Endpoint Slices for Service {key}: {error.message}"
            self._recorder.event(service, "Warning", "FailedToUpdateEndpointSlices", text)
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

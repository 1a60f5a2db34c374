"""The one shape of every controller, and the manager that runs them.

A controller names what it watches, turns changes into keys, and reconciles one key at a time::

    class ReplicaSetController(Controller):
        name = "replicaset-controller"
        workers = 4

        def setup(self, manager: Manager) -> None:
            self.client = manager.client
            self.recorder = manager.recorder("replicaset-controller")
            self.sets = manager.informer(REPLICA_SET)
            self.pods = manager.informer(POD)
            self.pods.add_index("owner", owner_uids)           # function(obj) -> iterable of strings
            self.sets.on_change(self.enqueue)                  # key: namespace/name of the object itself
            self.pods.on_change(self.enqueue_owner("ReplicaSet"))  # key: namespace/name of its controlling owner

        async def reconcile(self, key: str) -> float | None:
            rs = self.sets.get_key(key)
            if rs is None:
                return None
            for action in plan(rs, self.pods.by_index("owner", rs["metadata"]["uid"])):   # pure
                made = await self.client.create(POD, action.pod)
                self.pods.observe(made)    # the cache has it at once: no double creation, no "expectations"
            return None                    # or seconds after which to look again

``reconcile`` is never run twice at once for a key. Whatever it raises is logged in one sentence and tried again with
back-off; it must therefore be safe to cut at every await. Objects from informers are read-only.

``python -m hawser.controllers`` runs the factories listed in ``hawser.controllers.registry``; any other program uses
``Manager`` itself::

    async with Client.from_kubeconfig() as client:
        manager = Manager(client)
        manager.add(ReplicaSetController())
        await manager.run()
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import Clock, SystemClock
from hawser.client.events import EventRecorder
from hawser.client.informer import Handler, Informer, key_of
from hawser.client.workqueue import WorkQueue

log = logging.getLogger(__name__)

_RACES = ("Conflict", "NotFound", "AlreadyExists")
_RACE_SECONDS = 0.1
_CHEAP = 0.002
_LONGEST_REST = 0.25


class Controller:
    """Base of controllers; see the module's example.

    name: for logs. workers: keys reconciled at the same time. queue: set before ``setup`` is called.
    """

    name = ""
    workers = 1
    queue: WorkQueue

    def configure(self, options: Mapping[str, Any]) -> None:
        """Takes what it needs of its process's command line, before ``setup``; most need nothing."""

    def setup(self, manager: Manager) -> None:
        """Takes informers from the manager and registers handlers. Nothing is running yet."""
        raise NotImplementedError

    async def reconcile(self, key: str) -> float | None:
        """Brings one object towards what its spec says; returns seconds until it wants to look again, or None."""
        raise NotImplementedError

    def rest(self, key: str) -> float:
        """Seconds that a key rests at least after it was reconciled, so that what changes meanwhile is one change."""
        return 0.0

    async def run(self) -> None:
        """A task of the controller's own beside its workers; runs once the informers of ``setup`` have synced."""

    def exposed(self) -> Iterable[str]:
        """What it counts of its own work, as lines of Prometheus' text format; asked for when somebody looks."""
        return ()

    def enqueue(self, old: Obj | None, new: Obj | None) -> None:
        """A handler that queues the changed object itself."""
        obj = new if new is not None else old
        if obj is not None:
            self.queue.add(key_of(obj))

    def enqueue_owner(self, kind: str) -> Handler:
        """A handler that queues the object of this kind that controls the changed one, before and after the change."""

        def handler(old: Obj | None, new: Obj | None) -> None:
            for obj in (old, new):
                owner = controller_of(obj) if obj is not None else None
                if obj is not None and owner is not None and owner["kind"] == kind:
                    namespace = obj["metadata"].get("namespace")
                    self.queue.add(f"{namespace}/{owner['name']}" if namespace else owner["name"])

        return handler


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference with ``controller: true``, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            owner: Obj = reference
            return owner
    return None


class Manager:
    """Owns what controllers share: the client, one informer a kind and scope, event recorders, and all tasks."""

    def __init__(self, client: Client, *, clock: Clock | None = None) -> None:
        self.client = client
        self.clock: Clock = clock or SystemClock()
        self._informers: dict[tuple[Kind, str | None, str, str], Informer] = {}
        self._recorders: dict[str, EventRecorder] = {}
        self._controllers: list[tuple[Controller, list[Informer]]] = []
        self._in_setup: list[Informer] = []
        self._tasks: asyncio.TaskGroup | None = None

    def informer(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        *,
        metadata_only: bool = False,
    ) -> Informer:
        """The shared informer of a kind and scope; made, and started when the manager runs, at first use.

        metadata_only: the caller reads nothing but metadata; the informer has whole objects all the same when another
        controller wants them. Whole objects wanted only once it runs get an informer of their own.
        """
        scope = (kind, namespace, label_selector, field_selector)
        informer = self._informers.get(scope)
        if informer is not None and informer.metadata_only and not metadata_only:
            if self._tasks is None:
                informer.metadata_only = False
            else:
                informer = None
        if informer is None:
            informer = Informer(
                self.client,
                kind,
                namespace,
                label_selector,
                field_selector,
                metadata_only=metadata_only,
                clock=self.clock,
            )
            self._informers[scope] = informer
            if self._tasks is not None:
                self._tasks.create_task(informer.run(), name=f"informer {kind.plural}")
        self._in_setup.append(informer)
        return informer

    def recorder(self, component: str) -> EventRecorder:
        """The event recorder of a component."""
        recorder = self._recorders.get(component)
        if recorder is None:
            recorder = EventRecorder(self.client, component, clock=self.clock)
            self._recorders[component] = recorder
            if self._tasks is not None:
                self._tasks.create_task(recorder.run(), name=f"events {component}")
        return recorder

    @property
    def controllers(self) -> list[Controller]:
        """Those that have been added and set up."""
        return [controller for controller, _ in self._controllers]

    @property
    def has_synced(self) -> bool:
        """Whether the informers of all these have their objects."""
        return all(informer.has_synced for _, informers in self._controllers for informer in informers)

    def add(self, controller: Controller) -> None:
        """Sets a controller up; also possible while the manager runs."""
        controller.queue = WorkQueue(clock=self.clock)
        self._in_setup = []
        controller.setup(self)
        self._controllers.append((controller, self._in_setup))
        if self._tasks is not None:
            self._start(self._tasks, controller, self._in_setup)

    def add_with_first(self, kinds: Sequence[Kind], make: Callable[[], Controller]) -> None:
        """Adds the controller that ``make`` makes as soon as there is an object of one of the kinds.

        Until then it costs a look at the metadata of these kinds, which controllers that follow everything share.
        """
        awaited: list[Callable[[], Controller]] = [make]

        def first(old: Obj | None, new: Obj | None) -> None:
            if new is not None and awaited:
                # Not among the handlers that are just being called: those it registers would be called twice.
                asyncio.get_running_loop().call_soon(self.add, awaited.pop()())

        for kind in kinds:
            self.informer(kind, metadata_only=True).on_change(first)

    async def run(self) -> None:
        """Runs everything until it is cancelled; each controller starts when the informers it took have synced."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for informer in self._informers.values():
                    tasks.create_task(informer.run(), name=f"informer {informer.kind.plural}")
                for recorder in self._recorders.values():
                    tasks.create_task(recorder.run(), name=f"events {recorder.component}")
                for controller, informers in self._controllers:
                    self._start(tasks, controller, informers)
                # Ends by cancellation only, also when there is no controller yet.
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            for controller, _ in self._controllers:
                controller.queue.shutdown()

    def _start(self, tasks: asyncio.TaskGroup, controller: Controller, informers: list[Informer]) -> None:
        async def start() -> None:
            for informer in informers:
                await informer.synced()
            for number in range(controller.workers):
                tasks.create_task(work(controller, self.clock), name=f"{controller.name} worker {number}")
            tasks.create_task(self._restarted(controller), name=f"{controller.name} task")

        tasks.create_task(start(), name=f"{controller.name} start")

    async def _restarted(self, controller: Controller) -> None:
        """Runs ``controller.run``, and again when it fails: one controller's mistake leaves the others alone."""
        while not await attempt(controller.name, controller.run):
            await self.clock.sleep(1)


async def attempt(what: str, call: Callable[[], Awaitable[None]]) -> bool:
    """Awaits the call; False when it raised, which is logged in one sentence."""
    try:
        await call()
    except Exception as err:
        log.warning("%s failed: %s", what, sentence(err))
        log.debug("%s failed", what, exc_info=True)
        return False
    return True


async def work(controller: Controller, clock: Clock) -> None:
    """One worker: reconciles keys until it is cancelled."""
    queue = controller.queue
    while True:
        key = await queue.get()
        reconciling = _Metered(controller.reconcile(key), clock.cpu)
        try:
            again = await reconciling
        except Exception as err:
            seconds = queue.retry(key)
            # That objects change or go meanwhile is how the API works; it is worth telling only when it goes on.
            race = isinstance(err, APIError) and err.reason in _RACES and seconds < _RACE_SECONDS
            level = logging.DEBUG if race else logging.WARNING
            log.log(level, "%s %s: %s; again in %.2g s", controller.name, key, sentence(err), seconds)
            log.debug("%s %s failed", controller.name, key, exc_info=True)
        else:
            queue.forget(key)
            if again is not None:
                queue.add_after(key, again)
        finally:
            queue.rest(key, max(_rest(reconciling.seconds), controller.rest(key)))


class _Metered(Awaitable[float | None]):
    """Awaits a coroutine and adds up the CPU time between its awaits."""

    def __init__(self, coroutine: Coroutine[Any, Any, float | None], cpu: Callable[[], float]) -> None:
        self.seconds = 0.0
        self._cpu = cpu
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, float | None]:
        steps = self._coroutine.__await__()
        send, value = steps.send, None
        while True:
            started = self._cpu()
            try:
                waits_for = send(value)
            except StopIteration as stop:
                result: float | None = stop.value
                return result
            finally:
                self.seconds += self._cpu() - started
            try:
                value = yield waits_for
                send = steps.send
            except BaseException as err:
                # Cancellation, or what the awaited thing raised, is the coroutine's to handle.
                send, value = steps.throw, err


def _rest(seconds: float) -> float:
    """How long a key rests after a reconcile that took so much CPU.

    An owner of a thousand pods costs milliseconds and changes with every one of them. Resting takes such keys down to a
    fifth of a core, and their changes together; a key that costs little is never held up.
    """
    return 0.0 if seconds < _CHEAP else min(seconds * 4, _LONGEST_REST)


def sentence(err: BaseException) -> str:
    """What went wrong in one line; for a programming error also where."""
    if isinstance(err, APIError):
        return err.message
    frames = traceback.extract_tb(err.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(err).__name__}: {err}{where}"

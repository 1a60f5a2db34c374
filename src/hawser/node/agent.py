"""The node agent: puts the parts together and runs them until it is told to end.

Pods keep running when it ends or dies; the next one takes them over.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.client.informer import Informer
from hawser.node import logrotate, machine, registration, shutdown
from hawser.node.allocatable import pods_limits
from hawser.node.cgroups import Cgroups
from hawser.node.cri.client import Runtime
from hawser.node.cri.model import Container, Features, Sandbox, Version
from hawser.node.csi.plugins import CSIDrivers
from hawser.node.devices.devices import Devices, Place
from hawser.node.eviction import manager as eviction
from hawser.node.images.collector import ImageCollector
from hawser.node.images.manager import Images
from hawser.node.images.records import PullRecords
from hawser.node.lifecycle import Lifecycle, by_pod
from hawser.node.metrics import starts
from hawser.node.metrics.counters import Counters
from hawser.node.networking import Networking
from hawser.node.objects import Objects
from hawser.node.options import Options
from hawser.node.plugins.registry import Registry
from hawser.node.pod.configs import Machine
from hawser.node.pod.context import Context
from hawser.node.pod.dns import node_complaint, node_resolv_conf, read_resolv_conf
from hawser.node.pod.rush import Rush
from hawser.node.pods import Pods
from hawser.node.probes.runner import Probes
from hawser.node.profiles import Profiles
from hawser.node.rich import HANDLER, RichPods
from hawser.node.served import ServedPods
from hawser.node.server.access import Access
from hawser.node.server.pages import Pages
from hawser.node.server.server import KubeletServer, tls_context
from hawser.node.shims import LostShims
from hawser.node.shutdown import Shutdown
from hawser.node.startup import Gate
from hawser.node.stats.cgroup import Reader
from hawser.node.stats.collector import Collector
from hawser.node.stats.subjects import subjects
from hawser.node.volumes.folders import Folders
from hawser.node.volumes.setup import Volumes, share

log = logging.getLogger(__name__)

_RUNTIME_SECONDS = 60.0
_RETRY_SECONDS = 0.5
KEPT_ROOTS = "rootfs"


class Agent:
    """One node's agent."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.client = Client.from_kubeconfig(options.kubeconfig, user_agent="kubelet")
        self.runtime = Runtime(options.runtime_endpoint, options.instance)
        self._rush = Rush()
        self.recorder = EventRecorder(self.client, "kubelet", host=options.node_name, busy=lambda: self._rush.on)
        self.addresses = _node_addresses(options)
        self.resolv_conf = options.resolv_conf or node_resolv_conf()
        self.informer = Informer(self.client, POD, field_selector=f"spec.nodeName={options.node_name}")
        # As on a kubelet, whose events about its node have the name for the uid.
        named = {"name": options.node_name, "uid": options.node_name}
        self.reference: Obj = {"apiVersion": "v1", "kind": "Node", "metadata": named}
        self.network = Networking(
            options,
            self.client,
            self.recorder,
            self.informer,
            self.resolv_conf,
            lambda: self.registration.node,
            self.reference,
        )
        self.server: KubeletServer | None = None
        self._features = Features()
        # A containerd that others use too has shims of theirs.
        private = Path(options.runtime_endpoint.removeprefix("unix://")).is_relative_to(options.run_dir)
        self._shims = LostShims(options.runtime_endpoint) if private else None
        self._csi = CSIDrivers(self.client, lambda: self.registration.node)
        place = Place(options.root_dir, options.node_name, options.cdi_spec_dirs)
        self.devices = Devices(
            place,
            self.client,
            self.runtime,
            lambda: self._version,
            lambda *rows: self.registration.advertise(*rows),
            lambda: [worker.pod for worker in self.pods.all()],
            lambda: self.pods.uids(),
            lambda uid: self.pods.wake(uid),
        )
        self._plugins = Registry(
            options.root_dir / "plugins_registry",
            {
                "CSIPlugin": lambda: self._csi,
                "DRAPlugin": lambda: self.devices.claims().drivers,
                "DevicePlugin": self.devices.plugins,
            },
        )
        self._tidying: asyncio.Task[None] | None = None
        self._reporting = self._keeping = False
        self._views = RichPods(options.run_dir / "view", options.root_dir / "view", self.recorder)
        self.counters = Counters()
        self.records = PullRecords(options.root_dir / "image_manager")
        self._version: Version
        self.registration: registration.Registration
        self.pods: Pods
        self.profiles: Profiles
        self.collector: Collector
        self.images: ImageCollector
        self.evictions: eviction.EvictionManager
        self.shutdown: Shutdown

    async def run(self) -> None:
        """Runs until cancelled. Raises CRIError when there is no container runtime."""
        options = self.options
        for folder in (options.root_dir, options.run_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        version = self._version = await self.runtime.ready(_RUNTIME_SECONDS)
        self._features = await self.runtime.features()
        await self.network.start()
        wanted = registration.node(
            options.node_name,
            self._facts(),
            self.addresses,
            options.port,
            f"{version.name}://{version.version}",
            [str(cidr) for cidr in (options.pod_cidr, options.pod_cidr6) if cidr is not None],
            self._features,
            options.node_labels,
            options.limits,
        )
        self.registration = registration.Registration(
            self.client, self.runtime, wanted, lambda: self.evictions.conditions
        )
        self.registration.network_ready = self.network.agent is None
        context = self._context()
        context.cgroups.prepare(pods_limits(wanted["status"]["capacity"], options.limits))
        self.pods = Pods(context, self.informer, options.pod_manifest_path)
        agents = options.root_dir / "agents"
        self.profiles = Profiles(options.run_dir, agents, self.client, options.node_name, self.runtime, context.images)
        self.collector = Collector(
            Reader(context.cgroups.hierarchies),
            self.runtime,
            options.root_dir,
            options.cgroup_root,
            options.node_name,
            lambda: subjects(self.pods, self.network.agent),
        )
        starts.follow(self.informer, self.counters)
        self._watch_over()
        try:
            await self._run(context)
        finally:
            if self.server is not None:
                await self.server.stop()
            await self.pods.close()
            context.objects.close()
            await self._plugins.close()
            await self._csi.close()
            await self.devices.close()
            await self.profiles.close()
            await self._views.close()
            await self.network.stop()
            await self.runtime.close()
            await self.client.close()

    async def _run(self, context: Context) -> None:
        options = self.options
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.recorder.run(), name="events")
            tasks.create_task(self.informer.run(), name="informer pods")
            # What needs no API server to go on must not wait for one.
            self.network.follow(tasks)
            # What runs now is taken over before anything is started.
            found = by_pod(*await asyncio.gather(self.runtime.list_pod_sandboxes(), self.runtime.list_containers()))
            await self._serve()
            await self.profiles.start()
            await self.devices.start()
            self.pods.start_statics(set(found))
            await self._register()
            if complaint := node_complaint(self.resolv_conf, read_resolv_conf(self.resolv_conf)):
                self.recorder.event(self.reference, "Warning", "CheckLimitsForResolvConf", complaint)
            # Variables of Services are never fewer than there are: the API's own is what every client looks for.
            await self.network.services.synced()
            self._plugins.start()
            self.pods.start()
            tasks.create_task(self.pods.statics.run(), name="static pods")
            lifecycle = Lifecycle(self.runtime, self.pods.exited, self._listed, self.counters)
            tasks.create_task(lifecycle.run(), name="lifecycle")
            tasks.create_task(self.registration.run(), name="registration")
            tasks.create_task(logrotate.run(self.runtime, self.pods.logs, self.options.limits.logs), name="logs")
            await self.network.serve(tasks)
            tasks.create_task(self.images.run(), name="images")
            tasks.create_task(self.evictions.run(), name="evictions")
            tasks.create_task(self.shutdown.run(), name="shutdown")
            if (options.root_dir / KEPT_ROOTS).is_dir():
                self._keep(tasks)
            self.informer.on_change(lambda _old, new: self._rich(new, tasks))
            log.info("node %s is registered", options.node_name)

    def _watch_over(self) -> None:
        """Makes what looks after the node's resources."""
        options = self.options
        node = self.reference
        self.images = ImageCollector(
            self.runtime,
            self.records,
            self.recorder,
            self.counters,
            options.limits,
            node,
            options.pause_image,
            lambda: [worker.pod for worker in self.pods.all()],
            self.profiles.held,
        )
        parts = eviction.Node(
            self.pods.all,
            self.collector,
            self.runtime,
            self.recorder,
            self.counters,
            options.root_dir,
            node,
            self.images.free,
        )
        self.evictions = eviction.EvictionManager(parts, options.limits)
        self.shutdown = Shutdown(options.run_dir, self.pods.all, self.recorder, node, self.registration.report)
        self.registration.trouble = lambda: shutdown.NOT_READY if self.shutdown.active else ""

    async def _serve(self) -> None:
        options = self.options
        if options.tls_cert is None or options.tls_key is None or options.client_ca is None:
            log.warning("without --tls-cert, --tls-key and --client-ca there is no kubelet API: no logs, no exec")
            return
        tls = tls_context(options.tls_cert, options.tls_key, options.client_ca)
        pages = Pages(options, self.client, self.runtime, self.pods, self.counters, self.collector, self.devices).all()
        access = Access(self.client.create, options.node_name)
        served = ServedPods(self.pods, options.root_dir)
        self.server = KubeletServer(served, self.runtime, tls, access, pages, self.counters)
        await self.server.start(options.host, options.port)

    def _rich(self, pod: Obj | None, tasks: asyncio.TaskGroup) -> None:
        """Follows rich containers from the first one on: until then nothing of it is loaded."""
        if self._reporting or pod is None or not pod["spec"].get("runtimeClassName"):
            return
        from hawser.rich.reporter import Reporter

        self._reporting = True
        reporter = Reporter(self.client, self.informer, self.options.node_name)
        tasks.create_task(reporter.run(), name="rich containers")
        if not self._keeping:
            self._keep(tasks)

    def _keep(self, tasks: asyncio.TaskGroup) -> None:
        """Looks after what rich containers leave, from the first one on, or of those before."""
        from hawser.rich.kept import KeptRoots

        self._keeping = True
        kept = KeptRoots(self.options.root_dir / KEPT_ROOTS, self.informer, self.recorder)
        tasks.create_task(kept.run(), name="kept root file systems")

    async def _register(self) -> None:
        while True:
            try:
                await self.registration.register()
                return
            except APIError as err:
                log.warning("the node is registered again: %s", err.message)
                await asyncio.sleep(_RETRY_SECONDS)

    def _facts(self) -> machine.Facts:
        options = self.options
        return machine.facts(options.root_dir, options.max_pods, options.node_cpu, options.node_memory)

    def _context(self) -> Context:
        options = self.options
        facts = self._facts()
        cgroups = Cgroups(options.cgroup_root, pod_pids=options.limits.pod_pids)
        described = Machine(
            str(options.root_dir),
            options.cgroup_root,
            facts.memory,
            options.node_name,
            self.addresses,
            options.cluster_domain,
            options.cluster_dns,
            cgroup_v2=cgroups.unified,
            features=self._features,
            unsafe_sysctls=options.allowed_unsafe_sysctls,
        )
        folders = Folders(options.root_dir)
        share(options.root_dir)
        objects = Objects(self.client, lambda kind, namespace, name: self.pods.object_changed(kind, namespace, name))

        def allocatable() -> Obj:
            return self.registration.allocatable

        return Context(
            runtime=self.runtime,
            client=self.client,
            recorder=self.recorder,
            machine=described,
            folders=folders,
            volumes=Volumes(
                self.client, self.runtime, folders, objects, described, allocatable, self._csi, self.recorder
            ),
            cgroups=cgroups,
            images=Images(self.runtime, self.records, options.limits.max_parallel_image_pulls),
            objects=objects,
            prober=Probes(self.runtime, self.recorder, self.counters),
            services=self.network.services.list,
            node=lambda: self.registration.node,
            allocatable=allocatable,
            gate=Gate(options.max_starting or facts.cpus),
            dns=lambda: read_resolv_conf(self.resolv_conf),
            rich=self._views,
            devices=self.devices,
            preempt=lambda uid: self.pods.preempt(uid),
            pressure=lambda pod: self.shutdown.refusal() or self.evictions.refusal(pod),
            counters=self.counters,
            rush=self._rush,
            sync_seconds=options.sync_seconds,
        )

    def _listed(self, found: dict[str, tuple[list[Sandbox], list[Container]]]) -> None:
        self.pods.listed(found)
        self._views.listed(any(s.ready and s.runtime_handler == HANDLER for boxes, _ in found.values() for s in boxes))
        if not self._plugins.watching:
            self._plugins.look()
        if self._tidying is None or self._tidying.done():
            sandboxes = [sandbox for listed, _ in found.values() for sandbox in listed]
            self._tidying = asyncio.create_task(self._tidy(sandboxes), name="tidy")

    async def _tidy(self, sandboxes: list[Sandbox]) -> None:
        """Takes away what the runtime left of sandboxes that it does not have any more."""
        try:
            await self.network.gc([sandbox.id for sandbox in sandboxes if sandbox.ready])
            known = [sandbox.id for sandbox in sandboxes]
            for shim in await self._shims.sweep(known) if self._shims is not None else ():
                log.warning("the shim of sandbox %s, which the runtime has lost, was ended", shim.id)
        except OSError as err:
            log.warning("the node is tidied later: %s", err)


def _node_addresses(options: Options) -> tuple[str, ...]:
    """The node's addresses: one, or on a dual-stack engine one of each family."""
    if len(options.node_ips) > 1:
        return options.node_ips
    primary = options.node_ips[0] if options.node_ips else machine.default_address()
    if options.pod_cidr6 is None:
        return (primary,)
    # Without a route to elsewhere the node's address towards its pods is as good as any.
    return primary, machine.default_address6() or str(options.pod_cidr6[1])

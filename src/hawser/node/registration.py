"""The Node object of this machine and its Lease: made, kept fresh, and found again after the API was away.

Source: Kubernetes documentation, "Nodes" (heartbeats), "Node Status", "Leases"; well-known labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import orjson

from hawser.api.errors import APIError
from hawser.api.kinds import LEASE, NODE
from hawser.api.pod_restarts import DECLARED
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC, Client
from hawser.client.clock import micro_timestamp
from hawser.node.allocatable import allocatable
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Features, Image
from hawser.node.limits import Limits
from hawser.node.machine import Facts
from hawser.node.pod.container_status import stamp

log = logging.getLogger(__name__)

_NONE: Mapping[str, str] = {}
_LIMITS = Limits()
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
STATUS_SECONDS = 10.0
REPORT_SECONDS = 300.0
_LEASE_NAMESPACE = "kube-node-lease"
_MOST_IMAGES = 50
_MOST_NAMES = 5
_REASONS = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "KubeletHasDiskPressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "KubeletHasInsufficientPID"),
}
_MESSAGES = {
    "MemoryPressure": ("kubelet has sufficient memory available", "kubelet has insufficient memory available"),
    "DiskPressure": ("kubelet has no disk pressure", "kubelet has disk pressure"),
    "PIDPressure": ("kubelet has sufficient PID available", "kubelet has insufficient PID available"),
}


def node(
    name: str,
    facts: Facts,
    addresses: Sequence[str],
    port: int,
    runtime: str,
    pod_cidrs: Sequence[str],
    features: Features | None = None,
    extra: Mapping[str, str] = _NONE,
    limits: Limits = _LIMITS,
) -> Obj:
    """The Node without conditions. extra: further labels; limits: what pods may not use of it."""
    capacity: dict[str, str] = {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory // 1024}Ki",
        "ephemeral-storage": f"{facts.disk // 1024}Ki",
        "pods": str(facts.max_pods),
        **{size: str(amount) for size, amount in facts.hugepages.items()},
    }
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": facts.architecture,
        **extra,
    }
    spec: Obj = {"podCIDR": pod_cidrs[0], "podCIDRs": [*pod_cidrs]} if pod_cidrs else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {
            "capacity": capacity,
            "allocatable": allocatable(capacity, limits),
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in addresses),
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": {
                "machineID": facts.machine_id,
                "systemUUID": facts.system_uuid,
                "bootID": facts.boot_id,
                "kernelVersion": facts.kernel,
                "osImage": facts.os_image,
                "containerRuntimeVersion": runtime,
                "kubeletVersion": "",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": facts.architecture,
                "swap": {"capacity": facts.swap},
            },
            # Of the features that v1.36 asks nodes for (KEP-5328), those that are on by default there.
            "declaredFeatures": ["InPlacePodLevelResourcesVerticalScaling", DECLARED],
            **_runtime_features(features or Features()),
        },
    }


def _runtime_features(features: Features) -> Obj:
    """What a runtime that tells of its features can do."""
    if not features.handlers:
        return {}
    rows: list[Obj] = []
    for name in features.handlers:
        able = {
            "recursiveReadOnlyMounts": name in features.recursive_read_only,
            "userNamespaces": name in features.user_namespaces,
        }
        rows.append({"name": name, "features": able})
    groups = features.supplemental_groups_policy
    return {"runtimeHandlers": rows, "features": {"supplementalGroupsPolicy": groups}}


def conditions(old: list[Obj], pressures: Collection[str], problem: str, now: float) -> list[Obj]:
    """The node's conditions. pressures: those that it is under; problem: why it is not ready, "" when it is."""
    rows = [
        *(_row(kind, kind in pressures) for kind in _REASONS),
        {
            "type": "Ready",
            "status": "False" if problem else "True",
            "reason": "KubeletNotReady" if problem else "KubeletReady",
            "message": problem or "kubelet is posting ready status",
        },
    ]
    known = {row["type"]: row for row in old}
    for row in rows:
        was = known.get(row["type"], {})
        same = was.get("status") == row["status"]
        row["lastHeartbeatTime"] = stamp(now)
        row["lastTransitionTime"] = was.get("lastTransitionTime") if same else stamp(now)
    return rows


def images(listed: Iterable[Image]) -> list[Obj]:
    """The images of the node's status: the largest ones, each with some of its names."""
    rows = sorted(listed, key=lambda image: (-image.size, image.id))[:_MOST_IMAGES]
    return [{"names": [*row.digests, *row.tags][:_MOST_NAMES], "sizeBytes": row.size} for row in rows]


def _row(kind: str, pressed: bool) -> Obj:
    status, reasons, messages = "True" if pressed else "False", _REASONS[kind], _MESSAGES[kind]
    return {"type": kind, "status": status, "reason": reasons[pressed], "message": messages[pressed]}


def advertised(node: Obj, wanted: Obj) -> dict[str, str | None]:
    """What of a node's allocatable is to change for resources that others advertise in its capacity; None: it goes.

    Source: Kubernetes documentation, "Advertise Extended Resources for a Node".
    """
    status, own = node.get("status") or {}, wanted["status"]["capacity"]
    capacity = {name: value for name, value in (status.get("capacity") or {}).items() if name not in own}
    known = {name: value for name, value in (status.get("allocatable") or {}).items() if name not in own}
    new: dict[str, str | None] = {name: value for name, value in capacity.items() if known.get(name) != value}
    return new | {name: None for name in known if name not in capacity}


class Registration:
    """Keeps the Node and its Lease. pressures: the conditions of pressure that the node is under.

    trouble: why the node is not ready although its runtime is, "" when it is.
    """

    def __init__(self, client: Client, runtime: Runtime, wanted: Obj, pressures: Callable[[], Collection[str]]) -> None:
        self._client = client
        self._runtime = runtime
        self._wanted = wanted
        self._pressures = pressures
        self.trouble: Callable[[], str] = str
        self.name = str(wanted["metadata"]["name"])
        self.node: Obj = wanted
        self.network_ready = True
        self._reported = 0.0
        self._leased = False
        self._images: list[Obj] = []
        self._own: Obj = wanted["status"]
        self._unsaid = False
        self._alone = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None

    @property
    def allocatable(self) -> Obj:
        """What pods may use."""
        result: Obj = (self.node.get("status") or {}).get("allocatable") or self._wanted["status"]["allocatable"]
        return result

    def advertise(self, capacity: Mapping[str, str], allocatable: Mapping[str, str]) -> None:
        """Adds devices to what the node has, or changes their numbers."""
        both = {"capacity": {**self._own["capacity"], **capacity}}
        both["allocatable"] = {**self._own["allocatable"], **allocatable}
        self._wanted = {**self._wanted, "status": {**self._wanted["status"], **both}}
        self._unsaid = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._report_devices(), name="devices of the node")

    async def _report_devices(self) -> None:
        # What fails is done by the next look at the node.
        with contextlib.suppress(APIError):
            while self._unsaid:
                await self.report()

    async def register(self) -> None:
        """Creates the Node, or takes over the one that is there. Raises APIError."""
        # The agent speaks the API's own version; asking is smaller than loading the definitions that carry it.
        version = orjson.loads(await self._client.raw("GET", "/version"))
        self._wanted["status"]["nodeInfo"]["kubeletVersion"] = version["gitVersion"]
        wanted = {**self._wanted, "status": {**self._wanted["status"], "conditions": await self._conditions([])}}
        try:
            self.node = await self._client.create(NODE, wanted)
        except APIError as err:
            if err.reason != "AlreadyExists":
                raise
            found = await self._client.get(NODE, self.name)
            # A range of pods is given once.
            spec = {} if found["spec"].get("podCIDR") else wanted["spec"]
            body = {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": spec}
            self.node = await self._client.patch(NODE, self.name, None, body, STRATEGIC)
        await self.report()
        await self._renew()

    async def run(self) -> None:
        """Renews the Lease and reports the Node's status until cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for work in (self._renew, self._refresh):
                try:
                    await work()
                except (APIError, CRIError) as err:
                    log.warning("node %s: %s", self.name, err)

    async def report(self) -> None:
        """Writes the whole status, of now and not before one that is older. Raises APIError."""
        async with self._alone:
            await self._report()

    async def _report(self) -> None:
        old = (self.node.get("status") or {}).get("conditions") or []
        self._images = await self._listed_images()
        now = await self._conditions(old)
        # What is advertised from here on is said the next time.
        unsaid, self._unsaid = self._unsaid, False
        status = {**self._wanted["status"], "conditions": now, "images": self._images}
        status["allocatable"] = {**status["allocatable"], **advertised(self.node, self._wanted)}
        # Addresses merge by type, which two families share.
        status["addresses"] = [*status["addresses"], {"$patch": "replace"}]
        body = {"status": status}
        try:
            self.node = await self._client.patch(NODE, self.name, None, body, STRATEGIC, "status")
        except APIError:
            self._unsaid |= unsaid
            raise
        self._reported = time.monotonic()

    async def _refresh(self) -> None:
        """Reports what changed: here, or there, where the node controller may have given this node up meanwhile."""
        try:
            self.node = await self._client.get(NODE, self.name)
        except APIError as err:
            if err.code != 404:
                raise
            # Somebody deleted the Node while the agent runs: it is here nevertheless.
            await self.register()
            return
        old = (self.node.get("status") or {}).get("conditions") or []
        now = await self._conditions(old)
        before = {c["type"]: c["status"] for c in old}
        changed = (
            self._unsaid
            or any(before.get(c["type"]) != c["status"] for c in now)
            or bool(advertised(self.node, self._wanted))
            or await self._listed_images() != self._images
        )
        if not changed and time.monotonic() - self._reported < REPORT_SECONDS:
            return
        await self.report()

    async def _listed_images(self) -> list[Obj]:
        try:
            return images(await self._runtime.list_images())
        except CRIError:
            return self._images

    async def _conditions(self, old: list[Obj]) -> list[Obj]:
        problem = ""
        try:
            for row in await self._runtime.status():
                if not row.status and (row.type == "RuntimeReady" or self.network_ready is False):
                    problem = f"container runtime is not ready: {row.reason} {row.message}".strip()
        except CRIError as err:
            problem = f"container runtime is down: {err.text}"
        return conditions(old, self._pressures(), problem or self.trouble(), time.time())

    async def _renew(self) -> None:
        now = micro_timestamp(datetime.now(UTC))
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        if not self._leased and await self._take_lease(spec):
            return
        try:
            await self._client.patch(LEASE, self.name, _LEASE_NAMESPACE, {"spec": spec})
        except APIError as err:
            if err.code != 404:
                raise
            # It went with a Node that somebody deleted.
            await self._take_lease(spec)
        else:
            self._leased = True

    async def _take_lease(self, spec: Obj) -> bool:
        """Makes the Lease; False when there is one, or none can be made now."""
        self._leased = False
        owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self.node["metadata"].get("uid")}
        metadata = {"name": self.name, "namespace": _LEASE_NAMESPACE, "ownerReferences": [owner]}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        with contextlib.suppress(APIError):
            await self._client.create(LEASE, lease)
            self._leased = True
        return self._leased

"""Keeps the table of policies in step with NetworkPolicies, pods and namespaces.

Without any NetworkPolicy there is no table, and nothing is watched but NetworkPolicies. With one, pods of other nodes
and the labels of namespaces are watched as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.node.network.cni import CNIError, Code
from hawser.node.network.links import veth_name
from hawser.node.network.nft import NftError
from hawser.node.network.records import Record
from hawser.node.pod.view import MIRROR

if TYPE_CHECKING:
    from hawser.node.network.policy.model import Pod, Policy
    from hawser.node.network.policy.rules import Table

log = logging.getLogger(__name__)

_CHECK_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0

Handler = Callable[[Obj | None, Obj | None], None]
Objects = list[Obj]


class Source(Protocol):
    """What the enforcer needs of an informer."""

    def get(self, namespace: str | None, name: str) -> Obj | None: ...
    def list(self, namespace: str | None = None) -> Objects: ...
    def on_change(self, handler: Handler) -> None: ...
    async def synced(self) -> None: ...


class Watched(Source, Protocol):
    """One that is run here, while there are policies."""

    async def run(self) -> None: ...


class Enforcer:
    """``run`` once; ``cover`` when a pod has been connected, before anything runs in it.

    table: its name. prefix: of links' names. transact: runs nftables commands, raises NftError.
    policies: all NetworkPolicies. local: the node's pods. further: makes informers of other nodes' pods and of
    namespaces. records: the node's pods on the network. servers: addresses of DNS servers of the cluster that are no
    pods. report: told of what keeps policies from being in force.
    """

    def __init__(
        self,
        table: str,
        prefix: str,
        transact: Callable[[str], Awaitable[str]],
        policies: Source,
        local: Source,
        further: Callable[[], tuple[Watched, Watched]],
        records: Callable[[], Iterable[Record]],
        servers: Callable[[], Iterable[str]] = lambda: (),
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._name = table
        self._prefix = prefix
        self._transact = transact
        self._policies = policies
        self._local = local
        self._further = further
        self._records = records
        self._servers = servers
        self._report = report
        self._compiled: dict[tuple[str, str], Policy | None] = {}
        self._known = False
        self._applied: Table | None = None
        self._others: tuple[Watched, Watched] | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    # What others call

    async def cover(self, record: Record) -> None:
        """Returns when the policies of a pod that has just got its address are in force. Raises CNIError.

        A static pod does not wait for an API server that is away: its policies follow once they are known.
        """
        if not self._known and self._local.get(record.namespace, record.pod) is None:
            return
        if self._known and not self._compiled and self._applied is None:
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await done
        except TimeoutError:
            raise _not_covered("they are not known yet") from None

    def gone(self) -> None:
        """A pod has lost its address."""
        if self._compiled:
            self._wake.set()

    # Keeping up

    async def run(self) -> None:
        """Applies changes until cancelled. The table of an earlier process stays until everything is known."""
        await self._policies.synced()
        await self._local.synced()
        self._policies.on_change(self._policy_changed)
        self._local.on_change(self._pod_changed)
        self._known = True
        stale = True  # what an earlier process has left
        try:
            while True:
                try:
                    await self._apply(stale)
                    stale = not await self._wait()
                except Exception as error:
                    # Whatever went wrong: what was in force stays, pods that come are told, and it is tried again.
                    log.error("the table of network policies is made anew: %s", error, exc_info=_unexpected(error))
                    self._report(f"network policies are not in force: {error}")
                    self._answer(_not_covered(str(error)))
                    stale = True
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await self._stop_watching()

    async def _wait(self) -> bool:
        """Waits for a change; False when the table is found gone meanwhile."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            if self._applied is not None:
                try:
                    await self._transact(f"list chain inet {self._name} arriving\n")
                except NftError:
                    log.warning("somebody removed the table of network policies")
                    return False
        return True

    async def _apply(self, whole: bool) -> None:
        # Only those who wait now are told: whoever comes meanwhile may not be in this plan.
        waiting, self._waiting = self._waiting, []
        self._wake.clear()
        try:
            if self._compiled:
                await self._watch()
                await self._change(self._plan(), whole)
            else:
                if whole or self._applied is not None:
                    from hawser.node.network.podtable import drop_table

                    await self._transact(drop_table(f"inet {self._name}"))
                self._applied = None
                await self._stop_watching()
        except BaseException:
            self._waiting = waiting + self._waiting
            raise
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _answer(self, error: CNIError) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    async def _change(self, wanted: Table, whole: bool) -> None:
        from hawser.node.network.policy import rules, table

        text = ""
        if whole or self._applied is None:
            text = table.empty_table(self._name)
            self._applied = None
        text += table.commands(self._name, self._applied or rules.Table(), wanted)
        if text:
            await self._transact(text)
        self._applied = wanted

    def _plan(self) -> Table:
        from hawser.node.network.policy import rules

        assert self._others is not None
        namespaces = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in self._others[1].list()}
        return rules.plan((p for p in self._compiled.values() if p is not None), self._pods(), namespaces)

    def _pods(self) -> list[Pod]:
        from hawser.node.network.policy.model import Pod, pod_ports, remote_pod

        assert self._others is not None
        pods = [pod for obj in self._others[0].list() if (pod := remote_pod(obj)) is not None]
        for record in self._records():
            obj: Obj = self._local.get(record.namespace, record.pod) or {}
            metadata = obj.get("metadata") or {}
            # In the API a static pod is its mirror, which has a uid of its own.
            if record.uid not in (metadata.get("uid"), (metadata.get("annotations") or {}).get(MIRROR)):
                obj = metadata = {}  # Another pod of that name: of this one nothing is known any more.
            labels = metadata.get("labels") or {}
            link = veth_name(self._prefix, record.container_id)
            addresses = tuple(str(address) for address in record.addresses)
            pods.append(Pod(record.namespace, record.pod, labels, addresses, pod_ports(obj), link))
        # Who allows DNS to the pods of kube-dns means this server, which is in no pod.
        ports = (("dns", "udp", 53), ("dns-tcp", "tcp", 53), ("metrics", "tcp", 9153))
        listed = tuple(dict.fromkeys(self._servers()))
        if listed:
            pods.append(Pod("kube-system", "kube-dns", {"k8s-app": "kube-dns"}, listed, ports))
        return pods

    # What is watched

    async def _watch(self) -> None:
        """Other nodes' pods and namespaces are known from here on."""
        if self._others is None:
            self._others = self._further()
            for source, handler in zip(self._others, (self._remote_changed, self._namespace_changed), strict=True):
                self._watches.append(asyncio.create_task(source.run(), name="policies' objects"))
                source.on_change(handler)
        await asyncio.gather(*(source.synced() for source in self._others))

    async def _stop_watching(self) -> None:
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        self._watches, self._others = [], None

    def _policy_changed(self, old: Obj | None, new: Obj | None) -> None:
        from hawser.node.network.policy.model import policy

        obj = new or old or {}
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if new is None:
            self._compiled.pop(key, None)
        elif old is None or key not in self._compiled or old.get("spec") != new.get("spec"):
            try:
                self._compiled[key] = policy(new)
            except (APIError, ValueError, KeyError, TypeError) as error:
                log.error("NetworkPolicy %s/%s is not understood: %r", *key, error)
                self._report(f"NetworkPolicy {key[0]}/{key[1]} is not understood: {error}")
                self._compiled[key] = None
        else:
            return
        self._wake.set()

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if self._compiled and _labels(old) != _labels(new):
            self._wake.set()

    def _remote_changed(self, old: Obj | None, new: Obj | None) -> None:
        from hawser.node.network.policy.model import remote_pod

        if (remote_pod(old) if old else None) != (remote_pod(new) if new else None):
            self._wake.set()

    def _namespace_changed(self, old: Obj | None, new: Obj | None) -> None:
        if _labels(old) != _labels(new):
            self._wake.set()


def _unexpected(error: Exception) -> Exception | None:
    return None if isinstance(error, NftError) else error


def _not_covered(why: str) -> CNIError:
    return CNIError(Code.TRY_AGAIN, "the pod's network policies are not in force", why)


def _labels(obj: Obj | None) -> object:
    return None if obj is None else (obj["metadata"].get("uid"), obj["metadata"].get("labels"))

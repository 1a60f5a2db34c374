"""Leader election: of several equal programs one works at a time, the holder of a Lease.

Source: Kubernetes documentation, "Leases"; API reference, Lease; the rules are client-go's ``leaderelection``, so that
its programs and ours may compete for one Lease. A holder that cannot renew stops before others may take over; clocks
of machines need not agree, since everybody measures on their own how long a Lease has not changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from hawser.api.errors import APIError
from hawser.api.kinds import LEASE
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import Clock, SystemClock, micro_timestamp
from hawser.client.events import EventRecorder

log = logging.getLogger(__name__)

_JITTER = 1.2


class LeadershipLost(Exception):
    """The Lease could not be renewed in time: somebody else may lead by now."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. duration: others wait for so long after the last renewal. deadline: the holder gives up after so long
    without one. retry: between tries."""

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0

    def wrong(self) -> str:
        """Why these do not go together, or ""."""
        if not 0 < self.deadline < self.duration:
            return "the lease duration must be greater than the renew deadline"
        if not 0 < self.retry * _JITTER < self.deadline:
            return f"the renew deadline must be greater than the retry period times {_JITTER}"
        return ""


class Elector:
    """One candidate for one Lease.

    identity: unique among the candidates; made up unless given. recorder: tells who leads in events of the Lease.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        *,
        timing: Timing | None = None,
        identity: str = "",
        recorder: EventRecorder | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.identity = identity or f"{socket.gethostname()}_{uuid.uuid4()}"
        self.name = name
        self._client = client
        self._namespace = namespace
        self._timing = timing or Timing()
        self._recorder = recorder
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._lease: Obj | None = None
        self._seen: object = None
        self._seen_at = 0.0

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Waits until this candidate leads; the body runs as long as it does, and the Lease is let go of afterwards.

        The body is cancelled, and LeadershipLost raised, when the Lease cannot be renewed.
        """
        await self._acquire()
        body = asyncio.current_task()
        assert body is not None
        renewing = asyncio.create_task(self._renew(), name=f"leader of {self.name}")
        lost = False

        def end(task: asyncio.Task[None]) -> None:
            nonlocal lost
            if not task.cancelled():
                lost = True
                body.cancel()

        renewing.add_done_callback(end)
        try:
            yield
        except asyncio.CancelledError:
            if not lost:
                raise
            body.uncancel()
            raise LeadershipLost(f"leader election of {self._namespace}/{self.name} is lost") from None
        finally:
            renewing.remove_done_callback(end)
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if not lost:
                await self._release()
                await self._say("stopped leading")

    async def _acquire(self) -> None:
        while not await self._try(self._timing.deadline):
            retry = self._timing.retry
            await self._clock.sleep(retry * (1 + _JITTER * self._jitter()))
        log.info("%s leads by %s/%s", self.identity, self._namespace, self.name)
        await self._say("became leader")

    async def _renew(self) -> None:
        """Ends when it has failed for too long."""
        end = self._clock.monotonic() + self._timing.deadline
        while True:
            await self._clock.sleep(self._timing.retry)
            started = self._clock.monotonic()
            if await self._try(max(end - started, self._timing.retry)):
                end = started + self._timing.deadline
            elif self._clock.monotonic() >= end or not self._holds():
                return

    async def _try(self, seconds: float) -> bool:
        """Takes or renews the Lease; False when somebody else has it, or nobody answers in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._take()
        except (APIError, TimeoutError) as error:
            if isinstance(error, APIError) and error.code in (404, 409):
                return False
            log.warning("lease %s/%s: %s", self._namespace, self.name, error)
            return False

    async def _take(self) -> bool:
        try:
            found = await self._client.get(LEASE, self.name, self._namespace)
        except APIError as error:
            if error.code != 404:
                raise
            made = {"name": self.name, "namespace": self._namespace}
            body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": made, "spec": self._spec({})}
            self._observe(await self._client.create(LEASE, body))
            return True
        self._observe(found)
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder and holder != self.identity:
            # How long is the holder's own word; it is measured from when we have seen the Lease change.
            duration = float(spec.get("leaseDurationSeconds") or self._timing.duration)
            if self._clock.monotonic() < self._seen_at + duration:
                return False
        self._observe(await self._client.update(LEASE, {**found, "spec": self._spec(spec)}))
        return True

    def _observe(self, lease: Obj) -> None:
        self._lease = lease
        if lease.get("spec") != self._seen:
            self._seen, self._seen_at = lease.get("spec"), self._clock.monotonic()

    def _holds(self) -> bool:
        lease = self._lease or {}
        return (lease.get("spec") or {}).get("holderIdentity") == self.identity

    def _spec(self, before: Obj) -> Obj:
        now = micro_timestamp(self._clock.now())
        mine = before.get("holderIdentity") == self.identity
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            **before,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._timing.duration)),
            "acquireTime": before.get("acquireTime") or now if mine else now,
            "renewTime": now,
            "leaseTransitions": transitions if mine or not before else transitions + 1,
        }

    async def _release(self) -> None:
        """Others need not wait: nobody holds it any more."""
        now = micro_timestamp(self._clock.now())
        try:
            async with asyncio.timeout(self._timing.deadline):
                # A renewal that was cut short may be written all the same, before or after we have looked.
                while not await self._let_go(now):
                    pass
        except (APIError, TimeoutError) as error:
            log.warning("lease %s/%s is not let go of: %s", self._namespace, self.name, error)

    async def _let_go(self, now: str) -> bool:
        """False when the Lease was written meanwhile."""
        self._lease = await self._client.get(LEASE, self.name, self._namespace)
        if not self._holds():
            return True
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}
        try:
            await self._client.update(LEASE, {**self._lease, "spec": spec})
        except APIError as error:
            if error.code != 409:
                raise
            return False
        return True

    async def _say(self, what: str) -> None:
        if self._recorder is not None and self._lease is not None:
            lease = {**self._lease, "apiVersion": LEASE.api_version, "kind": LEASE.kind}
            self._recorder.event(lease, "Normal", "LeaderElection", f"{self.identity} {what}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.retry):
                    await self._recorder.flush()

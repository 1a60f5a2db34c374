"""Leader election: one candidate leads, another takes over when it ends, dies or cannot be heard."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, EVENT, LEASE, NAMESPACE, Kind
from hawser.client.client import Client
from hawser.client.leaderelection import Elector, LeadershipLost, Timing
from hawser.controllers import leader_flags
from hawser.controllers.manager import arguments

# Leases last longer than any test: no machine is so slow that one is lost by time alone.
LONG = Timing(duration=3600, deadline=60, retry=0.1)
_FLAGS = ("--leader-elect-lease-duration=3600s", "--leader-elect-renew-deadline=60s")
_FLAGS = (*_FLAGS, "--leader-elect-retry-period=100ms", "--leader-elect")


@pytest.fixture
async def client(api_server: Any) -> Any:
    async with Client.from_kubeconfig(api_server.kubeconfig) as made:
        yield made


async def holder(client: Client, name: str) -> str:
    try:
        found = await client.get(LEASE, name, "kube-system")
    except APIError:
        return ""
    return str(found["spec"]["holderIdentity"])


async def runs_out(client: Client, name: str) -> None:
    """The holder's time is over in a second: how long a Lease lasts is its own word."""
    await client.patch(LEASE, name, "kube-system", {"spec": {"leaseDurationSeconds": 1}})


async def test_the_lease_goes_to_the_next_as_soon_as_it_is_let_go_of(client: Client) -> None:
    order: list[str] = []

    async def candidate(name: str, seconds: float) -> None:
        # Only letting go of it makes way for the other.
        async with Elector(client, "kube-system", "one", timing=LONG, identity=name).leading():
            order.append(f"{name} leads")
            assert await holder(client, "one") == name
            await asyncio.sleep(seconds)
            order.append(f"{name} ends")

    async with asyncio.timeout(240), asyncio.TaskGroup() as tasks:
        for name in "ab":
            tasks.create_task(candidate(name, 0.3))
    first, second = order[0][0], order[2][0]
    assert order == [f"{first} leads", f"{first} ends", f"{second} leads", f"{second} ends"]
    spec = (await client.get(LEASE, "one", "kube-system"))["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("", 1, 1)


class Unheard(Client):
    """Its requests get no answer while ``mute`` is set."""

    mute = False

    async def raw(self, *args: Any, **kwargs: Any) -> bytes:
        if self.mute:
            await asyncio.get_running_loop().create_future()
        return await super().raw(*args, **kwargs)


async def test_who_is_not_heard_stops_before_others_start(api_server: Any, client: Client) -> None:
    stopped = asyncio.Event()
    cut_off = Unheard.from_kubeconfig(api_server.kubeconfig)
    try:

        async def lead() -> None:
            timing = Timing(duration=3600, deadline=1, retry=0.1)
            async with Elector(cut_off, "kube-system", "two", timing=timing).leading():
                try:
                    cut_off.mute = True
                    await asyncio.get_running_loop().create_future()
                finally:
                    stopped.set()

        async with asyncio.timeout(240):
            with pytest.raises(LeadershipLost):
                await lead()
            assert stopped.is_set()
            # The Lease is still its own, and others wait for the end of it.
            assert await holder(client, "two")
            await runs_out(client, "two")
            async with Elector(client, "kube-system", "two", timing=LONG).leading():
                pass
    finally:
        await cut_off.close()


class Late(Client):
    """What it has written last arrives once more, just before the Lease is let go of."""

    arrived = False

    async def update(self, kind: Kind, obj: Any, *args: Any, **kwargs: Any) -> Any:
        if not obj["spec"]["holderIdentity"] and not self.arrived:
            self.arrived = True
            renewal = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
            await self.patch(kind, obj["metadata"]["name"], obj["metadata"]["namespace"], renewal)
        return await super().update(kind, obj, *args, **kwargs)


async def test_a_renewal_that_arrives_late_does_not_keep_the_lease(api_server: Any) -> None:
    async with Late.from_kubeconfig(api_server.kubeconfig) as late, asyncio.timeout(240):
        async with Elector(late, "kube-system", "late", timing=LONG, identity="me").leading():
            pass
        assert late.arrived
        assert await holder(late, "late") == ""


async def test_another_who_takes_the_lease_ends_the_reign(client: Client) -> None:
    async def lead() -> None:
        async with Elector(client, "kube-system", "three", timing=LONG, identity="me").leading():
            await asyncio.get_running_loop().create_future()

    async with asyncio.timeout(240):
        task = asyncio.create_task(lead())
        while await holder(client, "three") != "me":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await client.patch(LEASE, "three", "kube-system", {"spec": {"holderIdentity": "usurper"}})
        with pytest.raises(LeadershipLost, match="kube-system/three is lost"):
            await task
    assert await holder(client, "three") == "usurper"


@pytest.mark.parametrize(
    ("timing", "wrong"),
    [
        (Timing(), ""),
        (Timing(duration=5, deadline=5, retry=1), "lease duration must be greater"),
        (Timing(duration=5, deadline=2, retry=1.9), "renew deadline must be greater"),
    ],
)
def test_periods_have_to_fit(timing: Timing, wrong: str) -> None:
    assert wrong in timing.wrong()
    assert bool(timing.wrong()) == bool(wrong)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("*", {"kube-controller-manager": 3, "kube-scheduler": 1}),
        ("scheduler", {"kube-scheduler": 1}),
        ("scheduler --leader-elect-resource-name=x", {"x": 1}),
        ("-scheduler --leader-elect-resource-name=x", {"x": 3}),
    ],
)
def test_controllers_and_scheduler_have_leases_of_their_own(flags: str, wanted: dict[str, int]) -> None:
    options = arguments([f"--controllers={flags.split()[0]}", *flags.split()[1:]])
    found = leader_flags.leases(options.chosen, vars(options))
    assert {name: min(len(controllers), 3) for name, controllers in found.items()} == wanted


class Pair:
    """Two processes that compete."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        flags = ("--controllers=root-ca-cert-publisher,scheduler", "--secure-port=0", *_FLAGS)
        command = [sys.executable, "-m", "hawser.controllers", "--kubeconfig", str(kubeconfig), *flags]
        self.processes: list[subprocess.Popen[bytes]] = []
        for number in range(2):
            with (folder / f"{number}.log").open("wb") as log:
                self.processes.append(subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL))


@pytest.fixture
def pair(api_server: Any, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(api_server.kubeconfig, tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


async def test_when_a_leader_is_killed_the_other_process_works_on(client: Client, pair: Pair, tmp_path: Path) -> None:
    async def published(namespace: str) -> bool:
        return bool((await client.list(CONFIG_MAP, namespace)).items)

    async def until(namespace: str) -> None:
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        while not await published(namespace):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async with asyncio.timeout(240):
        await until("before")
        first = await holder(client, "kube-controller-manager")
        logs = [(tmp_path / f"{number}.log").read_text() for number in range(2)]
        (leader,) = [number for number, text in enumerate(logs) if f"{first} leads" in text]
        pair.processes[leader].send_signal(signal.SIGKILL)
        for lease in ("kube-controller-manager", "kube-scheduler"):
            if await holder(client, lease) == first:
                await runs_out(client, lease)
        await until("after")
        assert await holder(client, "kube-controller-manager") != first
        other = pair.processes[1 - leader]
        other.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(other.wait, 60) == 0
        assert await holder(client, "kube-controller-manager") == ""
        told = {e["message"].partition(" ")[2] for e in (await client.list(EVENT, "kube-system")).items}
        assert told >= {"became leader", "stopped leading"}

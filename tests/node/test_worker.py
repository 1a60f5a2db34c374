"""What a pod's worker decides without a runtime: when tokens are renewed, who is to blame for a failed start."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Sandbox
from hawser.node.pod.context import Context, ProbeSink
from hawser.node.pod.observed import Memory
from hawser.node.pod.records import Records
from hawser.node.pod.starter import Starter
from hawser.node.pod.worker import Worker


def worker(renewal: float | None, refreshed_at: float = 0.0, **metadata: Any) -> Worker:
    pod = {"metadata": {"name": "p", "uid": "u", **metadata}, "spec": {"containers": [{"name": "c"}]}}
    context = SimpleNamespace(runtime=None, client=None, book=None, objects=SimpleNamespace(renewal=lambda _: renewal))
    made = Worker(cast(Context, context), pod, lambda _: None, fresh=True)
    made._volumes._refreshed_at = refreshed_at
    return made


@pytest.mark.parametrize(
    ("title", "renewal", "refreshed_at", "due"),
    [
        ("nothing to renew", None, 0, False),
        ("not yet", 1001, 0, False),
        ("now", 1000, 0, True),
        ("tried a moment ago, in vain", 900, 990, False),
        ("tried a minute ago, in vain", 900, 940, True),
    ],
)
async def test_tokens_are_renewed_in_time(title: str, renewal: float | None, refreshed_at: float, due: bool) -> None:
    one = worker(renewal, refreshed_at)
    one._volumes._renew_tokens(one.pod, 1000)
    assert one._volumes.stale is due
    assert (one._jobs.timed) is (renewal is not None and not due)
    one.close()


async def test_a_pod_that_ends_renews_nothing() -> None:
    one = worker(900, deletionTimestamp="2026-01-01T00:00:00Z")
    one._volumes._renew_tokens(one.pod, 1000)
    assert not one._volumes.stale
    await asyncio.sleep(0)


class Failing:
    """A runtime in which the only container of a pod cannot start; the pod is over once that is known, and stopped."""

    def __init__(self, dies: bool) -> None:
        self._ready = not dies
        self.removed: list[str] = []

    async def start_container(self, container_id: str) -> None:
        raise CRIError("no such program")

    async def pod_sandbox_status(self, sandbox_id: str) -> Sandbox:
        return Sandbox(sandbox_id, "p", "default", "u", 0, self._ready, 0.0)

    async def container_status(self, container_id: str, sandbox_id: str) -> Any:
        self._ready = False
        return SimpleNamespace(id=container_id, sandbox_id=sandbox_id)

    async def remove_container(self, container_id: str) -> None:
        self.removed.append(container_id)


@pytest.mark.parametrize("dies", [False, True])
async def test_a_sandbox_that_ends_with_its_pod_is_not_to_blame_for_a_container(dies: bool) -> None:
    runtime: Any = Failing(dies)
    records = Records(runtime, "u")
    context = cast(Context, SimpleNamespace(runtime=runtime))
    starter = Starter(context, Memory(), records, cast(ProbeSink, None))
    with pytest.raises(Exception, match="^$" if dies else "no such program"):
        await starter._run("c", "container", "sandbox")
    assert (runtime.removed, [*records.containers]) == ((["container"], []) if dies else ([], ["container"]))

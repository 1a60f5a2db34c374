"""What a pod's worker decides without a runtime: when tokens are renewed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hawser.node.pod.context import Context
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

"""Probes that the runtime cannot run say nothing about a container."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hawser.client.events import EventRecorder
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, DeadlineExceeded, Unavailable
from hawser.node.cri.model import Container, ExecResult
from hawser.node.metrics.counters import Counters
from hawser.node.pod.context import ProbeSink
from hawser.node.probes.runner import Probes


class Node:
    """A runtime whose exec ends as told, and who hears of it."""

    def __init__(self, outcome: Exception | int) -> None:
        self.outcome = outcome
        self.verdicts: list[tuple[str, bool]] = []
        self.events: list[str] = []
        self.asked = asyncio.Event()

    async def exec_sync(self, container_id: str, command: list[str], seconds: int) -> ExecResult:
        self.asked.set()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return ExecResult(b"", b"", self.outcome)

    def probed(self, container_id: str, kind: str, ok: bool, message: str) -> None:
        self.verdicts.append((kind, ok))

    def event(self, obj: Any, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.events.append(message)


@pytest.mark.parametrize(
    ("outcome", "verdicts", "said"),
    [
        (1, [("liveness", False)], ["Liveness probe failed: "]),
        (DeadlineExceeded("late"), [("liveness", False)], ['Liveness probe failed: command "x" timed out']),
        (Unavailable("gone"), [], []),
        (
            CRIError("no such file"),
            [],
            ["Liveness probe errored and resulted in unknown state: rpc error: code = Unknown desc = no such file"],
        ),
    ],
)
async def test_only_the_containers_own_failures_count(
    outcome: Exception | int, verdicts: list[Any], said: list[str]
) -> None:
    node: Any = Node(outcome)
    probes = Probes(cast(Runtime, node), cast(EventRecorder, node), Counters())
    spec = {"name": "c", "livenessProbe": {"exec": {"command": ["x"]}, "failureThreshold": 1}}
    pod = {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [spec]}}
    probes.watch(cast(ProbeSink, node), pod, spec, cast(Container, SimpleNamespace(id="c0")), "")
    await node.asked.wait()
    await asyncio.sleep(0)
    assert (node.verdicts, node.events) == (verdicts, said)
    probes.close()

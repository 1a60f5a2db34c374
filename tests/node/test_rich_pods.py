"""The node agent and its rich pods: lxcfs runs while there are some, and nothing of it before."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hawser.api.types import Obj
from hawser.node.rich import HANDLER, RichPods

pytestmark = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("lxcfs"), reason="needs root and lxcfs")


class Recorder:
    """Notes events."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def event(self, obj: Obj, kind: str, reason: str, message: str, **_: Any) -> None:
        self.told.append((reason, message))


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[RichPods]:
    pods = RichPods(tmp_path / "view", tmp_path / "lib", Recorder())  # type: ignore[arg-type]
    yield pods
    for _ in range(4):
        pods.listed(False)
        await settled(pods)
    await pods.close()


def pod(**annotations: str) -> Obj:
    rich = {f"rich.hawser.dev/{name}": value for name, value in annotations.items()}
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u", "annotations": rich}, "spec": {}}


async def settled(pods: RichPods) -> None:
    if pods._task is not None:
        await asyncio.wait({pods._task})


def serves(home: Path) -> bool:
    return (home / "offers").exists()


async def test_other_pods_start_nothing(pods: RichPods, tmp_path: Path) -> None:
    await pods.prepare(pod(), "")
    await pods.prepare(pod(), "kata")
    pods.started("kata")
    pods.listed(False)
    assert not (tmp_path / "view").exists()


async def test_a_pod_that_wants_the_nodes_view_gets_libraries_alone(pods: RichPods, tmp_path: Path) -> None:
    await pods.prepare(pod(view="host"), HANDLER)
    assert {path.suffix for path in (tmp_path / "view/lib").iterdir()} == {".so"}
    assert not serves(tmp_path / "view")


async def test_lxcfs_ends_when_no_rich_pod_was_there_for_a_while(pods: RichPods, tmp_path: Path) -> None:
    await pods.prepare(pod(), HANDLER)
    assert serves(tmp_path / "view")
    for rich in (False, False, True, False, False):
        pods.listed(rich)
    await settled(pods)
    assert serves(tmp_path / "view")
    pods.listed(False)
    await settled(pods)
    assert not serves(tmp_path / "view")
    await pods.prepare(pod(), HANDLER)
    assert serves(tmp_path / "view")


async def test_the_next_agent_ends_what_an_earlier_one_left(pods: RichPods, tmp_path: Path) -> None:
    await pods.prepare(pod(), HANDLER)
    await pods.close()
    following = RichPods(tmp_path / "view", tmp_path / "lib", Recorder())  # type: ignore[arg-type]
    for _ in range(4):
        following.listed(False)
        await settled(following)
    assert not serves(tmp_path / "view")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    await following.close()


async def test_a_node_without_lxcfs_tells_each_pod(pods: RichPods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    await pods.prepare(pod(), HANDLER)
    [(reason, message)] = pods._recorder.told  # type: ignore[attr-defined]
    assert reason == "HostView"
    assert message.endswith("not their own limits: lxcfs is not installed on this node")

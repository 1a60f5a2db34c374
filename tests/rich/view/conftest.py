"""Containers of the wrapper, as the runtime's own tests have them, on a node with a view."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.runtime.conftest import containers, debian, spec

from hawser.node.volumes import mounts
from hawser.rich.view.manager import Manager

NOEXEC = 8  # mount(2)
__all__ = ["containers", "debian", "spec"]


@pytest.fixture
async def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Manager]:
    """A node's view, which hawser-runtime knows, where nothing can be executed as in many a /run."""
    run = tmp_path / "run"
    run.mkdir()
    mounts.mount("tmpfs", run, "tmpfs", NOEXEC, "mode=755")
    manager = Manager(run / "view", tmp_path / "libraries")
    monkeypatch.setenv("HAWSER_VIEW", str(manager.home))
    yield manager
    await manager.retire()
    mounts.unmount(run)

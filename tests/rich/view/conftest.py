"""Containers of the wrapper, as the runtime's own tests have them, on a node with a view."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.runtime.conftest import containers, debian, spec

from hawser.rich.view.manager import Manager

__all__ = ["containers", "debian", "spec"]


@pytest.fixture
async def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Manager]:
    """A node's view, which hawser-runtime knows; lxcfs ends with the test."""
    manager = Manager(tmp_path / "view")
    monkeypatch.setenv("HAWSER_VIEW", str(manager.home))
    yield manager
    await manager.retire()

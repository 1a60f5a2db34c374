"""Fixtures of the node agent's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import private_containerd
from .private_containerd import Containerd


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """One private containerd for the whole run, with the test images."""
    if not private_containerd.available():
        pytest.skip("needs root, containerd, runc, ctr and a static busybox")
    folder = Path(tmp_path_factory.mktemp("cd"))
    with private_containerd.running(folder) as daemon:
        yield daemon

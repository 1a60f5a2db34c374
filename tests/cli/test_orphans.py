"""What engines left whose data directory is gone: found by the note in their run directory, removed, told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawser.cli.engine import nodes, orphans, settings
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.settings import Settings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it is root whose engines leave something")


@pytest.fixture
def noted(tmp_path: Path) -> Iterator[Settings]:
    """An engine that has a run directory with its note, and nothing else."""
    data_dir = tmp_path / "data"
    engine = Settings(
        data_dir=data_dir,
        instance=settings.instance_id(data_dir),
        listen="127.0.0.1:1",
        kubelet_listen="127.0.0.1:2",
        node_name="n",
        pod_cidr="10.251.0.0/24",
        service_cidr="10.252.0.0/24",
    )
    data_dir.mkdir()
    (data_dir / "config.json").touch()
    engine.run_dir.mkdir(parents=True)
    nodes.note(engine, [Node("n", 1)])
    yield engine
    (engine.run_dir / nodes.NOTE).unlink(missing_ok=True)
    if engine.run_dir.exists():
        engine.run_dir.rmdir()


def test_what_has_its_data_is_left_alone(noted: Settings, tmp_path: Path) -> None:
    assert not [line for line in orphans.sweep(tmp_path / "other") if str(noted.data_dir) in line]
    assert (noted.run_dir / nodes.NOTE).exists()


def test_what_has_no_data_is_removed_and_told(noted: Settings, tmp_path: Path) -> None:
    (noted.data_dir / "config.json").unlink()
    told = orphans.sweep(tmp_path / "other")
    assert f"What an engine in {noted.data_dir} had left on this machine is removed" in told
    assert not noted.run_dir.exists()

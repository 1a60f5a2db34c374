"""Copies of a running server's store, and ``hawser db``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hawser.cli import context
from hawser.cli.engine import choices, settings
from hawser.cli.main import build
from hawser.store import copies


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    """An engine's directory; nothing runs."""
    monkeypatch.setattr(choices, "_REGISTER", tmp_path / "engines.json")
    return choices.create(tmp_path / "engine")


def hawser(*arguments: Any) -> Any:
    return CliRunner().invoke(build(["db"]), ["db", *map(str, arguments)])


async def test_a_running_server_gives_a_sound_copy_to_administrators_only(api: Any, tmp_path: Path) -> None:
    await api.config_map("a", data={"k": "v"})
    answer = await api.get("/hawser/backup")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/vnd.sqlite3")
    path = tmp_path / "copy.db"
    path.write_bytes(answer.body)
    found = copies.examine(path)
    assert found.problems == []
    assert str(found.revision) == answer.headers["X-Hawser-Revision"]
    assert found.objects > 1
    assert (await api.get("/hawser/backup", token="joe-token")).status == 403
    assert (await api.get("/hawser/backup", token=None)).status in (401, 403)
    assert not list((api.server.folder / "data").glob(".backup-*"))


async def test_an_engine_goes_back_to_its_backup(
    own_server: Any, engine: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_server.folder / "data").symlink_to(engine.data_dir / "store")
    (engine.data_dir / "store").mkdir(exist_ok=True)
    own_server.start()
    kubeconfig = engine.kubeconfig("admin")
    kubeconfig.parent.mkdir(exist_ok=True)
    kubeconfig.write_bytes(own_server.kubeconfig.read_bytes())
    backup = tmp_path / "backup.db"
    place = ("--data-dir", engine.data_dir, "-o", "json")
    with monkeypatch.context() as patch:
        patch.setattr(context, "supervisor_pid", lambda engine: 1)
        done = await asyncio.to_thread(hawser, "backup", backup, *place)
        assert done.exit_code == 0, done.output
        made = json.loads(done.stdout)
        assert (made["online"], made["objects"] > 0) == (True, True)
        assert backup.stat().st_mode & 0o777 == 0o600
        refused = await asyncio.to_thread(hawser, "restore", backup, *place)
        assert (refused.exit_code, "runs" in refused.output) == (1, True)
    # Nothing says that this one runs, but its file is locked.
    assert hawser("restore", backup, *place).exit_code == 1
    assert own_server.stop() == 0
    done = hawser("restore", backup, *place)
    assert done.exit_code == 0, done.output
    restored = json.loads(done.stdout)
    assert restored["revision"] > made["revision"]
    assert Path(restored["kept"]).exists()
    own_server.start()
    done = hawser("check", *place)
    assert (done.exit_code, "in use" in done.output) == (1, True)
    assert own_server.stop() == 0
    checked = json.loads(hawser("check", *place).stdout)
    assert (checked["sound"], checked["revision"] >= restored["revision"]) == (True, True)
    assert hawser("compact", *place).exit_code == 0


def test_a_damaged_backup_is_not_restored(engine: settings.Settings, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    backup.write_text("nothing of the kind" * 300)
    assert hawser("check", backup).exit_code == 4
    done = hawser("restore", backup, "--data-dir", engine.data_dir)
    assert (done.exit_code, "damaged" in done.output) == (4, True)
    assert not (engine.data_dir / "store" / "hawser.db").exists()


def test_a_backup_does_not_write_over_a_file(engine: settings.Settings, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    backup.write_text("precious")
    done = hawser("backup", backup, "--data-dir", engine.data_dir)
    assert (done.exit_code, backup.read_text()) == (1, "precious")

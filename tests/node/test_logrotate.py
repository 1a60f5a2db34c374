"""Logs are renamed when they are long, and only so many are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from hawser.node import logrotate
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import Unavailable

SHORT = logrotate.Sizes(4)


class Writer:
    """A runtime that opens a container's log anew, or is away."""

    def __init__(self, path: Path, *, away: bool = False) -> None:
        self.path, self.away = path, away

    async def reopen_container_log(self, container_id: str) -> None:
        if self.away:
            raise Unavailable("away")
        self.path.touch()

    @property
    def runtime(self) -> Runtime:
        return cast(Runtime, cast(Any, self))


async def test_a_short_log_stays(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("123")
    assert not await logrotate.rotate(Writer(path).runtime, "c", path, SHORT)
    assert not await logrotate.rotate(Writer(path).runtime, "c", tmp_path / "none.log", SHORT)
    assert path.read_text() == "123"


async def test_five_files_are_kept_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for text in "abcdefg":
        path.write_text(text * 4)
        assert await logrotate.rotate(Writer(path).runtime, "c", path, SHORT)
    assert path.read_text() == ""
    assert [p.read_text()[0] for p in sorted(tmp_path.glob("0.log.*"))] == ["d", "e", "f", "g"]


async def test_a_log_keeps_its_name_when_the_runtime_is_away(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("1234")
    with pytest.raises(Unavailable):
        await logrotate.rotate(Writer(path, away=True).runtime, "c", path, SHORT)
    assert [p.name for p in tmp_path.iterdir()] == ["0.log"]


def test_logs_of_instances_that_are_gone_go(tmp_path: Path) -> None:
    for name in ("0.log", "1.log", "1.log.20260101-000000.0", "2.log", "10.log", "11.log"):
        (tmp_path / name).touch()
    logrotate.forget(tmp_path, {"2.log", "11.log"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10.log", "11.log", "2.log"]
    logrotate.forget(tmp_path, set())
    assert len(list(tmp_path.iterdir())) == 3

"""What was acknowledged is there after SIGKILL."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from hawser.store.sqlite import SqliteStore

WRITER = Path(__file__).with_name("crash_writer.py")


def write_until_killed(path: Path, writes: int) -> list[bytes]:
    """The lines of writes that were acknowledged before the kill, at least so many."""
    with subprocess.Popen([sys.executable, WRITER, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(writes)]
        process.kill()
        # What was acknowledged between the last line read and the kill is in the pipe; the last line may be torn.
        return lines + [line for line in process.stdout if line.endswith(b"\n")]


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_acknowledged_write_survives_a_kill(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(seed)
    newest = 0
    for _ in range(4):
        acknowledged: dict[str, tuple[int, bytes]] = {}
        for line in write_until_killed(path, chance.randrange(1, 3000)):
            key, number, final = line.split()
            assert int(number) > newest, "revisions are never used twice"
            acknowledged[key.decode()] = (int(number), final)
        newest = max(revision for revision, _ in acknowledged.values())

        store = SqliteStore.open(path, check=True)
        assert store.revision >= newest
        for name, (revision, value) in acknowledged.items():
            record = store.get(name)
            if record is None:
                # The deletion itself, or one after it that was not acknowledged any more.
                assert value == b"-" or store.revision > revision
            else:
                assert record.revision >= revision
                assert record.revision > revision or record.value == value
        newest = store.revision
        await store.close()

"""Images of musl have no file of preloaded libraries: what runs in them, now or later, gets a variable."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Container, Containers

from hawser.rich.view.manager import Manager

TELL = """
#include <stdio.h>
#include <unistd.h>
int main(int count, char **words)
{
	printf("%ld\\n", sysconf(_SC_NPROCESSORS_ONLN));
	fflush(stdout);
	return count == 1 && words[0] ? sleep(1000) : 0;
}
"""
LIMITED = {"memory": {"limit": 300 << 20}, "cpu": {"quota": 100_000, "period": 100_000}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """busybox, musl, and a program that asks musl for the processors."""
    root = tmp_path / "root"
    for name in ("bin", "lib", "etc", "proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(parents=True)
    for applet in ("busybox", "sh", "sleep", "timeout", "env", "kill", "rm", "wc", "date", "cat", "mkdir", "chmod"):
        shutil.copy("/bin/busybox", root / "bin" / applet)
    (root / "sbin").mkdir()
    (root / "sbin/init").symlink_to("/bin/busybox")
    loader = next(Path("/lib").glob("ld-musl-*.so.1"))
    shutil.copy(loader.resolve(), root / "lib" / loader.name)
    (tmp_path / "tell.c").write_text(TELL)
    subprocess.run(["musl-gcc", "-o", root / "bin/tell", tmp_path / "tell.c"], check=True)
    return root


def executed(container: Container, spec: dict[str, Any], folder: Path, *words: str) -> str:
    """What a command prints that is executed as containerd's shims do it: with a file for the process."""
    process = {**spec["process"], "args": list(words), "terminal": False}
    path = folder / "process.json"
    path.write_text(json.dumps(process, separators=(",", ":")))
    command = container.command("exec", "--process", str(path), container.name)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("init", ["minimal", "init"])
async def test_musl_programs_see_their_processors(
    manager: Manager, containers: Containers, root: Path, spec: dict[str, Any], tmp_path: Path, init: str
) -> None:
    assert await manager.ensure() == ""
    spec["annotations"]["rich.hawser.dev/init"] = init
    spec["process"]["args"] = ["/bin/tell"]
    spec["linux"]["resources"] |= LIMITED
    asked = json.loads(json.dumps(spec))
    container = containers.make(root, spec)
    await asyncio.to_thread(container.start)
    await asyncio.to_thread(container.until_output, "1\n")
    assert await asyncio.to_thread(executed, container, asked, tmp_path, "/bin/tell", "once") == "1\n"
    assert not (container.upper / "etc/ld.so.preload").exists()

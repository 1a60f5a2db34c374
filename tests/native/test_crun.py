"""What executes crun: it need not copy itself, and what it runs in containers has the score that they were given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hawser.cli.engine import crun

# What a file system is mounted with, and how the program was told that it need not copy itself.
_TELLS = """
import os, sys
print(sys.argv[1:], os.environ.get("_LIBCONTAINER_CLONED_BINARY"), os.environ.get("MARK"))
print(bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY), os.path.exists("/sys/fs/cgroup/unified/cgroup.procs"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.usefixtures("compiled")
def test_it_is_executed_from_a_read_only_mount_and_need_not_copy_itself(tmp_path: Path) -> None:
    python = str(Path("/usr/bin/python3").resolve())
    made = crun.provide(tmp_path / "crun", python, hybrid=False)
    environment = {"MARK": "kept"}
    ran = subprocess.run([made, "-c", _TELLS, "a b"], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[0] == "['a b'] 1 kept"
    assert ran.stdout.splitlines()[1].startswith("True ")
    hybrid = crun.provide(tmp_path / "crun", python, hybrid=True)
    if Path("/sys/fs/cgroup/unified/cgroup.procs").exists():
        ran = subprocess.run([hybrid, "-c", _TELLS], env=environment, capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines()[1] == "True False"
        assert Path("/sys/fs/cgroup/unified/cgroup.procs").exists()


@pytest.mark.usefixtures("compiled")
def test_what_is_executed_in_a_container_has_its_score(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("#!/bin/sh\ncat /proc/self/oom_score_adj\n")
    real.chmod(0o755)
    made = crun.provide(tmp_path / "crun", str(real), hybrid=False)
    own = Path("/proc/self/oom_score_adj").read_text().strip()
    process = tmp_path / "process.json"
    for text, score in (('{"cwd":"/","oomScoreAdj":987,"user":{}}', "987"), ('{"cwd":"/"}', own)):
        process.write_text(text)
        for words, wanted in ((["exec", "--process", process, "id"], score), (["state", "--process", process], own)):
            ran = subprocess.run([made, "--root", "/r", *words], capture_output=True, text=True, check=True)
            assert ran.stdout.strip() == wanted

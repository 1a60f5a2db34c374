"""The preloaded library: what programs ask their C library agrees with the files that they could read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hawser.rich.view import library

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="mounts files of its own")

TELL = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>
static void *idle(void *arg) { pause(); return arg; }
int main(int argc, char **argv)
{
	cpu_set_t set;
	struct sysinfo info;
	pthread_t other;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	errno = 77;
	printf("online %ld conf %ld\n", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
	printf("errno %d\n", errno);
	printf("nprocs %d %d\n", get_nprocs(), get_nprocs_conf());
	printf("affinity %d", sched_getaffinity(0, sizeof set, &set));
	printf(" %d", CPU_COUNT(&set));
	pthread_getaffinity_np(pthread_self(), sizeof set, &set);
	printf(" %d", CPU_COUNT(&set));
	pthread_create(&other, 0, idle, 0);
	pthread_getaffinity_np(other, sizeof set, &set);
	printf(" %d\n", CPU_COUNT(&set));
	printf("small %d", sched_getaffinity(0, 1, &set));
	printf(" %d\n", errno == EINVAL);
	printf("cpu %d\n", sched_getcpu());
	printf("pages %ld %ld %ld\n", sysconf(_SC_PHYS_PAGES), sysconf(_SC_AVPHYS_PAGES), sysconf(_SC_PAGESIZE));
	sysinfo(&info);
	printf("sysinfo %lu %lu", info.totalram * info.mem_unit, info.freeram * info.mem_unit);
	printf(" %lu %lu\n", info.totalswap * info.mem_unit, info.sharedram * info.mem_unit);
	printf("load %.2f %.2f", info.loads[0] / 65536., info.loads[2] / 65536.);
	printf(" procs %d uptime %ld\n", info.procs, info.uptime);
	printf("others %ld %ld\n", sysconf(_SC_CLK_TCK), sysconf(-1));
	while (maps && fgets(line, sizeof line, maps))
		if (strstr(line, "[stack]"))
			printf("stack %.4s\n", strchr(line, ' ') + 1);
	return 0;
}
"""
FILES = {
    "/proc/meminfo": "MemTotal:         307200 kB\nMemFree:          102400 kB\nShmem: 4 kB\nSwapTotal:      2048 kB\n",
    "/proc/uptime": "4242.17 12.00\n",
    "/proc/loadavg": "1.25 0.20 0.50 1/33 4711\n",
    "/sys/devices/system/cpu/online": "0\n",
}
EXPECTED = """\
online 1 conf 1
errno 77
nprocs 1 1
affinity 0 1 1 1
small -1 1
cpu 0
pages 76800 25600 4096
sysinfo 314572800 104857600 2097152 4096
load 1.25 0.50 procs 33 uptime 4242
others 100 -1
stack rw-p
"""


@pytest.fixture(scope="module", params=["cc", "tcc"])
def shim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp(request.param) / "libhawser-view.so"
    library.build(target, request.param)
    return target


def program(folder: Path, compiler: str, *flags: str) -> Path:
    (folder / "tell.c").write_text(TELL)
    subprocess.run([compiler, *flags, "-pthread", "-o", folder / "tell", folder / "tell.c"], check=True)
    return folder / "tell"


def told(folder: Path, command: list[str], files: dict[str, str], **env: str) -> str:
    """What a program prints where the files have this content, in a mount namespace of its own."""
    script = ""
    for number, (place, content) in enumerate(files.items()):
        (folder / str(number)).write_text(content)
        script += f"mount --bind {folder / str(number)} {place} && "
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script + 'exec env "$@"', "sh"]
    pairs = [f"{name}={value}" for name, value in env.items()]
    return subprocess.run([*words, *pairs, *command], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_all_calls_agree_with_the_files(shim: Path, tmp_path: Path, compiler: str) -> None:
    tell = program(tmp_path, compiler)
    assert told(tmp_path, [str(tell)], FILES, LD_PRELOAD=str(shim), LD_BIND_NOW="1") == EXPECTED


def test_tools_that_users_know_agree(shim: Path, tmp_path: Path) -> None:
    python = "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))"
    for command, printed in (
        (["nproc"], "1\n"),
        (["nproc", "--all"], "1\n"),
        (["getconf", "_NPROCESSORS_ONLN"], "1\n"),
        (["getconf", "_PHYS_PAGES"], "76800\n"),
        (["python3", "-c", python], "1 1\n"),
    ):
        assert told(tmp_path, command, FILES, LD_PRELOAD=str(shim)) == printed, command


def test_more_processors_than_there_are_are_not_invented(shim: Path, tmp_path: Path) -> None:
    files = FILES | {"/sys/devices/system/cpu/online": "0-4095,5000\n"}
    printed = told(tmp_path, [str(program(tmp_path, "gcc"))], files, LD_PRELOAD=str(shim))
    assert f"affinity 0 {len(os.sched_getaffinity(0))} " in printed
    assert "online 4097 " in printed


@pytest.mark.parametrize(
    ("quota", "count"), [("max 100000", 8), ("100000 100000", 1), ("150000 100000", 2), ("900000 100000", 8), ("", 8)]
)
def test_a_quota_on_cgroup_v2_counts_though_lxcfs_does_not_look_there(
    shim: Path, tmp_path: Path, quota: str, count: int
) -> None:
    files = FILES | {"/sys/devices/system/cpu/online": "0-7\n"}
    (tmp_path / "limit").write_text(quota + "\n")
    script = f"mount -t tmpfs tmpfs /sys/fs/cgroup && cp {tmp_path}/limit /sys/fs/cgroup/cpu.max && "
    script += f"LD_PRELOAD={shim} exec getconf _NPROCESSORS_ONLN"
    assert told(tmp_path, ["sh", "-c", script], files) == f"{count}\n"


def test_a_processor_has_a_number_that_tables_have_a_place_for(shim: Path, tmp_path: Path) -> None:
    last = max(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(last), str(program(tmp_path, "gcc"))]
    assert "cpu 0\n" in told(tmp_path, command, FILES, LD_PRELOAD=str(shim))


def test_unreadable_files_leave_the_kernels_answers(shim: Path, tmp_path: Path) -> None:
    tell, empty = program(tmp_path, "gcc"), dict.fromkeys(FILES, "")
    with_it, without = told(tmp_path, [str(tell)], empty, LD_PRELOAD=str(shim)), told(tmp_path, [str(tell)], {})
    assert with_it.splitlines()[:5] == without.splitlines()[:5]
    memory = next(line for line in with_it.splitlines() if line.startswith("sysinfo"))
    assert memory.split()[1] == str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE"))


def test_static_programs_do_not_notice(shim: Path, tmp_path: Path) -> None:
    tell = program(tmp_path, "gcc", "-static")
    printed = told(tmp_path, [str(tell)], {}, LD_PRELOAD=str(shim))
    assert f"online {os.cpu_count()} " in printed


def test_it_needs_no_library_no_version_and_no_thread_storage(shim: Path) -> None:
    def objdump(*flags: str) -> str:
        return subprocess.run(["objdump", *flags, shim], capture_output=True, text=True, check=True).stdout

    symbols = objdump("-T")
    assert "GLIBC" not in symbols
    needed = set(re.findall(r"^0+ +(?:w +)?DF? +\*UND\*\s+0+ +(\S+)$", symbols, re.MULTILINE))
    assert needed <= {"syscall", "open", "read", "close", "__errno_location", "dlsym", "pthread_self", "__sysconf"}
    headers = objdump("-p")
    assert "NEEDED" not in headers
    assert "TLS" not in headers
    assert re.search(r"STACK.*\n.*flags rw-", headers)
    assert "HASH" in headers.replace("GNU_HASH", "")  # what C libraries before 2006 look for


def test_a_library_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    assert library.provide(tmp_path) == ""
    first = {name: (tmp_path / name).stat().st_ino for name in library.SOURCES}
    assert library.provide(tmp_path) == ""
    assert {name: (tmp_path / name).stat().st_ino for name in library.SOURCES} == first


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "built", lambda: tmp_path / "none")
    monkeypatch.setenv("PATH", "/nowhere")
    assert library.provide(tmp_path) == "there is no C compiler"
    assert shutil.which("cc") is None

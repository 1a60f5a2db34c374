"""libfaketime changes the time of day; what programs wait for by other clocks comes as it would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hawser.rich.view import library

FAKETIME = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")
WAIT = """
import threading, time
began, wall = time.monotonic(), time.time()
time.sleep(0.2)
threading.Event().wait(0.1)
print(time.monotonic() - began > 0.29, time.time() >= wall)
"""
# Until a moment of the wall clock, and a thread that is cancelled while it waits.
CHECK = """
#include <pthread.h>
#include <stdio.h>
#include <time.h>
static void *wait(void *arg)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 1000;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
	return arg;
}
int main(void)
{
	pthread_t thread;
	void *result;
	struct timespec until = {0, 100000000};
	clock_nanosleep(CLOCK_MONOTONIC, 0, &until, 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 1;
	printf("%d\\n", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, 0));
	pthread_create(&thread, 0, wait, 0);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, 100000000}, 0);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("%d\\n", result == PTHREAD_CANCELED);
	return 0;
}
"""


@pytest.fixture(scope="module", params=["cc", "tcc"])
def steady(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp(request.param) / "libhawser-steady.so"
    library.build(target, request.param)
    return target


def told(steady: Path, time: str, *command: str) -> str:
    env = {**os.environ, "FAKETIME": time, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "LD_PRELOAD": f"{steady}:{FAKETIME}"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("time", ["+3d", "-2h", "+0 x4", "+3d x0.5", "2027-01-01 00:00:00", "@2027-01-01 00:00:00 x4"])
def test_pauses_and_time_outs_are_neither_refused_nor_cut_nor_endless(steady: Path, time: str) -> None:
    assert told(steady, time, "python3", "-c", WAIT) == "True True\n"


def test_other_waits_are_libfaketimes_and_threads_can_be_cancelled(steady: Path, tmp_path: Path) -> None:
    (tmp_path / "check.c").write_text(CHECK)
    subprocess.run(["gcc", "-pthread", "-o", tmp_path / "check", tmp_path / "check.c"], check=True)
    assert told(steady, "+3d", str(tmp_path / "check")) == "0\n1\n"


def test_the_pace_is_the_wall_clocks(steady: Path) -> None:
    script = "import time; a = time.time(); time.sleep(0.5); print(1.5 < time.time() - a)"
    assert told(steady, "+0 x4", "python3", "-c", script) == "True\n"

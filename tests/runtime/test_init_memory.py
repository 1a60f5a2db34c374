"""systemd's own memory, read of a real systemd by the notes of the real runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.runtime.conftest import Containers

from hawser.rich.initmemory import InitMemory, resident
from hawser.rich.journal import Place

# What systemd keeps itself: variables of its manager, 6 MB a run.
GROW = r"""
x=$(head -c 100000 /dev/zero | tr '\0' x)
for n in 1 2 3 4 5 6; do
    set --
    for i in $(seq 10); do set -- "$@" "A${1}_${n}_$i=$x"; done
    systemctl set-environment "$@"
done
"""


def test_a_systemd_that_grows_is_told_once(
    containers: Containers, debian: Path, spec: dict[str, Any], tmp_path: Path
) -> None:
    spec["annotations"]["rich.hawser.dev/init"] = "systemd"
    spec["process"]["args"] = ["/bin/sleep", "1000"]
    container = containers.make(debian, spec)
    container.start()
    container.until("active", "systemctl", "is-active", "hawser-app")
    records = tmp_path / "records" / (container.directory / "state").relative_to("/")
    watched, place = InitMemory(tmp_path / "records", limit=40 << 20), Place(records, container.name)
    assert watched.look(place) is None
    for number in range(20):
        assert container.exec("bash", "-c", GROW.replace("${1}", str(number))) == ""
        if told := watched.look(place):
            break
    assert told is not None
    assert (told.type, told.reason) == ("Warning", "InitMemoryHigh")
    assert told.message.endswith("MiB of the container's memory, more than 40 MiB")
    assert watched.look(place) is None


def test_a_first_process_may_call_itself_anything() -> None:
    script = r"open('/proc/self/comm', 'wb').write(b'\xff\r'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert resident(process.pid) == 0
        process.kill()

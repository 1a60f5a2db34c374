"""How a container is stopped: by the application's own signal, services in order, whatever init is pid 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import Containers
from tests.runtime.test_containers import rich

Spec = dict[str, Any]
UNIT = (
    "[Unit]\n{0}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=sh -c 'echo {1} >>/stopped'\n"
)


@pytest.mark.parametrize(("init", "image"), [("systemd", "debian"), ("minimal", "debian"), ("init", "busybox")])
def test_the_application_is_asked_by_the_signal_that_the_pod_names(
    containers: Containers, debian: Path, busybox: Path, spec: Spec, init: str, image: str
) -> None:
    spec["annotations"]["rich.hawser.dev/stop-signal"] = "quit"
    script = "trap 'echo no' TERM; trap 'echo bye; exit 0' QUIT; echo ready; while :; do sleep 0.1; done"
    container = containers.make(debian if image == "debian" else busybox, rich(spec, ["sh", "-c", script], init))
    container.start()
    container.until_output("ready")
    container.kill("TERM")
    container.until_stopped()
    assert container.output() == "ready\nbye\n"


def test_services_stop_in_the_opposite_order_of_their_start(containers: Containers, debian: Path, spec: Spec) -> None:
    spec["annotations"]["rich.hawser.dev/enable-units"] = "database, shop"
    container = containers.make(debian, rich(spec, ["sleep", "1000"]))
    units = container.directory / "rootfs/etc/systemd/system"
    for name, needs in (("database", ""), ("shop", "After=database.service\nRequires=database.service")):
        (units / f"{name}.service").write_text(UNIT.format(needs, name))
    container.start()
    container.until("running", "systemctl", "is-system-running")
    container.kill("TERM")
    container.until_stopped()
    assert (container.upper / "stopped").read_text() == "shop\ndatabase\n"


def test_a_minimal_init_leaves_nothing_in_the_image(containers: Containers, debian: Path, spec: Spec) -> None:
    container = containers.make(debian, rich(spec, ["true"], "minimal"))
    assert container.run().returncode == 0
    assert [path for path in container.upper.rglob("*") if not path.is_dir()] == []

"""What a pod's annotations ask for."""

from __future__ import annotations

import pytest

from hawser.runtime.options import OptionError, Options, read

NAME = {"io.kubernetes.cri.container-name": "app"}


def rich(**values: str) -> dict[str, str]:
    return {f"rich.hawser.dev/{name.replace('_', '-')}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("annotations", "options"),
    [
        ({}, Options()),
        (NAME, Options()),
        (rich(init="systemd"), Options(init="systemd")),
        (rich(init=" minimal "), Options(init="minimal")),
        (NAME | rich(container="app"), Options()),
        (NAME | rich(container="other, app"), Options()),
        (NAME | rich(container="other"), None),
        ({"io.kubernetes.container.name": "app"} | rich(container="other"), None),
        ({"io.kubernetes.cri.container-type": "sandbox"}, None),
        ({"io.kubernetes.cri-o.ContainerType": "sandbox"} | rich(init="nonsense"), None),
        (rich(restart="always", restart_limit="0"), Options(restart="always", restart_limit=0)),
        (rich(restart_interval="90s"), Options(restart_interval=90)),
        (rich(restart_interval="2m"), Options(restart_interval=120)),
        (rich(restart_interval="7"), Options(restart_interval=7)),
        (rich(stop_signal="quit"), Options(stop_signal="SIGQUIT")),
    ],
)
def test_annotations_become_options(annotations: dict[str, str], options: Options | None) -> None:
    assert read(annotations) == options


@pytest.mark.parametrize(
    ("annotations", "text"),
    [
        (rich(init="upstart"), 'rich.hawser.dev/init: "upstart" is not one of systemd, init, minimal'),
        (rich(intit="systemd"), "rich.hawser.dev/intit is not known"),
        (rich(restart="sometimes"), 'restart: "sometimes" is not one of no, on-failure, always'),
        (rich(restart_limit="-1"), 'restart-limit: "-1" is not a whole number'),
        (rich(restart_interval="soon"), 'restart-interval: "soon" is not a time'),
        (rich(restart_interval="0s"), 'restart-interval: "0s" is not a time'),
        (rich(stop_signal="SIGNAL"), 'stop-signal: "SIGNAL" is not a signal'),
    ],
)
def test_what_is_not_known_is_refused_by_name(annotations: dict[str, str], text: str) -> None:
    with pytest.raises(OptionError, match=text.replace(".", r"\.")):
        read(annotations)

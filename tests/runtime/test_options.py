"""What a pod's annotations ask for."""

from __future__ import annotations

import pytest

from hawser.runtime.options import OptionError, Options, concerned, read

NAME = {"io.kubernetes.cri.container-name": "app"}


def rich(**values: str) -> dict[str, str]:
    return {f"rich.hawser.dev/{name.replace('_', '-')}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("annotations", "options"),
    [
        ({}, Options()),
        (NAME, Options()),
        (rich(init="systemd"), Options(init="systemd")),
        (rich(rootfs="image"), Options()),
        (rich(rootfs="keep"), Options(keep_rootfs=True)),
        *(
            (rich(rootfs="keep", rootfs_size=text), Options(keep_rootfs=True, rootfs_size=size))
            for text, size in (("2Gi", 2 << 30), ("500M", 500_000_000), ("10k", 10_000), ("7", 7))
        ),
        (rich(init=" minimal "), Options(init="minimal")),
        (NAME | rich(container="app"), Options()),
        (NAME | rich(container="other, app"), Options()),
        (rich(app_policy="exit"), Options()),
        (rich(app_policy="keep"), Options(keep=True)),
        (rich(app_policy="keep-on-failure"), Options(keep=True, on_failure=True)),
        (rich(app_policy="keep", app_restarts="0/60"), Options(keep=True, restarts=0, seconds=60)),
        (rich(app_policy="keep", app_restarts=" 12 / 3600"), Options(keep=True, restarts=12, seconds=3600)),
        (rich(stop_signal="quit"), Options(stop_signal="SIGQUIT")),
    ],
)
def test_annotations_become_options(annotations: dict[str, str], options: Options) -> None:
    assert concerned(annotations)
    assert read(annotations) == options


@pytest.mark.parametrize(
    "annotations",
    [
        NAME | rich(container="other"),
        {"io.kubernetes.container.name": "app"} | rich(container="other"),
        {"io.kubernetes.cri.container-type": "sandbox"},
        {"io.kubernetes.cri-o.ContainerType": "sandbox"} | rich(init="nonsense"),
    ],
)
def test_sandboxes_and_containers_that_are_not_chosen_are_none_of_ours(annotations: dict[str, str]) -> None:
    assert not concerned(annotations)


@pytest.mark.parametrize(
    ("annotations", "text"),
    [
        (rich(init="upstart"), 'rich.hawser.dev/init: "upstart" is not one of systemd, init, minimal'),
        (rich(intit="systemd"), "rich.hawser.dev/intit is not known"),
        (rich(app_policy="sometimes"), 'app-policy: "sometimes" is not one of exit, keep, keep-on-failure'),
        (rich(rootfs="forget"), 'rootfs: "forget" is not one of image, keep'),
        (rich(rootfs_size="2Gi"), "rootfs-size needs rich.hawser.dev/rootfs: keep"),
        *(
            (rich(rootfs="keep", rootfs_size=text), f'rootfs-size: "{text}" is not a size such as 500Mi')
            for text in ("much", "2gi", "-1", "1.5Gi", "1iG", "")
        ),
        (rich(app_restarts="3/600"), "app-restarts needs rich.hawser.dev/app-policy: keep"),
        *(
            (rich(app_policy="keep", app_restarts=text), f'app-restarts: "{text}" is not restarts/seconds, 3/600')
            for text in ("3", "-1/60", "3/0", "3/60s", "3/60/9", "٣/60", "1234567/60")
        ),
        (rich(stop_signal="SIGNAL"), 'stop-signal: "SIGNAL" is not a signal'),
    ],
)
def test_what_is_not_known_is_refused_by_name(annotations: dict[str, str], text: str) -> None:
    with pytest.raises(OptionError, match=text.replace(".", r"\.")):
        read(annotations)

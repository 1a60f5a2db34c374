"""What a container's own view adds to its specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hawser.runtime.bundle import edit
from hawser.runtime.facts import Facts, ViewFacts
from hawser.runtime.options import Options
from hawser.runtime.preload import with_preload
from hawser.runtime.rootfs import RootFS
from hawser.runtime.view import LIBRARY, PLACE, gather

LOADED = f"{PLACE}/{LIBRARY}"
FACTS = Facts(executable="/bin/true", static_init="/usr/bin/catatonit")
ONLINE = "lxcfs/sys/devices/system/cpu/online"
VIEW = ViewFacts("/run/view", ("lxcfs/proc/meminfo", "own/proc/pressure/cpu", ONLINE), preload="")
Spec = dict[str, Any]


def edited(spec: Spec, view: ViewFacts, options: Options = Options(init="minimal")) -> Spec:  # noqa: B008
    return edit(spec, options, FACTS._replace(view=view)).spec


def sources(spec: Spec) -> dict[str, str]:
    return {mount["destination"]: mount["source"] for mount in spec["mounts"]}


def test_what_lxcfs_serves_is_mounted_where_programs_look(spec: Spec) -> None:
    before = sources(edited(spec, ViewFacts()))
    added = {place: source for place, source in sources(edited(spec, VIEW)).items() if place not in before}
    assert added == {
        PLACE: "/run/view/lib",
        "/proc/meminfo": "/run/view/lxcfs/proc/meminfo",
        "/sys/devices/system/cpu/online": "/run/view/lxcfs/sys/devices/system/cpu/online",
        "/sys/devices/system/cpu/present": "/run/view/lxcfs/sys/devices/system/cpu/online",
        "/etc/ld.so.preload": "hawser/ld.so.preload",
    }


def test_what_the_pod_mounts_itself_stays(spec: Spec) -> None:
    own = {"destination": "/proc/meminfo", "type": "bind", "source": "/own", "options": ["bind"]}
    spec["mounts"].append(own)
    assert [m for m in edited(spec, VIEW)["mounts"] if m["destination"] == "/proc/meminfo"] == [own]


def test_a_library_that_the_image_preloads_is_kept(spec: Spec) -> None:
    result = edit(spec, Options(init="minimal"), FACTS._replace(view=VIEW._replace(preload="/lib/own.so\n")))
    assert result.files["ld.so.preload"].content == f"/lib/own.so\n{LOADED}\n"


def test_a_node_without_a_view_adds_nothing(spec: Spec) -> None:
    assert edited(spec, ViewFacts()) == edited(spec, ViewFacts(offers=VIEW.offers, preload=""))
    assert PLACE not in sources(edited(spec, ViewFacts()))


def test_musl_is_asked_by_the_environment(spec: Spec) -> None:
    result = edited(spec, VIEW._replace(preload=None, musl=True))
    musl = FACTS._replace(view=VIEW._replace(musl=True))
    assert edit(spec, Options(init="minimal"), musl).preload == LOADED
    assert f"LD_PRELOAD={LOADED}" in result["process"]["env"]
    assert "/etc/ld.so.preload" not in sources(result)


def test_musl_services_inherit_it_from_their_init(spec: Spec) -> None:
    facts = FACTS._replace(busybox_init=True, view=VIEW._replace(preload=None, musl=True))
    result = edit(spec, Options(init="init"), facts)
    assert f"LD_PRELOAD={LOADED}" in result.spec["process"]["env"]
    assert f"'LD_PRELOAD={LOADED}'" in result.files["run"].content


@pytest.mark.parametrize(
    ("env", "result"),
    [
        ([], ["LD_PRELOAD=/new"]),
        (["A=b"], ["A=b", "LD_PRELOAD=/new"]),
        (["LD_PRELOAD=/old", "A=b"], ["A=b", "LD_PRELOAD=/new:/old"]),
        (["LD_PRELOAD=/old", "LD_PRELOAD=/last"], ["LD_PRELOAD=/new:/last"]),
        (["LD_PRELOAD="], ["LD_PRELOAD=/new"]),
    ],
)
def test_a_library_comes_before_those_that_are_there(env: list[str], result: list[str]) -> None:
    assert with_preload(env, "/new") == result


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "view"
    for offer in ("lxcfs/proc/meminfo", "own/proc/diskstats"):
        (home / offer).parent.mkdir(parents=True)
        (home / offer).touch()
    (home / "lib").mkdir()
    (home / "lib" / LIBRARY).touch()
    (home / "offers").write_text("lxcfs/proc/meminfo\nown/proc/diskstats\n")
    return home


def gathered(tmp_path: Path, home: Path, *files: str) -> ViewFacts:
    root = tmp_path / "root"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("/lib/own.so")
    root.mkdir(exist_ok=True)
    return gather(RootFS(str(root), []), str(home))


GLIBC, MUSL, NARROW = "lib64/ld-linux-x86-64.so.2", "lib/ld-musl-x86_64.so.1", "lib/ld-linux.so.2"


@pytest.mark.parametrize(
    ("files", "preload", "musl"),
    [
        ((), None, False),
        ((GLIBC,), "", False),
        ((GLIBC, "etc/ld.so.preload"), "/lib/own.so", False),
        ((MUSL,), None, True),
        ((GLIBC, MUSL), "", True),
        ((GLIBC, NARROW), None, False),
    ],
)
def test_the_image_says_how_its_programs_get_the_library(
    tmp_path: Path, home: Path, files: tuple[str, ...], preload: str | None, musl: bool
) -> None:
    found = gathered(tmp_path, home, *files)
    assert (found.preload, found.musl) == (preload, musl)
    assert found.offers == ("lxcfs/proc/meminfo", "own/proc/diskstats")


def test_a_node_without_the_library_still_has_files(tmp_path: Path, home: Path) -> None:
    (home / "lib" / LIBRARY).unlink()
    found = gathered(tmp_path, home, GLIBC)
    assert (found.preload, found.offers) == (None, ("lxcfs/proc/meminfo", "own/proc/diskstats"))


@pytest.mark.parametrize("gone", ["offers", "lxcfs/proc/meminfo", "own/proc/diskstats"])
def test_files_that_are_not_served_now_are_not_offered(tmp_path: Path, home: Path, gone: str) -> None:
    (home / gone).unlink()
    found = gathered(tmp_path, home, GLIBC)
    assert (found.home, found.offers) == (str(home), ())


def test_a_node_that_never_had_a_view_has_none(tmp_path: Path) -> None:
    assert gathered(tmp_path, tmp_path / "none", GLIBC) == ViewFacts()

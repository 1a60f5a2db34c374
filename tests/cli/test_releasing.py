"""What a release decides: which files go, when it is well, which pods are next."""

from __future__ import annotations

import io
import stat
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.cli.context import Failure
from hawser.cli.releasing import scripts
from hawser.cli.releasing.files import File, deepest_first, digest, digests, excluded, local, parse
from hawser.cli.releasing.inside import pack
from hawser.cli.releasing.plan import Plan, doubtful, plan
from hawser.cli.releasing.rollout import is_selector, startable, unavailable_limit
from hawser.cli.releasing.watch import PodState, Replaced, Watch, pod_state, settle_seconds, unit_state

REGULAR, DIRECTORY, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK


def file(mode: int = REGULAR | 0o644, size: int = 1, mtime: int = 1, **fields: Any) -> File:
    return File(mode, fields.pop("uid", 0), fields.pop("gid", 0), size, mtime, **fields)


FOLDER = file(DIRECTORY | 0o755, 0)
NOTHING = excluded(())


def decide(here: dict[str, File], there: dict[str, File], **options: Any) -> Plan:
    options = {"same": {}, "delete": False, "keep": NOTHING, "owners": True, **options}
    return plan(here, there, **options)


@pytest.mark.parametrize(
    ("here", "there", "options", "expected"),
    [
        ({"a": file()}, {}, {}, Plan(added=("a",), size=1)),
        ({"a": file()}, {"a": file()}, {}, Plan()),
        ({"a": file(size=2)}, {"a": file()}, {}, Plan(changed=("a",), size=2)),
        ({"a": file(mtime=2)}, {"a": file()}, {"same": {"a": True}}, Plan()),
        ({"a": file(mtime=2)}, {"a": file()}, {"same": {"a": False}}, Plan(changed=("a",), size=1)),
        ({"a": file(REGULAR | 0o755)}, {"a": file()}, {}, Plan(changed=("a",), size=1)),
        ({"a": file(uid=5)}, {"a": file()}, {}, Plan(changed=("a",), size=1)),
        ({"a": file(uid=5)}, {"a": file()}, {"owners": False}, Plan()),
        ({}, {"a": file()}, {}, Plan()),
        ({}, {"a": file()}, {"delete": True}, Plan(deleted=("a",))),
        ({}, {"a": file(), "b": file()}, {"delete": True, "keep": excluded(("b",))}, Plan(deleted=("a",))),
        ({"a": file()}, {"a": file(LINK | 0o777, target="x")}, {}, Plan(changed=("a",), retyped=("a",), size=1)),
        ({"a": file(LINK | 0o777, 0, target="x")}, {"a": file(LINK | 0o777, 0, target="x")}, {}, Plan()),
        ({"a": file(LINK | 0o777, 0, target="x")}, {"a": file(LINK | 0o777, 0, target="y")}, {}, Plan(changed=("a",))),
        # /bin is a link to usr/bin: what is released below it goes where it leads.
        ({"bin": FOLDER, "bin/a": file()}, {"bin": file(LINK, target="usr/bin", to_directory=True)}, {},
         Plan(added=("bin/a",), size=1)),
        ({"a": file()}, {"a": FOLDER, "a/b": file()}, {"delete": True},
         Plan(changed=("a",), deleted=("a/b",), retyped=("a",), size=1)),
    ],
)  # fmt: skip
def test_only_what_differs_is_sent(
    here: dict[str, File], there: dict[str, File], options: dict[str, Any], expected: Plan
) -> None:
    assert decide(here, there, **options) == expected


def test_a_directory_goes_for_a_file_only_when_asked() -> None:
    with pytest.raises(Failure, match="a is a directory in the container"):
        decide({"a": file()}, {"a": FOLDER})


def test_equal_sizes_with_other_times_are_compared_by_content() -> None:
    here = {"same": file(), "time": file(mtime=2), "size": file(size=2, mtime=2), "new": file()}
    there = {"same": file(), "time": file(), "size": file()}
    assert doubtful(here, there) == ["time"]
    assert doubtful(here, there, checksum=True) == ["same", "time"]


_FILES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(file, mode=st.sampled_from([REGULAR | 0o644, REGULAR | 0o755]), size=st.integers(0, 2))
    | st.builds(file, mode=st.just(LINK | 0o777), size=st.just(0), target=st.sampled_from("xy")),
)


@given(_FILES, _FILES)
def test_after_a_release_with_deletion_nothing_differs(here: dict[str, File], there: dict[str, File]) -> None:
    decided = decide(here, there, delete=True)
    after = {p: f for p, f in there.items() if p not in decided.deleted}
    after |= {path: here[path] for path in decided.sent}
    assert after == here
    assert decide(here, after, delete=True).empty
    assert set(decided.touched) <= set(there)
    assert not set(decided.added) & set(there)


def test_what_a_container_tells_is_read_whatever_the_names() -> None:
    listing = (
        "81a4 0 5 7 9 ./a b//\n41ed 0 0 4096 1 .//\n41ed 0 0 4096 1 ./d//\na1ff 0 0 3 1 ./l//\n81a4 0 0 1 1 ./x\ny//\n"
    )
    found = parse(listing, "o ./l//to here//\nd ./bin//usr/bin//\n")
    assert found["a b"] == File(0o100644, 0, 5, 7, 9)
    assert found["d"].is_directory
    assert found["l"].target == "to here"
    assert list(found) == ["a b", "d", "l", "x\ny"]


def test_digests_of_odd_names_are_read(tmp_path: Path) -> None:
    assert digests("ab  ./x y\n\\cd  ./a\\\\b\n") == {"x y": "ab", "a\\b": "cd"}
    (tmp_path / "f").write_bytes(b"")
    assert digest(tmp_path / "f").startswith("e3b0c442")


def test_a_directory_is_packed_with_modes_owners_and_links(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/tool").write_text("x")
    (tmp_path / "d/tool").chmod(0o4755)
    (tmp_path / "l").symlink_to("d/tool")
    (tmp_path / ".git").mkdir()
    (tmp_path / "d/a.pyc").write_text("")
    files = local(tmp_path, excluded((".git", "*.pyc")), (5, 6))
    assert list(files) == ["d", "d/tool", "l"]
    archive, size = pack(tmp_path, files, list(files))
    with archive, tarfile.open(fileobj=io.BytesIO(archive.read())) as tar:
        assert size % 512 == 0
        told = {m.name: (m.mode, m.uid, m.gid, m.linkname) for m in tar}
    assert told["d/tool"] == (0o4755, 5, 6, "")
    assert told["l"][3] == "d/tool"


@pytest.mark.parametrize("name", ["a\nb", "fifo"])
def test_what_a_release_can_not_carry_is_refused(tmp_path: Path, name: str) -> None:
    import os

    if name == "fifo":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_text("")
    with pytest.raises(Failure):
        local(tmp_path, NOTHING)


def test_what_is_deepest_goes_first() -> None:
    assert deepest_first(["a", "a/b", "c", "a/b/c"]) == ["a/b/c", "a/b", "c", "a"]


BEFORE = PodState("containerd://1", "10.0.0.1", ready=True)
ACTIVE = {"ActiveState": "active", "MainPID": "7", "NRestarts": "0"}


def test_a_release_is_well_when_unit_and_pod_have_been_for_a_while() -> None:
    watch = Watch("web", BEFORE, 3)
    unready = PodState("containerd://1", "10.0.0.1", False, "containers with unready status: [web]")
    assert not watch.feed(0, BEFORE, {**ACTIVE, "ActiveState": "activating", "SubState": "start"})
    assert watch.waiting == "unit web is activating (start)"
    assert not watch.feed(1, unready, ACTIVE)
    assert "unready status" in watch.waiting
    assert not watch.feed(2, BEFORE, ACTIVE)
    assert not watch.feed(4, BEFORE, {**ACTIVE, "MainPID": "8"})  # it was started again: from the beginning
    assert not watch.feed(6.9, BEFORE, {**ACTIVE, "MainPID": "8"})
    assert watch.feed(7, BEFORE, {**ACTIVE, "MainPID": "8"})


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "3"}, "web failed: exit-code, exit code 3"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "there is no unit web"),
        ({"ActiveState": "activating", "NRestarts": "3"}, "does not stay up: 3 restarts"),
    ],
)
def test_a_unit_that_does_not_come_up_fails_the_release(unit: dict[str, str], why: str) -> None:
    watch = Watch("web", BEFORE, 3)
    watch.feed(0, BEFORE, {"ActiveState": "activating", "NRestarts": "0"})
    with pytest.raises(Failure, match=why):
        watch.feed(1, BEFORE, unit)


def test_another_container_is_no_place_to_undo_anything() -> None:
    with pytest.raises(Replaced, match="made of its image again"):
        Watch("web", BEFORE, 3).feed(0, PodState("containerd://2", "10.0.0.1", ready=True), ACTIVE)
    ended = {"name": "main", "state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 3}}}
    with pytest.raises(Replaced, match="ended with code 3"):
        pod_state({"metadata": {"name": "a"}, "status": {"containerStatuses": [ended]}}, "main")


@pytest.mark.parametrize(
    ("probe", "seconds"),
    [(None, 3), ({}, 31), ({"periodSeconds": 1, "failureThreshold": 1}, 3), ({"periodSeconds": 60}, 60)],
)
def test_a_pod_has_to_stay_ready_for_as_long_as_its_probe_takes_to_notice(probe: Any, seconds: float) -> None:
    container = {"name": "main"} | ({"readinessProbe": probe} if probe is not None else {})
    if probe == {}:
        container["readinessProbe"] = {"tcpSocket": {"port": 1}}
    assert settle_seconds({"spec": {"containers": [container]}}, "main") == seconds


def test_units_are_read_as_systemctl_shows_them() -> None:
    assert unit_state("ActiveState=active\nResult=a=b\n") == {"ActiveState": "active", "Result": "a=b"}


@pytest.mark.parametrize(
    ("todo", "running", "unready", "parallel", "limit", "expected"),
    [
        ("abc", "", "", 1, 1, "a"),
        ("abc", "", "", 2, 1, "a"),
        ("abc", "", "", 2, 3, "ab"),
        ("bc", "a", "", 2, 3, "b"),
        ("bc", "a", "a", 1, 1, ""),
        ("abc", "", "d", 1, 1, ""),  # somebody else is down: nothing may be taken down
        ("abc", "", "d", 1, 2, "a"),
        ("abc", "", "a", 1, 1, "a"),  # what is down already costs nothing
        ("abc", "", "ab", 3, 1, "ab"),
    ],
)
def test_so_many_pods_at_a_time(
    todo: str, running: str, unready: str, parallel: int, limit: int, expected: str
) -> None:
    assert startable(list(todo), set(running), set(unready), parallel, limit) == list(expected)


@pytest.mark.parametrize(("text", "limit"), [("1", 1), ("0", 1), ("25%", 2), ("50%", 5), ("1%", 1), ("100%", 10)])
def test_unavailable_pods_are_a_number_or_a_part(text: str, limit: int) -> None:
    assert unavailable_limit(text, 10) == limit


def test_a_limit_that_is_none_is_refused() -> None:
    with pytest.raises(Failure, match="neither a number"):
        unavailable_limit("many", 10)


@pytest.mark.parametrize(
    ("text", "expected"), [("web-0", False), ("app=web", True), ("!old", True), ("a in (b)", True)]
)
def test_selectors_are_told_from_names(text: str, expected: bool) -> None:
    assert is_selector(text) is expected


def _run(script: str, state: Path, *arguments: str) -> subprocess.Popen[str]:
    """Runs a release's script on this machine, with another directory for what releases keep."""
    script = script.replace("/var/lib/hawser/release", str(state))
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def test_of_many_releases_that_begin_at_once_one_goes_on(tmp_path: Path) -> None:
    begun = [_run(scripts.SURVEY, tmp_path, "/nowhere", f"r{number}") for number in range(8)]
    said = [process.communicate(timeout=60)[1] for process in begun]
    assert [process.returncode for process in begun].count(0) == 1
    (winner,) = (f"r{number}" for number, process in enumerate(begun) if process.returncode == 0)
    assert {text for text in said if text} == {f"release {winner} is under way in this container\n"}
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_release_under_way_is_seen_at_any_moment(tmp_path: Path) -> None:
    with _run(scripts.SURVEY, tmp_path, "/nowhere", "first") as begin:
        assert begin.wait(60) == 0
    alive = scripts.COMMAND.replace('sh -c "$2"', 'while [ ! -e "$2" ]; do beat "$1"; done')
    over = tmp_path / "over"
    with _run(alive, tmp_path, "first", str(over)) as first:
        try:
            for _ in range(40):
                with _run(scripts.SURVEY, tmp_path, "/nowhere", "second") as second:
                    assert second.communicate(timeout=60)[1] == "release first is under way in this container\n"
        finally:
            over.touch()
        assert first.wait(60) == 0


def test_the_lock_of_a_release_that_died_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(f"dead {int(time.time()) - 20}\n")
    with _run(scripts.SURVEY, tmp_path, "/nowhere", "next") as process:
        assert process.wait(60) == 0
    assert (tmp_path / ".lock").read_text().startswith("next ")
    with _run(scripts.FORGET, tmp_path, "next") as process:
        assert process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []

"""Engine settings: free ports and ranges, several engines side by side, damaged files."""

import ipaddress
import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.cli.engine import choices, settings
from hawser.cli.engine.settings import SettingsError

WHOLE = {
    "schema": 1,
    "instance": "abc",
    "listen": "127.0.0.1:6443",
    "kubelet_listen": "0.0.0.0:10250",
    "node_name": "n",
    "pod_cidr": "10.42.0.0/16",
    "service_cidr": "10.96.0.0/20",
}


@pytest.fixture(autouse=True)
def own_register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "_REGISTER", tmp_path / "engines.json")


def test_what_was_created_is_loaded_again(tmp_path: Path) -> None:
    made = choices.create(tmp_path / "a")
    assert settings.load(tmp_path / "a") == made
    assert made.data_dir == tmp_path / "a"


def test_two_engines_share_no_port_and_no_range(tmp_path: Path) -> None:
    one, two = choices.create(tmp_path / "a"), choices.create(tmp_path / "b")
    assert len({one.listen, two.listen, one.kubelet_listen, two.kubelet_listen}) == 4
    ranges = [ipaddress.ip_network(c) for s in (one, two) for c in (s.pod_cidr, s.service_cidr)]
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[i + 1 :])
    assert one.instance != two.instance
    assert one.cgroup_root != two.cgroup_root


def test_an_engine_that_was_removed_gives_its_ranges_back(tmp_path: Path) -> None:
    one = choices.create(tmp_path / "a")
    (tmp_path / "a" / "config.json").unlink()
    choices.unregister(tmp_path / "a")
    assert choices.create(tmp_path / "b").pod_cidr == one.pod_cidr


def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(SettingsError, match="not empty and no engine's"):
        choices.create(tmp_path / "home")
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(("one", "two"), [("a", "a/agent/b"), ("a/b", "a")])
def test_engines_do_not_lie_in_each_other(tmp_path: Path, one: str, two: str) -> None:
    choices.create(tmp_path / one)
    (tmp_path / "a" / "config.tmp").touch()
    with pytest.raises(SettingsError, match=r"in each other|not empty"):
        choices.create(tmp_path / two)


def test_an_engine_that_lost_its_place_in_the_register_gets_it_back(tmp_path: Path) -> None:
    one = choices.create(tmp_path / "a")
    choices.unregister(one.data_dir)
    choices.register(one)
    assert choices.create(tmp_path / "b").pod_cidr != one.pod_cidr


def test_who_holds_a_directory_keeps_others_waiting_also_when_it_removes_it(tmp_path: Path) -> None:
    directory, order = tmp_path / "a", []

    def second() -> None:
        with settings.exclusive(directory):
            order.append(("second", directory.is_dir()))

    with settings.exclusive(directory):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append(("first", True))
        directory.rmdir()
    waiting.join()
    assert order == [("first", True), ("second", True)]


def test_what_cannot_be_listened_on_is_told_apart() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert settings.listen_problem(f"127.0.0.1:{port}") == "the port is taken"
    assert settings.listen_problem(f"127.0.0.1:{port}") == ""
    assert settings.listen_problem("192.0.2.1:7777") == "this machine has no address 192.0.2.1"


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert settings.free_port("127.0.0.1", port) > port


@pytest.mark.parametrize(
    ("text", "want"),
    [("127.0.0.1:6443", ("127.0.0.1", 6443)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:80", ("::1", 80))],
)
def test_listen_addresses_are_read(text: str, want: tuple[str, int]) -> None:
    assert settings.split_listen(text) == want


@pytest.mark.parametrize("text", ["6443", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "host:6443", ":6443", "a:b:c"])
def test_bad_listen_addresses_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="--listen wants"):
        settings.split_listen(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"schema": 1}', "incomplete"),
        (json.dumps({"schema": 99}), "newer Hawser"),
        ("[]", "cannot be read"),
        (json.dumps({"schema": "x"}), "cannot be read"),
        (json.dumps({**WHOLE, "listen": 5}), "incomplete"),
        (json.dumps({**WHOLE, "pod_cidr": "all"}), "incomplete"),
        (json.dumps({**WHOLE, "instance": "../.."}), "no instance id"),
    ],
)
def test_a_damaged_config_says_what_to_do(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(SettingsError, match=message):
        settings.load(tmp_path)


def test_no_config_is_no_engine(tmp_path: Path) -> None:
    assert settings.load(tmp_path) is None


@given(st.lists(st.integers(0, 9), max_size=9))
def test_a_picked_range_overlaps_nothing(used: list[int]) -> None:
    networks = [f"10.{n}.0.0/16" for n in used]
    picked = ipaddress.ip_network(choices.pick_range([f"10.{n}.0.0/16" for n in range(10)], networks))
    assert not any(picked.overlaps(ipaddress.ip_network(n)) for n in networks)


def test_no_free_range_is_an_error() -> None:
    with pytest.raises(SettingsError, match="no free IPv4 range"):
        choices.pick_range(["10.0.0.0/16"], ["10.0.0.0/8"])


@pytest.mark.parametrize(("host", "name"), [("Web_01", "web-01"), ("a.b.c", "a.b.c"), ("--", "localhost")])
def test_host_names_become_node_names(host: str, name: str) -> None:
    assert settings.node_name(host) == name


def test_an_engine_of_before_is_given_a_port_for_its_controllers(tmp_path: Path) -> None:
    one, two = choices.create(tmp_path / "a"), choices.create(tmp_path / "b")
    assert len({one.controllers_listen, two.controllers_listen, "127.0.0.1:10250"}) == 3
    assert one.metrics_url == f"https://{one.controllers_listen}/metrics"
    older = replace(one, controllers_listen="")
    assert older.metrics_url == ""
    newer = choices.with_free_ports(older)
    assert newer.controllers_listen not in ("", two.controllers_listen)
    assert settings.load(tmp_path / "a") == newer
    told = replace(one, controllers_args="bind-address=::\nsecure-port=11000")
    assert told.metrics_url == "https://[::]:11000/metrics"
    assert replace(one, controllers_args="secure-port=0").metrics_url == ""
    assert replace(one, controllers_args="leader-elect=true").metrics_url == one.metrics_url

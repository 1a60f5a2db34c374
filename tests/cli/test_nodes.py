"""The nodes of an engine: which there are, what each has for itself, and how they are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.cli.asked import Shape
from hawser.cli.context import Failure
from hawser.cli.engine import nodenet, nodes
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.roles import roles
from hawser.cli.engine.settings import Settings, SettingsError

FIRST = Node("box", 1)


@pytest.fixture
def engine(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        instance="abcd1234",
        listen="127.0.0.1:6443",
        kubelet_listen="0.0.0.0:10250",
        node_name="box",
        pod_cidr="10.42.0.0/16",
        service_cidr="10.96.0.0/20",
    )


def test_an_engine_has_one_node_until_others_are_kept(engine: Settings) -> None:
    assert nodes.load(engine) == [FIRST]
    listed = nodes.grown([FIRST], 3, zones=2, memory="4Gi")
    nodes.save(engine, listed)
    assert nodes.load(engine) == listed
    assert [(n.name, n.zone, n.memory) for n in listed] == [
        ("box", "zone-1", "4Gi"),
        ("box-2", "zone-2", "4Gi"),
        ("box-3", "zone-1", "4Gi"),
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"name": "box"}]'])
def test_a_damaged_file_is_told_and_can_still_be_cleaned_up_after(engine: Settings, text: str) -> None:
    (engine.data_dir / "nodes" / "box-2").mkdir(parents=True)
    (engine.data_dir / "nodes.json").write_text(text)
    with pytest.raises(SettingsError, match=r"nodes\.json"):
        nodes.load(engine)
    assert [node.name for node in nodes.known(engine)] == ["box", "box-2"]


@given(st.sets(st.integers(2, nodes.MOST), max_size=6), st.integers(1, 6))
def test_no_two_nodes_share_a_number_a_name_or_an_address(gone: set[int], more: int) -> None:
    engine = Settings(
        Path("/d"), "i", "127.0.0.1:1", "0.0.0.0:2", "box", "10.42.0.0/16", "10.96.0.0/20", pod_cidr6="fd00::/64"
    )
    there = [node for node in nodes.grown([FIRST], 8) if node.number not in gone]
    listed = nodes.grown(there, len(there) + more)
    for values in (
        [n.number for n in listed],
        [n.name for n in listed],
        [nodes.addresses(engine, n) for n in listed],
        [nodes.namespace(engine, n) for n in listed],
        [nodes.view(engine, n).run_dir for n in listed],
        [nodes.view(engine, n).cgroup_root for n in listed],
    ):
        assert len(set(values)) == len(listed)
    ranges = [part for n in listed for part in nodes.pod_ranges(engine, n)]
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[:i])
    addresses = [address for n in listed for address in nodes.addresses(engine, n)]
    assert not any(address in r for address in addresses for r in ranges)


def test_every_part_of_the_pod_range_lies_in_it(engine: Settings) -> None:
    listed = nodes.grown([FIRST], nodes.MOST)
    assert str(nodes.pod_ranges(engine, listed[0])[0]) == "10.42.0.0/17"
    assert str(nodes.pod_ranges(engine, listed[1])[0]) == "10.42.128.0/22"
    assert str(nodes.pod_ranges(engine, listed[-1])[0]) == "10.42.248.0/22"
    with pytest.raises(SettingsError, match="at most 32"):
        nodes.grown(listed, nodes.MOST + 1)


def test_only_nodes_that_are_on_have_processes(engine: Settings) -> None:
    listed = nodes.grown([FIRST], 3)
    names = [role.name for role in roles(engine, nodes.changed(listed, "box-2", stopped=True))]
    assert names == ["containerd", "apiserver", "containerd@box-3", "agent", "agent@box-3", "controllers"]
    assert [role.name for role in roles(engine, [FIRST])] == ["containerd", "apiserver", "agent", "controllers"]
    off = nodes.changed(listed[:2], "box", stopped=True)
    assert [role.name for role in roles(engine, off)] == ["containerd@box-2", "apiserver", "agent@box-2", "controllers"]


def test_a_further_node_has_its_own_of_everything_but_the_api_server(engine: Settings) -> None:
    node = Node("box-2", 2, zone="zone-2", cpu="2", memory="3Gi")
    one, two = (next(r for r in roles(engine, [FIRST, node]) if r.name == name) for name in ("agent", "agent@box-2"))
    first, second = (dict(zip(r.argv[3::2], r.argv[4::2], strict=True)) for r in (one, two))
    same = {name for name in first if first[name] == second.get(name)}
    assert same == {
        *(
            "--cluster-cidr",
            "--address-ledger",
            "--cluster-dns",
            "--service-cluster-ip-range",
            "--pause-image",
            "--eviction-hard",
        ),
    } | ({"--listen"} if first["--listen"] == second["--listen"] else set())
    assert second["--node-ip"] == "10.42.255.2"
    assert second["--uplink"] == f"/run/netns/hawser-abcd1234-1:{nodes.link(engine, node)}" and "--uplink" not in first
    assert (second["--node-cpu"], second["--node-memory"]) == ("2", "3Gi")
    assert "topology.kubernetes.io/zone=zone-2" in second["--node-labels"]
    assert (one.namespace, one.hostname) == ("", "")
    assert (two.namespace, two.hostname) == ("/run/netns/hawser-abcd1234-2", "box-2")


def test_only_partitioned_nodes_are_cut_off(engine: Settings) -> None:
    listed = nodes.grown([FIRST], 3)
    assert "elements" not in nodenet.table(engine, listed)
    cut = nodenet.table(engine, nodes.changed(listed, "box-3", partitioned=True))
    assert f'elements = {{ "{nodes.link(engine, listed[2])}" }}' in cut


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (Shape(total=1), "has 2 nodes"),
        (Shape(total=3, zones=4), "wants as many nodes"),
        (Shape(memory="1Mi"), "from 256Mi"),
        (Shape(memory="much"), "from 256Mi"),
    ],
)
def test_what_cannot_be_is_refused(shape: Shape, why: str) -> None:
    with pytest.raises(Failure, match=why):
        shape.check()
        shape.applied(nodes.grown([FIRST], 2))


def test_what_is_not_asked_for_stays() -> None:
    kept = [replace(node, zone="here", cpu="1") for node in nodes.grown([FIRST], 2)]
    assert Shape().applied(kept) == kept
    grown = Shape(total=3, zones=3, cpu=2).applied(kept)
    assert [(node.zone, node.cpu) for node in grown] == [("here", "1"), ("here", "1"), ("zone-3", "2")]

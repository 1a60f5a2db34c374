"""Addresses that several nodes share: which part is whose, and that no address is given twice."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.types import Obj
from hawser.node.network import layout
from hawser.node.network.allocator import Allocator
from hawser.node.network.config import NetworkConfig
from hawser.node.network.ipam import ADDRESSES, POOLS, PoolError
from hawser.node.network.layout import Network
from hawser.node.network.ledger import Claim, Ledger, Taken
from hawser.node.network.records import Record

from .support import config

WHOLE = IPv4Network("10.42.0.0/16")
ONE, TWO = IPv4Address("10.42.128.2"), IPv4Address("10.42.128.3")


@pytest.mark.parametrize("whole", [WHOLE, IPv6Network("fd00::/64"), IPv6Network("fd::/112")])
def test_the_parts_of_nodes_lie_in_the_range_and_do_not_overlap(whole: Network) -> None:
    parts = [layout.part(whole, number) for number in range(1, layout.MOST + 1)]
    assert all(int(whole[0]) <= int(part[0]) and int(part[-1]) <= int(whole[-1]) for part in parts)
    assert not any(a.overlaps(b) for i, a in enumerate(parts) for b in parts[:i])
    own = [layout.node_address(whole, number) for number in range(2, layout.MOST + 1)]
    assert not any(address in part for address in own for part in parts)
    for address in (*own, *(part[at] for part in parts for at in (0, 1, -1))):
        assert layout.reserved(whole, address)
    assert not any(layout.reserved(whole, part[at]) for part in parts for at in (2, -2))


def test_an_address_is_claimed_once(tmp_path: Path) -> None:
    here, there = Ledger(tmp_path, "a"), Ledger(tmp_path, "b")
    here.open()
    here.claim("c1", [ONE], "pod shop/db-0")
    here.claim("c1", [ONE], "pod shop/db-0")
    with pytest.raises(Taken, match=r"address 10.42.128.2 is in use by pod shop/db-0 on node a"):
        there.claim("c2", [TWO, ONE])
    assert there.holder(TWO) is None, "a claim is whole or not made"
    with pytest.raises(Taken):
        here.claim("c3", [ONE])
    there.release("c1", [ONE])
    here.release("c3", [ONE])
    assert there.holder(ONE) == Claim("a", "c1", "pod shop/db-0")
    here.release("c1", [ONE])
    there.claim("c2", [TWO, ONE])
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(ONE), str(TWO)]


def test_after_a_crash_a_node_gives_up_only_what_it_has_no_more(tmp_path: Path) -> None:
    here, there = Ledger(tmp_path, "a"), Ledger(tmp_path, "b")
    here.settle(())
    here.open()
    here.claim("c1", [ONE])
    here.claim("c2", [TWO])
    there.claim("c1", [ip_address("fd00::2")])
    here.settle(["c2"])
    assert [bool(here.holder(a)) for a in (ONE, TWO, ip_address("fd00::2"))] == [False, True, True]


class Pods:
    """The pods of a node."""

    def __init__(self, **annotations: str) -> None:
        self.pod: Obj = {"metadata": {"name": "p", "uid": "u", "annotations": annotations}, "spec": {}}

    def get(self, namespace: str | None, name: str) -> Obj | None:
        return self.pod

    def list(self, namespace: str | None = None) -> list[Obj]:
        return [self.pod]


def of_node(folder: Path, number: int) -> NetworkConfig:
    part = layout.part(WHOLE, number)
    assert isinstance(part, IPv4Network)
    pools: dict[str, Network] = {"small": IPv4Network("10.60.0.0/30")}
    shared = {"cluster_cidrs": (WHOLE,), "ledger": folder, "node": f"n{number}", "pools": pools}
    return replace(config(folder), pod_cidr=part, **shared)


def allocator(folder: Path, number: int, **annotations: str) -> Allocator:
    made = Allocator(of_node(folder, number), Pods(**annotations), lambda owner: f"pod x/{owner}")
    made.settle(())
    return made


def take(node: Allocator, owner: str) -> str:
    (address,) = node.allocate(owner, "x", "p", "u")
    return str(address)


def test_a_pod_keeps_its_fixed_address_on_whichever_node_it_runs(tmp_path: Path) -> None:
    fixed = {ADDRESSES: '["10.42.128.2"]'}
    one, two, three = (allocator(tmp_path, number, **(fixed if number != 2 else {})) for number in (1, 2, 3))
    assert take(three, "c") == "10.42.128.2"
    assert take(two, "d") == "10.42.128.3", "its own range's first address is elsewhere"
    with pytest.raises(PoolError, match="in use by pod x/p on node n3"):
        take(one, "e")
    record = Record("c", (ONE,), "", "eth0")
    three.release("c", record)
    assert take(one, "e") == "10.42.128.2"
    one.release("e", record)
    assert take(two, "f") == "10.42.128.4"


def test_an_address_that_could_not_be_written_down_is_free(tmp_path: Path) -> None:
    node = allocator(tmp_path / "ledger", 3, **{ADDRESSES: '["10.42.128.2"]'})
    (tmp_path / "ledger").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        take(node, "c")
    (tmp_path / "away").rename(tmp_path / "ledger")
    assert take(node, "d") == "10.42.128.2"


@pytest.mark.parametrize("address", ["10.42.128.1", "10.42.132.0", "10.42.255.2", "10.42.0.1", "10.43.0.9"])
def test_what_is_no_pods_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(PoolError, match=f"address {address} is not in the pod range"):
        take(allocator(tmp_path, 3, **{ADDRESSES: f'["{address}"]'}), "c")


def test_nodes_share_a_pool_to_its_last_address(tmp_path: Path) -> None:
    asked = {POOLS[4]: '["small"]'}
    nodes = [allocator(tmp_path, number, **asked) for number in (1, 2)]
    assert {take(nodes[n % 2], f"c{n}") for n in range(4)} == {f"10.60.0.{n}" for n in range(4)}
    for node in nodes:
        with pytest.raises(PoolError, match="no free address"):
            take(node, "more")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=60))
def test_no_two_nodes_give_the_same_address(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    nodes = [allocator(folder, number, **{POOLS[4]: '["small"]'}) for number in (1, 2, 3)]
    held: dict[tuple[int, int], str] = {}
    for at, number, add in steps:
        if add and (at, number) not in held:
            if len(held) == 4:
                with pytest.raises(PoolError):
                    take(nodes[at], f"c{number}")
            else:
                held[at, number] = take(nodes[at], f"c{number}")
        elif not add and (address := held.pop((at, number), None)):
            nodes[at].release(f"c{number}", Record(f"c{number}", (ip_address(address),), "", "eth0"))
        assert len(set(held.values())) == len(held)
        assert {path.name for path in folder.iterdir()} == set(held.values())

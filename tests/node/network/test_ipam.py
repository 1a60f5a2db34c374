from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.network.ipam import Pool, PoolError

SMALL = IPv4Network("10.0.0.0/28")


def test_pods_never_get_the_networks_gateways_or_broadcast_address() -> None:
    pool = Pool(SMALL)
    given_out = {pool.allocate(f"c{i}") for i in range(13)}
    assert given_out == set(SMALL.hosts()) - {SMALL[1]}


def test_a_full_pool_says_so() -> None:
    pool = Pool(SMALL)
    for i in range(13):
        pool.allocate(f"c{i}")
    with pytest.raises(PoolError, match=r"no free address in the pod range .*: all 13 are in use"):
        pool.allocate("one more")


def test_a_freed_address_is_the_last_to_be_used_again() -> None:
    pool = Pool(SMALL)
    first = pool.allocate("a")
    pool.release("a")
    later = [pool.allocate(f"c{i}") for i in range(13)]
    assert later.index(first) == 12


def test_an_owner_keeps_its_address() -> None:
    pool = Pool(SMALL)
    assert pool.allocate("a") == pool.allocate("a")


def test_a_wanted_address_is_given_or_refused_with_the_reason() -> None:
    pool = Pool(SMALL)
    assert pool.allocate("a", IPv4Address("10.0.0.9")) == IPv4Address("10.0.0.9")
    with pytest.raises(PoolError, match="in use by sandbox a"):
        pool.allocate("b", IPv4Address("10.0.0.9"))
    with pytest.raises(PoolError, match="not in the pod range"):
        pool.allocate("b", IPv4Address("10.0.1.9"))


def test_after_a_restart_allocation_goes_on_behind_the_known_addresses() -> None:
    pool = Pool(SMALL)
    pool.adopt("a", IPv4Address("10.0.0.5"))
    assert pool.allocate("b") == IPv4Address("10.0.0.6")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=200))
def test_no_address_has_two_owners_and_none_leaks(steps: list[tuple[bool, int]]) -> None:
    pool = Pool(SMALL)
    held: dict[str, IPv4Address] = {}
    for add, number in steps:
        owner = f"c{number}"
        if not add:
            assert pool.release(owner) == held.pop(owner, None)
        elif len(held) < 13 or owner in held:
            address = pool.allocate(owner)
            assert held.get(owner, address) == address
            assert address not in {a for o, a in held.items() if o != owner}
            held[owner] = address
    assert pool.owners() == set(held)

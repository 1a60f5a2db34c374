from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.network.ipam import ADDRESSES, Addresses, Pool, PoolError, Request, request

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
    held: dict[str, IPv4Address | IPv6Address] = {}
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


POOLS = {"storage": IPv4Network("10.60.0.0/29"), "six": IPv6Network("fd60::/120")}


def dual() -> Addresses:
    return Addresses([IPv4Network("10.0.0.0/24"), IPv6Network("fd00::/64")], POOLS)


@pytest.mark.parametrize(
    ("annotations", "given"),
    [
        ({}, ["10.0.0.2", "fd00::2"]),
        ({ADDRESSES: '["10.0.0.77"]'}, ["10.0.0.77"]),
        ({ADDRESSES: '["fd00::77", "10.0.0.77"]'}, ["fd00::77", "10.0.0.77"]),
        ({ADDRESSES: '["10.60.0.3"]'}, ["10.60.0.3"]),
        ({"cni.projectcalico.org/ipv4pools": '["storage"]'}, ["10.60.0.0", "fd00::2"]),
        ({"cni.projectcalico.org/ipv4pools": '["10.60.0.0/29"]'}, ["10.60.0.0", "fd00::2"]),
        (
            {"cni.projectcalico.org/ipv4pools": '["storage"]', "cni.projectcalico.org/ipv6pools": '["six"]'},
            ["10.60.0.0", "fd60::"],
        ),
    ],
)
def test_pods_get_what_their_annotations_ask_for(annotations: dict[str, str], given: list[str]) -> None:
    assert [str(a) for a in dual().allocate("c", request(annotations))] == given


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({ADDRESSES: "10.0.0.7"}, "must be a JSON list with one address of each family at most"),
        ({ADDRESSES: '["10.0.0.7", "10.0.0.8"]'}, "must be a JSON list with one address of each family at most"),
        ({ADDRESSES: '["10.9.0.7"]'}, "address 10.9.0.7 is not in the pod range 10.60.0.0/29, 10.0.0.0/24"),
        ({ADDRESSES: '["fd00::9", "10.0.0.9"]'}, "address 10.0.0.9 is in use by sandbox other"),
        ({"cni.projectcalico.org/ipv4pools": '["six"]'}, 'there is no pool "six" for IPv4'),
        ({"cni.projectcalico.org/ipv4pools": "storage"}, "must be a JSON list of names or ranges of pools"),
        ({"cni.projectcalico.org/ipAddrsNoIpam": '["10.0.0.7"]'}, "is not supported"),
    ],
)
def test_what_cannot_be_given_says_why_and_takes_nothing(annotations: dict[str, str], reason: str) -> None:
    addresses = dual()
    addresses.allocate("other", Request((IPv4Address("10.0.0.9"),)))
    with pytest.raises(PoolError, match=reason):
        addresses.allocate("c", request(annotations))
    assert addresses.allocate("d", Request((IPv6Address("fd00::9"),))) == (IPv6Address("fd00::9"),)


def test_addresses_that_others_will_want_again_are_the_last_to_be_given() -> None:
    addresses = Addresses([SMALL])
    avoid = {int(SMALL[i]) for i in range(2, 14)}
    assert addresses.allocate("a", avoid=avoid) == (SMALL[14],)
    assert addresses.allocate("b", avoid=avoid) == (SMALL[2],)
    assert addresses.allocate("c", before=[SMALL[9]], avoid=avoid) == (SMALL[9],)
    assert addresses.allocate("d", before=[SMALL[9]]) == (SMALL[3],), "it is another's meanwhile"

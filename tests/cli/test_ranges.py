"""The address ranges that users choose."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from hawser.cli.engine.ranges import Ranges, pools_of, unique_local
from hawser.cli.engine.settings import Settings, SettingsError


def engine(**more: Any) -> Settings:
    return Settings(
        data_dir=Path("/nowhere"),
        instance="abc",
        listen="127.0.0.1:6443",
        kubelet_listen="0.0.0.0:10250",
        node_name="n",
        pod_cidr="10.42.0.0/16",
        service_cidr="10.96.0.0/20",
        **more,
    )


def test_what_is_not_asked_for_stays() -> None:
    had = engine(load_balancer_range="10.96.16.0/24", ip_pools="a=10.60.0.0/24")
    assert Ranges().changed(had) == had


def test_two_families_have_ranges_of_the_engines_own() -> None:
    made = Ranges(dual_stack=True).changed(engine())
    assert (made.pod_cidr6, made.service_cidr6) == unique_local("abc") != unique_local("abd")
    assert ip_network(made.pod_cidr6).is_private and ip_network(made.service_cidr6).prefixlen == 112
    assert Ranges(dual_stack=False).changed(made) == engine()


def test_pools_have_names() -> None:
    made = Ranges(pools=("a=10.60.0.0/24", "b=fd60::/112")).changed(engine())
    assert pools_of(made) == {"a": "10.60.0.0/24", "b": "fd60::/112"}
    assert Ranges(pools=()).changed(made) == engine()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Ranges(balancers="10.42.5.0/24"), "--load-balancer-range 10.42.5.0/24 overlaps 10.42.0.0/16"),
        (Ranges(balancers="10.60.0.0/24,10.60.0.0/28"), "overlaps 10.60.0.0/24"),
        (Ranges(balancers="here"), "--load-balancer-range: 'here' does not appear to be an IPv4 or IPv6 network"),
        (Ranges(balancers="10.60.0.1/24"), "has host bits set"),
        (Ranges(pools=("10.60.0.0/24",)), "--ip-pool wants NAME=CIDR"),
        (Ranges(pools=("a=10.96.0.0/24",)), "--ip-pool 10.96.0.0/24 overlaps 10.96.0.0/20"),
        (Ranges(pools=("a=10.60.0.1/32",)), "is too small"),
    ],
)
def test_ranges_that_cannot_be_are_refused(asked: Ranges, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        asked.changed(engine())

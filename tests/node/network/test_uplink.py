"""Routes on the machine to pods whose addresses are not of their node's range."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from hawser.node.network.uplink import Announcer, Uplink

ONE, SIX = ip_address("10.99.0.7"), ip_address("fd99::7")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def uplink(host: None) -> Uplink:
    ip("link", "add", "n2", "type", "veth", "peer", "name", "eth0")
    ip("link", "set", "eth0", "up")
    ip("link", "set", "n2", "up")
    for version, prefix in (("-4", "10.0.0.1/24"), ("-6", "fd00::1/64")):
        ip(version, "address", "add", prefix, "dev", "n2", *(["nodad"] if version == "-6" else []))
    return Uplink(Path("/proc/thread-self/ns/net"), "n2", (ip_address("10.0.0.2"), ip_address("fd00::2")))


def test_routes_come_and_go_with_pods(uplink: Uplink) -> None:
    announcer = Announcer(uplink)
    for _ in range(2):
        announcer.announce([ONE, SIX])
    assert ip("-4", "route", "show", str(ONE)).startswith("10.99.0.7 via 10.0.0.2 dev n2")
    ip("-4", "route", "del", str(ONE))
    announcer.withdraw([ONE, SIX])
    assert ip("-6", "route", "show", str(SIX)) == "", "that one is gone keeps none of the others"
    ip("link", "del", "n2")
    announcer.withdraw([ONE, SIX])
    with pytest.raises(OSError, match="the node's link is gone"):
        announcer.announce([ONE])
    announcer.close()

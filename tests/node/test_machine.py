"""What a machine's address is, in a network of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = "import sys, pathlib; from hawser.node import machine; print(machine.default_address(pathlib.Path(sys.argv[1])))"
_LINKS = """
ip link add card type veth peer name bridge
ip address add 198.51.100.7/24 dev card
ip address add 203.0.113.8/24 dev bridge
ip link set card up
ip link set bridge up
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network")
@pytest.mark.parametrize(
    ("cards", "route", "address"),
    [
        ([], "", "127.0.0.1"),
        (["card"], "", "198.51.100.7"),
        (["card"], "ip route add default via 203.0.113.1", "203.0.113.8"),
    ],
)
def test_a_node_without_a_default_route_has_its_cards_address(
    tmp_path: Path, cards: list[str], route: str, address: str
) -> None:
    for card in cards:
        (tmp_path / card / "device").mkdir(parents=True)
    command = f'set -e{_LINKS}{route}\nexec "$@"'
    words = ["unshare", "--net", "sh", "-c", command, "sh", sys.executable, "-c", _ASK, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == address

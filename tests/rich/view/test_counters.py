"""What a control group counts, as files of /proc show it."""

from __future__ import annotations

import pytest

from hawser.rich.view.counters import Counts, diskstats, io_stat, throttled

NODE = """\
   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17
 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17
 254       1 vda1 1 2 3 4 5 6 7 8 9 10 11
"""


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", {}),
        (
            "254:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n",
            {"254:0": {"rbytes": 4096, "wbytes": 512, "rios": 1, "wios": 2, "dbytes": 0, "dios": 0}},
        ),
        ("7:0 254:0 rios=1 cost.usage=3\n", {"7:0": {}, "254:0": {"rios": 1, "cost.usage": 3}}),
        ("254:0 rios=1 use_delay=x\n254:1 \n", {"254:0": {"rios": 1}, "254:1": {}}),
    ],
)
def test_io_stat_is_read_by_device(text: str, counts: dict[str, Counts]) -> None:
    assert io_stat(text) == counts


def test_version_1_has_two_files_with_a_line_for_each_kind() -> None:
    amounts = "254:0 Read 4096\n254:0 Write 512\n254:0 Sync 4608\n254:0 Total 4608\nTotal 4608\n"
    operations = "254:0 Read 1\n254:0 Discard 3\nTotal 4\n"
    assert throttled(amounts, operations) == {"254:0": {"rbytes": 4096, "wbytes": 512, "rios": 1, "dios": 3}}


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({}, ""),
        ({"254:0": {"rios": 0}, "9:9": {"rios": 1}}, ""),
        (
            {"254:0": {"rbytes": 4096, "rios": 1, "wbytes": 1024, "wios": 2, "dbytes": 512, "dios": 3}},
            " 254       0 vda 1 0 8 0 2 0 2 0 0 0 0 3 0 1 0 0 0\n",
        ),
        ({"254:1": {"wios": 1}}, " 254       1 vda1 0 0 0 0 1 0 0 0 0 0 0\n"),
    ],
)
def test_a_device_that_was_used_has_a_line_of_the_nodes_form(counts: dict[str, Counts], shown: str) -> None:
    assert diskstats(NODE, counts) == shown

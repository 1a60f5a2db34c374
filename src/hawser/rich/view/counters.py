"""What a container has used of the machine, as files of /proc show it, from what its control group counts.

Pure: text in, text out. Formats: Documentation/admin-guide/iostats.rst, cgroup-v2.rst (io.stat), slab(5).
"""

from __future__ import annotations

from collections.abc import Mapping

Counts = Mapping[str, int]
"""Of one device, by the names of io.stat: rbytes, wbytes, rios, wios, dbytes, dios."""

SLABINFO = (
    b"slabinfo - version: 2.1\n"
    b"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    b" : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)
"""No slab is a container's: since Linux 5.9 all share them, and what is charged to a group is a sum without names."""
_SECTOR = 512
_KINDS = {"Read": "r", "Write": "w", "Discard": "d"}


def io_stat(text: str) -> Mapping[str, Counts]:
    """The counts of cgroup v2's ``io.stat`` by device, ``MAJOR:MINOR``."""
    found: dict[str, dict[str, int]] = {}
    row: dict[str, int] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:  # some kernels leave a device without counts in the line of the next one
            row = found.setdefault(word, {})
        elif value.isdigit():
            row[key] = int(value)
    return found


def throttled(amounts: str, operations: str) -> Mapping[str, Counts]:
    """The counts of cgroup v1's ``blkio.throttle.io_service_bytes_recursive`` and ``io_serviced_recursive``."""
    found: dict[str, dict[str, int]] = {}
    for text, unit in ((amounts, "bytes"), (operations, "ios")):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in _KINDS:
                found.setdefault(words[0], {})[_KINDS[words[1]] + unit] = int(words[2])
    return found


def diskstats(node: str, counts: Mapping[str, Counts]) -> str:
    """The node's ``/proc/diskstats`` with a container's counts in place, without the devices that it has not used.

    A group's merges, times and flushes are counted nowhere; they are 0.
    """
    lines = []
    for line in node.splitlines():
        words = line.split()
        row = counts.get(":".join(words[:2]), {})
        if not any(row.values()):
            continue
        fields = [*_figures(row, "r"), *_figures(row, "w"), 0, 0, 0, *_figures(row, "d"), 0, 0]
        shown = " ".join(map(str, fields[: len(words) - 3]))
        lines.append(f"{words[0]:>4} {words[1]:>7} {words[2]} {shown}\n")
    return "".join(lines)


def _figures(row: Counts, kind: str) -> tuple[int, int, int, int]:
    """Operations, merges, sectors and milliseconds of one kind."""
    return row.get(f"{kind}ios", 0), 0, row.get(f"{kind}bytes", 0) // _SECTOR, 0

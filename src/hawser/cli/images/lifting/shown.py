"""A lift's report as people read it."""

from __future__ import annotations

from collections import defaultdict

from hawser.cli.images.lifting.report import Report
from hawser.cli.tables import size_text

_LINES = 12


def text(report: Report) -> str:
    """The report in a few screens; -o json has all of it."""
    systemd = f", systemd {report.systemd}" if report.systemd else ""
    lines = [
        f"{report.name} from {report.source}",
        f"{report.distribution}{systemd}; rich.hawser.dev/init: {report.init}; application: {report.application}",
        f"{size_text(report.total)} in {report.files} files: "
        + ", ".join(f"{path} {size_text(size)}" for path, size in report.sizes[:6]),
    ]
    kept = [d.unit for d in report.services if not d.masked]
    lines += ["", "SERVICES KEPT", *_wrapped(kept)]
    reasons: dict[str, list[str]] = defaultdict(list)
    for decision in report.services:
        if decision.masked and decision.enabled:
            reasons[decision.reason].append(decision.unit)
    asleep = sum(decision.masked and not decision.enabled for decision in report.services)
    lines += ["", f"SERVICES MASKED (and {asleep} that were not enabled)"]
    for reason, units in reasons.items():
        lines += [f"  {reason}:", *_wrapped(units, "    ")]
    local = {True: "  of this machine only", False: ""}
    ports = [f"  {p.number}/{p.protocol}  {p.service}  {p.source}{local[p.local]}".rstrip() for p in report.ports]
    lines += _section("LISTENING", ports)
    lines += _section(
        "DATA THAT SHOULD BE VOLUMES", [f"  {v.path}  {size_text(v.size)}  {v.reason}" for v in report.volumes]
    )
    found = [f"  /{a.path}:{a.line}  {a.address}{'  the machine itself' if a.own else ''}" for a in report.addresses]
    shown, hidden = found[:_LINES], len(found) - _LINES + report.more_addresses
    lines += _section("HARD-CODED ADDRESSES", [*shown, *([f"  and {hidden} more"] if hidden > 0 else [])])
    lines += _section("CHANGED", [f"  /{change.path}  {change.reason}" for change in report.changes])
    lines += _section("WARNINGS", [f"  {warning}" for warning in report.warnings])
    return "\n".join(lines)


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *lines] if lines else []


def _wrapped(words: list[str], indent: str = "  ", width: int = 110) -> list[str]:
    lines = [indent]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > width and lines[-1] != indent:
            lines.append(indent)
        lines[-1] += ("" if lines[-1] == indent else ", ") + word
    return lines if words else [indent + "none"]

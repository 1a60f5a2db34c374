"""What a rich container has besides its init: units enabled and masked, operation agents, hooks."""

from __future__ import annotations

import os
from typing import Any

from . import host, profile
from .bundle import Edited, furnish
from .facts import Facts
from .options import PREFIX
from .rootfs import RootFS
from .units import Group, groups


def equip(
    spec: dict[str, Any],
    edited: Edited,
    annotations: dict[str, str],
    answer: profile.Answer,
    rootfs: RootFS,
    facts: Facts,
) -> Edited:
    """The edit with all that annotations and profiles add; makes the control groups that agents need on cgroup v1.

    spec: the container's before the edit. Raises EditError and OptionError.
    """
    wanted = profile.wanted(annotations, answer)
    if not wanted:
        return edited
    made: list[Group] = []
    if edited.init == "systemd" and wanted.agents and not facts.cgroups.v2:
        with open("/proc/self/mountinfo", encoding="utf-8") as file:  # noqa: PTH123
            controllers = host.controllers(file.read())
        path = host.place(spec["linux"]["cgroupsPath"])
        made = groups(wanted.agents, path, controllers, _processors(spec))
    edited = furnish(edited, wanted, rootfs, facts, made)
    host.make_groups(made)
    return edited


def _processors(spec: dict[str, Any]) -> float:
    """The container's own limit, 0 for none."""
    cpu = (spec["linux"].get("resources") or {}).get("cpu") or {}
    quota = cpu.get("quota") or 0
    return quota / (cpu.get("period") or 100_000) if quota > 0 else 0.0


def note_hooks(
    spec: dict[str, Any], annotations: dict[str, str], answer: profile.Answer, container_id: str, bundle: str
) -> str:
    """Notes the hooks of a container; returns where, "" when it has none. Raises OptionError."""
    if not any(annotations.get(PREFIX + phase) or answer.get(phase) for phase in ("prestart", "poststop")):
        return ""
    from . import hooks, verbs  # here: few containers need them

    found = hooks.read(annotations, spec["process"], answer)
    home = verbs.home_of(os.environ["HAWSER_RECORDS"], container_id)
    verbs.note(home, spec, found, container_id, bundle)
    return home

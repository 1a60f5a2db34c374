"""What a rich container has besides its init: units enabled and masked, operation agents, hooks."""

from __future__ import annotations

import os

from . import host, profile
from .bundle import Edited
from .edited import EditError
from .facts import Facts
from .light import TYPE_CHECKING, Any
from .options import PREFIX
from .rootfs import RootFS

if TYPE_CHECKING:
    from .units import Group, Wanted


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
    if not profile.concerns_units(annotations, answer):
        return edited
    from .units import groups  # here: few containers need it

    wanted = profile.wanted(annotations, answer)
    made: list[Group] = []
    if edited.init == "systemd" and wanted.agents and not facts.cgroups.limiting:
        controllers = host.controllers(host.mountinfo())
        path = host.place(spec["linux"]["cgroupsPath"])
        made = groups(wanted.agents, path, controllers, _processors(spec))
    edited = _furnish(edited, wanted, rootfs, facts, made)
    host.make_groups(made, host.root_of(spec))
    return edited


def _furnish(edited: Edited, wanted: Wanted, rootfs: RootFS, facts: Facts, groups: list[Group]) -> Edited:
    """Adds to an edit what is asked of the image's units, and operation agents. Raises EditError.

    groups: what limits the agents where the container's systemd can not.
    """
    from .units import agent_files, agent_mounts, unit_files

    if not wanted:
        return edited
    if edited.init != "systemd":
        what = "operation agents" if wanted.agents else "enable-units and mask-units"
        raise EditError(f"{what} need init systemd: a container with a {edited.init} init has nobody to run them")
    agent_mounts(edited.spec, wanted.agents, groups)
    files = {**edited.files, **unit_files(wanted, rootfs), **agent_files(wanted.agents, facts.cgroups)}
    return edited._replace(files=files)


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

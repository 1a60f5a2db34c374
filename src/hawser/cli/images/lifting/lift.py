"""One lift, from a machine to an image and a report."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hawser.cli.images.lifting import adapting, masking, report, selection
from hawser.cli.images.lifting.archive import StreamedArchive
from hawser.cli.images.lifting.machines import Machine
from hawser.cli.images.lifting.remote import Remote
from hawser.cli.images.lifting.report import Report
from hawser.cli.images.lifting.selection import Selection
from hawser.cli.images.lifting.survey import Survey
from hawser.cli.images.lifting.transfer import transfer
from hawser.cli.images.oci import Entry, ImageConfig

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# No application: the machine's services are all there is, and the container lives until it is stopped.
_INIT_ALONE = ("tail", "-f", "/dev/null")

Progress = Callable[[str], None]


class LiftError(Exception):
    """A machine can not be lifted as asked."""


@dataclass(frozen=True)
class Request:
    """What the user asks for; patterns as in selection.py and masking.py."""

    name: str
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    keep_units: tuple[str, ...] = ()
    mask_units: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    unit: str = ""
    entrypoint: str = ""
    drop_host_keys: bool = False
    epoch: int = 0  # seconds since 1970: when all that is generated was made


def lift(
    machine: Machine, request: Request, destination: Path | None, progress: Progress = lambda _line: None
) -> Report:
    """Lifts a machine into an OCI archive at `destination`; without one, only the report is made.

    Raises LiftError, MachineError and TransferError; then there is no archive.
    """
    rules = selection.rules(request.exclude, machine.rules(), request.drop_host_keys)
    chosen = Selection(rules, request.include)
    if destination is None:
        telling = isinstance(machine, Remote)
        with machine.files(chosen, telling) as stream:
            survey = transfer(stream, None, chosen, progress)
        if isinstance(machine, Remote):
            _measured(survey, machine.sizes())
        return _decided(machine, request, chosen, survey)[1]
    destination.parent.mkdir(parents=True, exist_ok=True)
    with StreamedArchive(destination) as archive:
        with machine.files(chosen, False) as stream:
            survey = transfer(stream, archive, chosen, progress)
        upper, found = _decided(machine, request, chosen, survey)
        if not survey.count:
            raise LiftError(f"{machine.source} has no files")
        progress(f"writing {destination}")
        archive.finish(request.name, upper, _config(request, found), request.epoch)
    return found


def _measured(survey: Survey, sizes: dict[str, int]) -> None:
    """Takes over what the machine itself measured, for what did not pass."""
    survey.sizes.clear()
    survey.sizes.update(sizes)
    survey.total = sum(size for path, size in sizes.items() if "/" not in path)


def _decided(machine: Machine, request: Request, chosen: Selection, survey: Survey) -> tuple[list[Entry], Report]:
    units = survey.units()
    unit = _unit(request, units)
    keep = (*request.keep_units, *((unit,) if unit else ()))
    decisions = masking.decide(units, survey.enabled(), keep, request.mask_units)
    if unit and survey.init() != "systemd":
        raise LiftError(f"--unit {unit}: the machine has no systemd; name the application's words by --entrypoint")
    if request.drop_host_keys and survey.init() != "systemd":
        raise LiftError("--drop-host-keys: the machine has no systemd, which would make new ones at the first boot")
    upper, changes = adapting.adapt(survey, decisions, bool(unit), request.drop_host_keys)
    application = unit or request.entrypoint or "none: the init alone"
    made = report.make(
        request.name,
        machine.source,
        survey,
        machine.running(),
        decisions,
        changes,
        chosen,
        application,
        request.volumes,
    )
    return upper, made


def _unit(request: Request, units: set[str]) -> str:
    if not request.unit:
        return ""
    unit = request.unit if request.unit.endswith(".service") else request.unit + ".service"
    base, at, _ = unit.partition("@")
    if unit not in units and not (at and f"{base}@.service" in units):
        raise LiftError(f"--unit {unit}: the machine has no such service")
    return unit


def _config(request: Request, found: Report) -> ImageConfig:
    if request.unit:
        unit = request.unit if request.unit.endswith(".service") else request.unit + ".service"
        command: tuple[str, ...] = ("/" + adapting.FOLLOW, unit)
    else:
        command = tuple(shlex.split(request.entrypoint)) or _INIT_ALONE
    listening = tuple(f"{port.number}/{port.protocol}" for port in found.ports if not port.local)
    return ImageConfig(
        entrypoint=command,
        env={"PATH": _PATH},
        workdir="/",
        ports=listening,
        labels={"rich.hawser.dev/init": found.init},
    )

"""A lift as it was ordered: the machine opened, the image imported or written, failures explained."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hawser.cli.context import Failure
from hawser.cli.engine.settings import Settings
from hawser.cli.images.importer import ImportFailed
from hawser.cli.images.lifting import disk
from hawser.cli.images.lifting.lift import LiftError, Progress, Request, lift
from hawser.cli.images.lifting.machines import Machine, MachineError, Rootfs, Tarball
from hawser.cli.images.lifting.remote import Remote
from hawser.cli.images.lifting.report import Report
from hawser.cli.images.lifting.transfer import TransferError
from hawser.cli.images.sharing import import_everywhere

__all__ = ["Place", "Request", "carry_out"]
_IMPORT_SECONDS = 3600.0


@dataclass(frozen=True)
class Place:
    """Where the machine is: one of the four."""

    rootfs: Path | None = None
    tar: Path | None = None
    ssh: str = ""
    disk: Path | None = None
    sudo: bool = False
    ssh_options: tuple[str, ...] = ()


def carry_out(
    place: Place,
    request: Request,
    engine: Settings | None,
    data_dir: Path,
    output: Path | None,
    dry_run: bool,
    progress: Progress,
) -> Report:
    """Lifts a machine into `output`, or into the engine's images, or only reports. Raises Failure."""
    scratch = output.resolve().parent if output else data_dir / "images"
    with _explained(), contextlib.ExitStack() as stack:
        machine = _machine(place, scratch, [data_dir, *([output] if output else [])], dry_run, stack)
        if dry_run:
            return lift(machine, request, None, progress)
        if engine is None:
            return lift(machine, request, output, progress)
        scratch.mkdir(parents=True, exist_ok=True)
        archive = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="lift-"))) / "machine.tar"
        report = lift(machine, request, archive, progress)
        progress(f"Importing {request.name}")
        import_everywhere(engine, archive, _IMPORT_SECONDS)
        return report


def _machine(place: Place, scratch: Path, without: list[Path], dry_run: bool, stack: contextlib.ExitStack) -> Machine:
    if place.disk:
        return stack.enter_context(disk.mounted(place.disk, scratch))
    if place.ssh:
        return Remote(place.ssh, place.ssh_options, place.sudo, sizes=dry_run)
    if place.tar:
        return Tarball(place.tar)
    assert place.rootfs is not None
    # The archive under its name while it is being written, too.
    return Rootfs(place.rootfs, without=[*without, *(path.with_name(path.name + ".new") for path in without)])


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except MachineError as error:
        raise Failure(str(error), error.hint) from None
    except (LiftError, TransferError, ImportFailed) as error:
        raise Failure(str(error)) from None

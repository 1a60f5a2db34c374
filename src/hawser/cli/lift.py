"""``hawser image lift``: an existing machine as a rich image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.markup import escape

from hawser.cli import context
from hawser.cli.context import DataDir, Failure, Output, err, out
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.images.description import reference

Many = list[str] | None


def command(
    from_rootfs: Annotated[Path | None, typer.Option(help="A root directory; / is this machine.")] = None,
    from_tar: Annotated[
        Path | None, typer.Option(help="A tar file of a root (gzip, bzip2, xz, zstd); - is stdin.")
    ] = None,
    from_ssh: Annotated[
        str, typer.Option(metavar="[USER@]HOST[:PORT]", help="A running machine; needs tar there.")
    ] = "",
    from_disk: Annotated[Path | None, typer.Option(help="A raw or qcow2 disk image.")] = None,
    tag: Annotated[str, typer.Option("--tag", "-t", help="The image's full reference.")] = "",
    exclude: Annotated[Many, typer.Option(metavar="PATTERN", help="Leave these paths out, too (*, ?, **).")] = None,
    include: Annotated[Many, typer.Option(metavar="PATTERN", help="Keep these paths, whatever the rules say.")] = None,
    keep_unit: Annotated[Many, typer.Option(metavar="UNIT", help="Do not mask this unit.")] = None,
    mask_unit: Annotated[Many, typer.Option(metavar="UNIT", help="Mask this unit, too.")] = None,
    volume: Annotated[Many, typer.Option(metavar="PATH", help="A directory that is to be a volume.")] = None,
    unit: Annotated[str, typer.Option(help="The service that is the application: its end is the container's.")] = "",
    entrypoint: Annotated[str, typer.Option(help="The application's words, when it is no service.")] = "",
    drop_host_keys: Annotated[
        bool, typer.Option("--drop-host-keys", help="New SSH host keys at the first boot.")
    ] = False,
    sudo: Annotated[bool, typer.Option("--sudo", help="With --from-ssh: sudo there, without a password.")] = False,
    ssh_option: Annotated[Many, typer.Option(metavar="NAME=VALUE", help="An option of ssh_config(5).")] = None,
    manifest_file: Annotated[Path | None, typer.Option("--manifest", help="Write a pod for the image there.")] = None,
    stateful: Annotated[
        bool, typer.Option("--stateful-set", help="With --manifest: a StatefulSet with claims.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Write the archive there; do not import it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only the report.")] = False,
    form: Annotated[Output, typer.Option("-o", "--format", help="Format of the report.")] = Output.TABLE,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Turn an existing machine into a rich image, and report what of it makes no sense in a container.

    Examples:

      hawser image lift --from-ssh root@legacy.example --dry-run -t localhost/legacy:1

      hawser image lift --from-disk legacy.img -t localhost/legacy:1 --unit nginx --manifest legacy.yaml

      hawser image lift --from-rootfs / -t localhost/me:1 --output me.tar
    """
    with context.failures():
        if sum(map(bool, (from_rootfs, from_tar, from_ssh, from_disk))) != 1:
            raise Failure("name one machine: --from-rootfs, --from-tar, --from-ssh or --from-disk")
        if unit and entrypoint:
            raise Failure("--unit and --entrypoint are two answers to one question: what the application is")
        if from_disk or (from_rootfs and os.geteuid()):
            context.need_root()
        name = tag or ("localhost/machine:1" if dry_run else "")
        if not reference(name):
            raise Failure(f'"{name}" is not a full reference such as localhost/legacy:1', "name the image with -t")
        engine = None if output or dry_run else context.running(data_dir)
        # What lifts is loaded when a machine is lifted, not with every command.
        from hawser.cli.images.lifting import manifest, order, shown

        place = order.Place(from_rootfs, from_tar, from_ssh, from_disk, sudo, tuple(ssh_option or ()))
        asked = order.Request(
            name, tuple(exclude or ()), tuple(include or ()), tuple(keep_unit or ()), tuple(mask_unit or ()),
            tuple(volume or ()), unit, entrypoint, drop_host_keys, context.epoch(),
        )  # fmt: skip
        with err.status("Looking at the machine") as status:
            report = order.carry_out(
                place, asked, engine, data_dir.resolve(), output, dry_run, lambda line: status.update(escape(line))
            )
        if manifest_file:
            # Through JSON, so that YAML shows what is used twice twice, not as an alias.
            documents = json.loads(json.dumps(manifest.manifest(report, stateful)))
            manifest_file.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        if form in (Output.JSON, Output.YAML):
            context.show(report.document(), form)
        else:
            out.print(shown.text(report), markup=False)

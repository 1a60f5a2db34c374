"""``hawser image``: images without a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hawser.cli import context, lift
from hawser.cli.context import DataDir, Failure, Format, Output, err, out
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.images.description import DescriptionError, load, reference
from hawser.cli.images.importer import ImportFailed
from hawser.cli.images.rich import RichBuildError, build_rich
from hawser.cli.images.sharing import import_everywhere, sockets
from hawser.cli.tables import size_text
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError

app = typer.Typer(help="Import, list and build images; no registry is needed.", no_args_is_help=True)


@app.command("import", no_args_is_help=True)
def import_(
    archives: Annotated[list[Path], typer.Argument(help="OCI or Docker image archives (tar).")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Load image archives into the engine, as `docker save` or `skopeo copy` write them.

    Examples:

      hawser image import shop.tar

      docker save shop:1 -o shop.tar && hawser image import shop.tar
    """
    with context.failures():
        engine = context.running(data_dir)
        for archive in archives:
            if not archive.is_file():
                raise Failure(f"{archive} is not a file")
            with err.status(f"Importing {archive}"):
                try:
                    names = import_everywhere(engine, archive.resolve())
                except ImportFailed as e:
                    raise Failure(f"{archive} could not be imported: {e}") from None
            for name in names:
                out.print(name)


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA_DIR, output: Format = Output.TABLE) -> None:
    """List the engine's images.

    Examples:

      hawser image list

      hawser image list -o json
    """
    images = context.run(lambda: _images(data_dir))
    if output in (Output.JSON, Output.YAML):
        context.show(images, output)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("IMAGE", "SIZE", "ID"):
        table.add_column(column, justify="right" if column == "SIZE" else "left", no_wrap=True)
    for image in images:
        digest = image["id"] if output is Output.WIDE else image["id"].removeprefix("sha256:")[:12]
        for name in image["names"] or ["<none>"]:
            table.add_row(name, size_text(image["size"]), digest)
    out.print(table)


async def _images(data_dir: Path) -> list[dict[str, Any]]:
    engine = context.running(data_dir)
    # Every node has the same ones.
    socket = next(iter(sockets(engine).values()), None)
    if socket is None:
        raise Failure("no node is on", "`hawser node start NAME` switches one on")
    try:
        async with Runtime(f"unix://{socket}") as runtime:
            found = await runtime.list_images()
    except CRIError as e:
        raise Failure(f"containerd does not answer: {e.text}", "`hawser status` shows its state") from None
    rows = [{"names": [*i.tags], "id": i.id, "size": i.size} for i in found]
    return sorted(rows, key=lambda row: row["names"] or [row["id"]])


@app.command("build-rich", no_args_is_help=True)
def build(
    description: Annotated[
        Path, typer.Argument(help="What to build: a YAML file, see examples/legacy-app/image.yaml.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the archive there instead of importing it.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Build a rich image: systemd, sshd, cron and rsyslog of the host's distribution, your packages, files and command.

    The packages are kept in a cache: after the first time (about 40 s), a changed overlay takes seconds.

    Examples:

      hawser image build-rich examples/legacy-app/image.yaml

      hawser image build-rich shop.yaml -o shop.tar      for another machine
    """
    with context.failures():
        context.need_root()
        engine = None if output else context.running(data_dir)
        try:
            image = load(description)
            archive = output or _scratch(data_dir, image.name)
            with err.status("Building") as status:
                build_rich(image, archive, progress=lambda line: status.update(line))
            if engine is not None:
                with err.status(f"Importing {image.name}"):
                    import_everywhere(engine, archive)
        except (DescriptionError, RichBuildError, ImportFailed) as e:
            raise Failure(str(e)) from None
        out.print(str(output) if output else image.name)


@app.command("build-agent")
def build_agent(
    tag: Annotated[str, typer.Option("--tag", "-t", help="The image's full reference.")] = "localhost/hawser-rich:1",
    output: Annotated[Path | None, typer.Option("--output", help="Write the archive there; do not import it.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Build the image that the DaemonSet of `hawser rich install` runs on a cluster's nodes, of this Hawser.

    Examples:

      hawser image build-agent -t registry.example/hawser-rich:1 --output hawser-rich.tar
    """
    with context.failures():
        context.need_root()
        if not reference(tag):
            raise Failure(f'"{tag}" is not a full reference such as localhost/hawser-rich:1', "name the image with -t")
        engine = None if output else context.running(data_dir)
        from hawser.cli.images.agent import build as build_image

        try:
            with err.status("Building") as status:
                archive = build_image(tag, output or _scratch(data_dir, tag), progress=lambda line: status.update(line))
            if engine is not None:
                import_everywhere(engine, archive)
        except (RichBuildError, ImportFailed) as e:
            raise Failure(str(e)) from None
        out.print(str(output) if output else tag)


app.command("lift", no_args_is_help=True)(lift.command)


def _scratch(data_dir: Path, name: str) -> Path:
    """Where archives of a name are kept."""
    return data_dir.resolve() / "images" / (name.replace("/", "_").replace(":", "_") + ".tar")

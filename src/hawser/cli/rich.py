"""``hawser rich``: what rich containers have become, and rich containers on other clusters."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from hawser.cli import context
from hawser.cli.context import Container, Context, DataDir, Failure, Format, Kubeconfig, Namespace, Output, err, out
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.tables import aligned, size_text
from hawser.node.writable.names import shown

app = typer.Typer(help="What changed in containers, and rich containers on other clusters.", no_args_is_help=True)
Pod = Annotated[str, typer.Argument(metavar="POD", help="Name of the pod.")]


class Part(StrEnum):
    """What `install` prints."""

    OBJECTS = "objects"
    CONTAINERD_1 = "containerd-1"
    CONTAINERD_2 = "containerd-2"
    CRIO = "crio"


_SIGNS = {"added": "A", "changed": "C", "deleted": "D"}


@app.command("diff", no_args_is_help=True)
def diff(
    pod: Pod,
    namespace: Namespace = "default",
    container: Container = "",
    output: Format = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show what changed in a container since its image: A added, C changed, D deleted.

    Files on volumes and on tmpfs (/run, /tmp) are no part of it.

    Examples:

      hawser rich diff legacy-app-0

      hawser rich diff legacy-app-0 -o json
    """

    async def work() -> dict[str, Any]:
        from hawser.api.kinds import POD
        from hawser.cli.releasing.push import container_of
        from hawser.cli.writable.nodeside import differences

        async with context.cluster(kubeconfig, kube_context, data_dir) as client:
            found = await client.get(POD, pod, namespace)
            return await differences(client, found, container_of(found, container))

    found = context.run(work)
    if output in (Output.JSON, Output.YAML):
        context.show(found, output)
        return
    rows = [
        (_SIGNS[c["kind"]], size_text(c.get("size", 0)), size_text(c["before"]), shown(c["path"]))
        for c in found["changes"]
    ]
    out.print(aligned(("", "SIZE", "BEFORE", "PATH"), rows), end="", markup=False)
    told = f"{found['added']} added, {found['changed']} changed, {found['deleted']} deleted since {found['image']}"
    err.print(f"{told}; {size_text(found['bytes'])} in all", markup=False)


@app.command("commit", no_args_is_help=True)
def commit(
    pod: Pod,
    tag: Annotated[str, typer.Option("--tag", "-t", help="The new image's full reference.")],
    namespace: Namespace = "default",
    container: Container = "",
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave these paths out, with all below.")
    ] = None,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Keep the machine id, journals and SSH host keys, too.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Write the archive there; do not import it.")] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Push it to the registry that the reference names; do not import it.")
    ] = False,
    form: Annotated[Output, typer.Option("-o", "--format", help="Output format.")] = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a new image of a running container: its image, and a layer of what changed in it.

    The entry point and all other settings stay. /run, /tmp and what makes one machine differ from another are left
    out. The same files give the same image. Stop what writes first: nothing is frozen meanwhile.

    Examples:

      hawser rich commit legacy-app-0 -t localhost/legacy-app:2

      hawser rich commit shop-0 -t registry.example/shop:2 --exclude /var/log --output shop.tar

      hawser rich commit shop-0 -t registry.example/shop:2 --push
    """
    from hawser.cli.images.description import reference
    from hawser.cli.writable.order import Commit, carry_out

    with context.failures():
        if not reference(tag):
            raise Failure(f'"{tag}" is not a full reference such as localhost/legacy:1', "name the image with -t")
        engine = None if output or push else context.meant(kubeconfig, kube_context, data_dir)
        if engine is None and output is None and not push:
            raise Failure(
                "the image has nowhere to go on another cluster",
                "--push gives it to the registry, --output FILE writes an archive of it",
            )
    order = Commit(pod, namespace, container, tag, tuple(exclude or ()), keep_identity, context.epoch(-1), push)

    async def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="hawser-commit-", dir=output.parent if output else None) as scratch:
            async with context.cluster(kubeconfig, kube_context, data_dir) as client:
                with err.status("") as status:
                    return await carry_out(client, order, engine, output, Path(scratch), status.update)

    made = context.run(work)
    if form in (Output.JSON, Output.YAML):
        context.show(made, form)
    else:
        told = f"{made['added']} added, {made['changed']} changed, {made['deleted']} deleted"
        out.print(f"{output or tag}: {told}, a layer of {size_text(made['layer'])}", markup=False)


@app.command("install")
def install(
    show: Annotated[bool, typer.Option("--print", help="Print the objects; nothing is applied.")] = False,
    part: Annotated[
        Part, typer.Option(help="What to print: the objects, or a node's drop-in, to be put there by other means.")
    ] = Part.OBJECTS,
    image: Annotated[
        str, typer.Option(help="The agent's image: hawser image build-agent.")
    ] = "localhost/hawser-rich:1",
    restart: Annotated[
        bool,
        typer.Option("--restart/--no-restart", help="Restart a node's container runtime when its settings change."),
    ] = True,
    socket: Annotated[str, typer.Option(metavar="unix:///PATH", help="The nodes' CRI socket, if not the usual.")] = "",
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
) -> None:
    """Bring rich containers to another cluster: a DaemonSet that prepares its nodes, a RuntimeClass, RBAC, the CRD.

    Examples:

      hawser rich install --print --image registry.example/hawser-rich:1 | kubectl apply -f -

      hawser rich install --print --part containerd-1    for nodes that are set up by other means
    """
    with context.failures():
        from hawser.cli.installing import dropins
        from hawser.cli.installing.manifests import manifests

        texts = {
            Part.CONTAINERD_1: dropins.containerd_tables(2, runc=True),
            Part.CONTAINERD_2: dropins.containerd_drop_in(),
            Part.CRIO: dropins.crio_drop_in(),
        }
        if part is not Part.OBJECTS:
            out.print(texts[part], end="", markup=False)
            return
        objects = manifests(image, restart=restart, socket=socket)
        if show:
            out.print(yaml.safe_dump_all(objects, sort_keys=False), end="", markup=False)
            return

        async def work() -> None:
            from hawser.api.kinds import of
            from hawser.client.client import Client

            async with Client.from_kubeconfig(kubeconfig, kube_context) as client:
                for one in objects:
                    kind = of(one["apiVersion"], one["kind"])
                    assert kind is not None
                    await client.apply(kind, one, "hawser-rich-install")
                    out.print(f"{one['kind'].lower()}/{one['metadata']['name']}", markup=False)

        context.run(work)


@app.command("install-node", hidden=True)
def install_node(
    root: Annotated[Path, typer.Option(help="The node's root directory.")] = Path("/"),
    restart: Annotated[bool, typer.Option("--restart", help="Restart what has to start again.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take away what was written before.")] = False,
    profiles: Annotated[str, typer.Option(metavar="PATH", help="Where `hawser rich agent` listens, if it runs.")] = "",
) -> None:
    """What the DaemonSet runs first on every node; also for nodes that are set up by other means."""
    from hawser.cli.installing import node

    with context.failures():
        try:
            done = node.remove(root) if remove else node.prepare(root, profiles=profiles)
            for path in done.files:
                out.print(f"{'removed' if remove else 'wrote'} {path}", markup=False)
            for note in done.notes:
                err.print(f"note: {note}", markup=False)
            if restart:
                node.restart(done.restart, node.on_host)
            elif done.restart:
                err.print(f"restart {', '.join(done.restart)}: containers go on meanwhile", markup=False)
        except node.NodeError as error:
            raise Failure(str(error)) from None


@app.command("changes", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def changes(arguments: typer.Context) -> None:
    """What `diff` and `commit` run on a cluster's node."""
    from hawser.node.writable.__main__ import main

    raise typer.Exit(main(arguments.args))


@app.command("agent")
def agent(
    node: Annotated[str, typer.Option(envvar="NODE_NAME", help="This node's name in the cluster.")],
    socket: Annotated[
        Path, typer.Option(help="Where hawser-runtime asks for RichProfiles: profiles=PATH in its settings.")
    ] = Path("/run/hawser-rich/profiles.sock"),
    root: Annotated[Path, typer.Option(help="Where the node's root directory is.")] = Path("/"),
    view: Annotated[
        Path | None,
        typer.Option(help="Keep lxcfs in this directory (view=PATH in its settings); needs the node's mounts."),
    ] = None,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
) -> None:
    """Look after the rich containers of another cluster's node; the DaemonSet of `hawser rich install` runs it.

    It gives hawser-runtime what RichProfiles say, and makes Events of what happens in rich containers.
    """

    async def work() -> None:
        from hawser.cli.richagent import run
        from hawser.client.client import Client

        async with Client.from_kubeconfig(kubeconfig, kube_context, user_agent="hawser-rich") as client:
            await run(client, node, socket, root, view)

    context.run(work)

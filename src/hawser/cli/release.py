"""``hawser release``: new code into running containers, as into virtual machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from hawser.api.types import Obj
from hawser.cli import context
from hawser.cli.context import Container, Context, DataDir, Format, Kubeconfig, Namespace, Output, err, out
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.releasing.push import Order, Outcome, Result
from hawser.cli.tables import aligned, size_text
from hawser.client.client import Client

app = typer.Typer(
    help="New code into running containers: the pod, its address and its other services stay.", no_args_is_help=True
)
Pods = Annotated[str, typer.Argument(metavar="POD|SELECTOR", help="A pod's name, or labels: app=shop,tier!=db.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds for a restart, and for a pod to be well after it.")]
Settle = Annotated[
    float | None, typer.Option(min=0, help="Seconds that all must stay well (default: what the readiness probe needs).")
]
Parallel = Annotated[int, typer.Option(min=1, help="Pods at a time.")]
MaxUnavailable = Annotated[str, typer.Option(metavar="N|P%", help="Pods that may be not ready at a time.")]


@app.command("push", no_args_is_help=True)
def push(
    pods: Pods,
    src: Annotated[Path, typer.Option("--src", help="The directory whose content is released.")],
    unit: Annotated[str, typer.Option("--unit", help="The service to restart; hawser-app is the application.")] = "",
    command: Annotated[str, typer.Option("--command", help="What to run in its shell instead of a restart.")] = "",
    dest: Annotated[str, typer.Option("--dest", help="Where it belongs in the container.")] = "/",
    namespace: Namespace = "default",
    container: Container = "",
    delete: Annotated[bool, typer.Option("--delete", help="Remove from --dest what --src does not have.")] = False,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Neither sent nor deleted (*, ?, **).")
    ] = None,
    owner: Annotated[str, typer.Option(metavar="UID:GID", help="Who owns what is sent (default: as in --src).")] = "",
    checksum: Annotated[bool, typer.Option("--checksum", help="Compare content even if size and time agree.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Restart even if no file differs.")] = False,
    parallel: Parallel = 1,
    max_unavailable: MaxUnavailable = "1",
    settle: Settle = None,
    timeout: Timeout = 120,
    keep: Annotated[int, typer.Option(min=1, max=100, help="Releases that can be undone later.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    output: Format = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Sync a directory into containers, restart a service there, and undo what does not come up.

    Only what differs is sent. What it replaces is kept in the container; when the unit or the pod's readiness fails,
    that is put back and the unit restarted. Of several pods no further one is touched after a failure.
    Works on any cluster: it needs exec, and in the image sh, tar and the usual file tools.

    Exit codes: 0 done, 1 failed and undone or not begun, 3 failed and not undone.

    Examples:

      hawser release push legacy-app-0 --src build/ --dest /opt/legacy-app --unit hawser-app

      hawser release push app=shop --src rootfs/ --unit shop --max-unavailable 25% --parallel 2

      hawser release push shop-0 --src static/ --dest /srv/www --delete --command 'nginx -s reload' --dry-run
    """
    if unit and command:
        raise typer.BadParameter("--unit and --command are two answers to one question: what makes the release live")
    if not dest.startswith("/"):
        raise typer.BadParameter("--dest is a path from the container's root")
    if delete and not dest.strip("/"):
        raise typer.BadParameter("--delete needs a --dest that is not the whole container")
    order = Order(
        src, dest, unit, command, container, delete, tuple(exclude or ()), _owner(owner), checksum, restart, settle,
        timeout, keep, dry_run,
    )  # fmt: skip

    async def one(client: Client, pod: Obj, say: Callable[[str], None]) -> Outcome:
        from hawser.cli.releasing.push import push as work

        return await work(client, pod, order, say)

    _to_all(one, pods, namespace, parallel, max_unavailable, output, (kubeconfig, kube_context, data_dir))


@app.command("rollback", no_args_is_help=True)
def rollback(
    pods: Pods,
    unit: Annotated[str, typer.Option("--unit", help="The service to restart (default: the release's).")] = "",
    namespace: Namespace = "default",
    container: Container = "",
    parallel: Parallel = 1,
    max_unavailable: MaxUnavailable = "1",
    settle: Settle = None,
    timeout: Timeout = 120,
    output: Format = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Undo the last release: its files as they were before, and the unit restarted. Repeat it for the one before.

    Examples:

      hawser release rollback legacy-app-0

      hawser release rollback app=shop --parallel 2
    """
    order = Order(unit=unit, container=container, settle=settle, timeout=timeout)

    async def one(client: Client, pod: Obj, say: Callable[[str], None]) -> Outcome:
        from hawser.cli.releasing.push import undo

        return await undo(client, pod, order, say)

    where = (kubeconfig, kube_context, data_dir)
    _to_all(one, pods, namespace, parallel, max_unavailable, output, where, good=(Result.UNDONE,))


@app.command("status", no_args_is_help=True)
def status(
    pods: Pods,
    namespace: Namespace = "default",
    container: Container = "",
    output: Format = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show what was released to pods, and whether their containers still have it.

    Examples:

      hawser release status app=shop

      hawser release status legacy-app-0 -o json
    """

    async def work() -> list[dict[str, Any]]:
        from hawser.cli.releasing.rollout import chosen
        from hawser.cli.releasing.told import state

        async with context.cluster(kubeconfig, kube_context, data_dir) as client:
            return [await state(client, pod, container) for pod in await chosen(client, namespace, pods)]

    rows = context.run(work)
    if output in (Output.JSON, Output.YAML):
        context.show(rows, output)
        return
    _print(("POD", "STATE", "RELEASE", "AT", "UNIT", "DESTINATION", "UNDOABLE"), [
        (r["pod"], r["state"], r["id"], r["at"], r["unit"] or r["command"], r["destination"], str(len(r["undoable"])))
        for r in rows
    ])  # fmt: skip


Where = tuple[Path | None, str, Path]


def _to_all(
    one: Callable[[Client, Obj, Callable[[str], None]], Coroutine[Any, Any, Outcome]],
    pods: str,
    namespace: str,
    parallel: int,
    max_unavailable: str,
    output: Output,
    where: Where,
    good: tuple[Result, ...] = (Result.RELEASED, Result.UNCHANGED, Result.PLANNED),
) -> None:
    async def work() -> list[Outcome]:
        from hawser.cli.releasing.rollout import chosen, roll, unavailable_limit

        async with context.cluster(*where) as client:
            found = await chosen(client, namespace, pods)
            limit = unavailable_limit(max_unavailable, len(found))
            with err.status("") as shown:

                def told(pod: Obj) -> Coroutine[Any, Any, Outcome]:
                    name = pod["metadata"]["name"]
                    return one(client, pod, lambda text: shown.update(f"{name}: {text}"))

                return await roll(client, namespace, found, pods, parallel, limit, told)

    outcomes = context.run(work)
    if output in (Output.JSON, Output.YAML):
        context.show([outcome.document() for outcome in outcomes], output)
    else:
        _show(outcomes)
    if any(outcome.result is Result.FAILED and outcome.release for outcome in outcomes):
        raise typer.Exit(3)
    if any(outcome.result not in good for outcome in outcomes):
        raise typer.Exit(1)


def _show(outcomes: list[Outcome]) -> None:
    if len(outcomes) == 1 and outcomes[0].result is Result.PLANNED:
        for sign, paths in zip(
            "+~-", (outcomes[0].plan.added, outcomes[0].plan.changed, outcomes[0].plan.deleted), strict=True
        ):
            for path in paths:
                out.print(f"{sign} {path}", markup=False)
    _print(("POD", "RESULT", "ADDED", "CHANGED", "DELETED", "SENT", "SECONDS", "RELEASE"), [
        (o.pod, str(o.result), *(str(len(part)) for part in (o.plan.added, o.plan.changed, o.plan.deleted)),
         size_text(o.plan.size), f"{o.seconds:.1f}", o.release)
        for o in outcomes
    ])  # fmt: skip
    for outcome in outcomes:
        if outcome.why:
            err.print(f"{outcome.pod}: {outcome.why}", markup=False)


def _print(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    sys.stdout.write(aligned(columns, rows))


def _owner(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    uid, _, gid = text.partition(":")
    if not (uid.isdigit() and gid.isdigit()):
        raise typer.BadParameter(f'--owner is "{text}", not two numbers such as 0:0: names may mean others there')
    return int(uid), int(gid)

"""``hawser up``: makes an engine when there is none, starts it, waits until pods can run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hawser.cli import context, ready
from hawser.cli.asked import NOTHING, AgentArgs, APIServerArgs, ControllersArgs, Given, Shape, several
from hawser.cli.context import DataDir, Failure, out
from hawser.cli.engine import choices, cleanup, code, containerd, nodes, orphans, pki, power, processes, settings, units
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.ranges import Ranges
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.runtime.install import install

STOP_SECONDS = 60.0
"""How long a supervisor may take to stop its processes."""


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the engine is ready.")] = False,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="API address (default: 127.0.0.1, first free from 6443)."),
    ] = None,
    runtime_endpoint: Annotated[
        str | None,
        typer.Option(metavar="unix:///PATH", help="A CRI socket to use instead of a private containerd."),
    ] = None,
    oci_runtime: Annotated[
        str | None,
        typer.Option(metavar="runc|crun|auto", help="What runs plain pods (default: auto, crun where it works)."),
    ] = None,
    apiserver_arg: APIServerArgs = None,
    controllers_arg: ControllersArgs = None,
    agent_arg: AgentArgs = None,
    node_count: Annotated[
        int | None,
        typer.Option("--nodes", min=1, max=nodes.MOST, help="Nodes on this machine (default: as it was, 1)."),
    ] = None,
    zones: Annotated[
        int | None, typer.Option("--zones", min=1, help="Deal the nodes out to so many zones (default: none).")
    ] = None,
    node_cpu: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Processors of each node (default: the machine's).")
    ] = None,
    node_memory: Annotated[
        str | None, typer.Option(metavar="QUANTITY", help="Memory of each node, such as 4Gi (default: the machine's).")
    ] = None,
    dual_stack: Annotated[
        bool | None,
        typer.Option("--dual-stack/--single-stack", help="IPv6 beside IPv4 for pods and Services (default: IPv4)."),
    ] = None,
    load_balancer_range: Annotated[
        str | None,
        typer.Option(metavar="CIDR[,CIDR]", help='Addresses of Services of type LoadBalancer; "" for none.'),
    ] = None,
    ip_pool: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CIDR", help='A further range, for pods that ask for it by annotation; "" for none.'),
    ] = None,
) -> None:
    """Start the engine: a Kubernetes API, controllers, scheduler and node for this machine.

    The first start makes certificates, picks free ports and address ranges and imports the base images.
    Containers that ran before go on running; Ctrl-C stops the engine, not the containers.

    Examples:

      hawser up                           in the foreground

      hawser up --detach                  in the background

      hawser up -d --data-dir /srv/two    a second engine beside the first

      hawser up -d --nodes 3 --zones 3    three nodes, each with its own network, containerd and agent

      hawser up -d --dual-stack --load-balancer-range 192.0.2.64/27

      hawser up -d --apiserver-arg audit-log-path=/var/log/audit.json --apiserver-arg audit-policy-file=/etc/audit.yaml
    """
    given = Given(
        listen,
        runtime_endpoint,
        several(apiserver_arg),
        several(controllers_arg),
        several(agent_arg),
        Shape(node_count, zones, node_cpu, node_memory),
        Ranges(dual_stack, load_balancer_range, several(ip_pool)),
        oci_runtime,
    )
    with context.failures():
        context.need_root()
        if detach:
            ready.say(start(data_dir.resolve(), given))
            return
        with _claimed(data_dir.resolve(), given) as (engine, held):
            if context.supervisor_pid(engine) is not None:
                out.print(f"The engine in {engine.data_dir} runs already: {engine.server}")
                _say_outdated(engine)
                return
            engine = clear_the_way(engine)
            if os.fork() == 0:
                _watch_start(engine)
            os.set_inheritable(held, True)
            os.execv(sys.executable, [*supervisor_command(engine), "--release", str(held)])


def start(data_dir: Path, given: Given = NOTHING, *, anew: bool = False) -> Settings:
    """The engine of a data directory, running in the background and ready. Raises Failure.

    anew: its processes are stopped first when they run; containers go on. Where systemd has a unit of it, systemd runs
    it.
    """
    with _claimed(data_dir, given, anew=anew) as (engine, _):
        supervisor = context.supervisor_pid(engine)
        if supervisor is None:
            engine = clear_the_way(engine)
            if not units.is_installed(engine):
                _spawn(engine)
        else:
            # A node whose making was cut short is finished now.
            power.reload(engine, supervisor)
            _say_outdated(engine)
    if supervisor is None and units.is_installed(engine):
        # The unit's own `hawser up` is who has the lock now.
        units.start(engine, lambda: context.supervisor_pid(engine))
        engine = context.existing(data_dir)
    asyncio.run(ready.wait(engine))
    return engine


def _say_outdated(engine: Settings) -> None:
    if code.is_outdated(engine.run_dir):
        out.print("It has started with other code than what is installed now: `hawser restart` runs that")


@contextlib.contextmanager
def _claimed(data_dir: Path, given: Given, *, anew: bool = False) -> Iterator[tuple[Settings, int]]:
    """The prepared engine, and the lock that keeps every other `up` and `down` of it waiting meanwhile."""
    given.check()
    with settings.exclusive(data_dir) as held:
        if anew and (engine := settings.load(data_dir)) and (supervisor := context.supervisor_pid(engine)):
            processes.terminate(supervisor, STOP_SECONDS)
        try:
            engine = prepare(data_dir, given)
        except BaseException:
            # Of a directory made in vain nothing stays.
            with contextlib.suppress(OSError):
                data_dir.rmdir()
            raise
        yield engine, held


def clear_the_way(engine: Settings) -> Settings:
    """Ends what a killed supervisor has left, then checks that the engine can start at all. Raises Failure.

    Returns the settings, with other ports of node and controllers when the old ones are taken by now.
    """
    end_leftovers(engine)
    if not engine.runtime_endpoint and (missing := containerd.problem(engine)):
        raise Failure(*missing)
    _check_listen(engine.listen)
    return choices.with_free_ports(engine)


def prepare(data_dir: Path, given: Given = NOTHING) -> Settings:
    """Makes or updates everything on disk that the processes need. Idempotent."""
    for line in orphans.sweep(data_dir):
        out.print(line, markup=False)
    engine = settings.load(data_dir)
    if engine is None:
        if given.listen is not None:
            _check_listen(given.listen)
        engine = choices.create(data_dir, given.listen, given.runtime_endpoint or "")
        engine = given.changed(engine)
        engine.save()
    elif (changed := given.changed(engine)) != engine:
        if context.supervisor_pid(engine) is not None:
            raise Failure("the engine runs with other settings", "`hawser down` first, then start it with the new ones")
        if changed.listen != engine.listen:
            _check_listen(changed.listen)
        changed.save()
        engine = changed
    engine = _with_cni_dirs(engine)
    listed = _with_nodes(engine, given.shape)
    choices.register(engine)
    # Image archives may hold what is nobody else's business, too.
    for directory in (engine.log_dir, *(engine.data_dir / name for name in ("store", "agent", "images"))):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    engine.run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    engine.run_dir.parent.chmod(0o711)
    pki.prepare(engine)
    containerd.prepare(engine)
    install(
        containerd.runtime_path(engine),
        profiles=containerd.profiles_socket(engine),
        view=containerd.view_dir(engine),
        roots=containerd.kept_roots(engine),
    )
    power.prepare(engine, listed)
    return engine


def _with_nodes(engine: Settings, shape: Shape) -> list[Node]:
    """The nodes, kept as they are asked for. Raises Failure."""
    kept = nodes.load(engine)
    listed = shape.applied(kept)
    if listed != kept:
        if context.supervisor_pid(engine) is not None:
            raise Failure("the engine runs with other nodes", "`hawser node add` adds one to it")
        nodes.save(engine, listed)
    return listed


def _with_cni_dirs(engine: Settings) -> Settings:
    """The settings with the CNI folders of the user's runtime, which is asked for them. Raises Failure."""
    folders = ("", "")
    if engine.runtime_endpoint:
        try:
            folders = asyncio.run(_cni_dirs(engine.runtime_endpoint))
        except CRIError as e:
            raise Failure(
                f"no container runtime answers at {engine.runtime_endpoint}: {e.text}",
                'start it, or let hawser run its own with --runtime-endpoint ""',
            ) from None
    if folders == (engine.cni_conf_dir, engine.cni_bin_dir):
        return engine
    changed = replace(engine, cni_conf_dir=folders[0], cni_bin_dir=folders[1])
    changed.save()
    return changed


async def _cni_dirs(endpoint: str) -> tuple[str, str]:
    async with Runtime(endpoint) as runtime:
        return await runtime.cni_dirs()


def _check_listen(listen: str) -> None:
    """Raises Failure, so that an address is kept only when it can be had."""
    if why := settings.listen_problem(listen):
        raise Failure(f"the API server cannot listen on {listen}: {why}", "name another address with --listen")


def end_leftovers(engine: Settings) -> None:
    """Ends processes of the engine whose supervisor was killed; containers stay, with their shims and their view."""
    for pid in cleanup.engine_pids(engine):
        arguments = processes.argv(pid)
        shim = Path(arguments[0]).name.startswith("containerd-shim") if arguments else False
        if cleanup.is_role(arguments) and not shim and not cleanup.serves_view(arguments):
            processes.terminate(pid, 5.0)


def supervisor_command(engine: Settings) -> list[str]:
    return [sys.executable, "-m", "hawser.cli.engine.supervisor", "--data-dir", str(engine.data_dir)]


def _spawn(engine: Settings) -> None:
    """Starts the supervisor; returns when the engine is its. Raises Failure."""
    path = engine.log_dir / "supervisor.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            supervisor_command(engine),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    while context.supervisor_pid(engine) != process.pid:
        if process.poll() is not None:
            raise Failure(
                f"the supervisor ended with exit code {process.returncode}",
                f"The last lines of {path}:\n{ready.tail(path)}",
            )
        time.sleep(0.005)
    process.returncode = 0  # it outlives this command


def _watch_start(engine: Settings) -> None:
    """In a child of the foreground supervisor: tells when the engine is ready, then ends."""
    code = 0
    try:
        with context.failures():
            asyncio.run(ready.wait(engine))
            ready.say(engine)
    except typer.Exit as e:
        code = e.exit_code
    os._exit(code)

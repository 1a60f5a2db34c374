"""What every command shares: which engine is meant, how things are printed, how failures end.

Only this package exits the process: ``Failure`` says what went wrong and what to do next.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import yaml
from rich.console import Console

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.cli.engine import processes, settings
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings, SettingsError
from hawser.client.client import Client
from hawser.client.config import ConfigError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
T = TypeVar("T")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="HAWSER_DATA_DIR",
        help="Directory of the engine's state; each one is an engine of its own.",
        show_default=True,
    ),
]


class Output(StrEnum):
    """-o of commands that show something."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


Format = Annotated[Output, typer.Option("--output", "-o", help="Output format.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the pod.")]
Container = Annotated[str, typer.Option("--container", "-c", help="Container; needed when the pod has several.")]


Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig", envvar="KUBECONFIG", help="A cluster's kubeconfig; without: the engine, else as kubectl."
    ),
]
Context = Annotated[str, typer.Option("--context", help="The kubeconfig's context.")]


class Failure(Exception):
    """A command failed: one sentence what went wrong, and what to do next."""

    def __init__(self, what: str, hint: str = "", code: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code


@contextlib.contextmanager
def failures() -> Any:
    """Turns failures of any layer into the message and exit code a user gets."""
    try:
        yield
    except Failure as e:
        _end(e.what, e.hint, e.code)
    except SettingsError as e:
        _end(str(e))
    except APIError as e:
        hint = "`hawser status` shows whether the engine runs" if e.code == 503 else ""
        _end(e.message, hint)
    except ConfigError as e:
        _end(str(e))
    except BrokenPipeError:
        # The reader went away (head, less): nothing more to say to anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except OSError as e:
        hints = {errno.ENOSPC: "free some space and try again", errno.EROFS: "name another directory with --data-dir"}
        where = f"{e.filename}: " if e.filename else ""
        _end(f"{where}{e.strerror or e}", hints.get(e.errno or 0, ""))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _end(what: str, hint: str = "", code: int = 1) -> None:
    err.print(f"[bold red]Error:[/] {_plain(what)}")
    if hint:
        err.print(f"[dim]{_plain(hint)}[/]")
    raise typer.Exit(code)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def need_root() -> None:
    """Raises Failure unless root: containers, networks and cgroups need it."""
    if os.geteuid() != 0:
        raise Failure("hawser needs root for containers and networks", "run it with sudo", 77)


def existing(data_dir: Path) -> Settings:
    """The engine of a data directory. Raises Failure when there is none."""
    found = settings.load(data_dir.resolve())
    if found is None:
        raise Failure(f"there is no engine in {data_dir}", "`hawser up` makes and starts one")
    return found


def supervisor_pid(engine: Settings) -> int | None:
    """The pid of a running engine's supervisor."""
    return processes.holder(engine.run_dir / "supervisor.pid")


def running(data_dir: Path) -> Settings:
    """The engine of a data directory, which runs. Raises Failure when it does not."""
    engine = existing(data_dir)
    if supervisor_pid(engine) is None:
        raise Failure(f"the engine in {data_dir} does not run", "`hawser up` starts it")
    return engine


@contextlib.asynccontextmanager
async def admin(engine: Settings) -> AsyncIterator[Client]:
    """An administrator's client of an engine."""
    try:
        client = Client.from_kubeconfig(engine.kubeconfig("admin"))
    except PermissionError:
        raise Failure("the engine's kubeconfig is readable by root only", "run it with sudo", 77) from None
    except ConfigError as error:
        raise Failure(str(error), "`hawser up` makes the engine's certificates and kubeconfigs anew") from None
    async with client:
        yield client


def complete_pod(ctx: typer.Context, incomplete: str) -> list[str]:
    """The pods of the namespace that a command line names; none where nobody can tell."""

    async def listed() -> list[str]:
        async with admin(running(Path(ctx.params.get("data_dir") or DEFAULT_DATA_DIR))) as client:
            pods = await client.list(POD, namespace=ctx.params.get("namespace") or "default")
        return [name for pod in pods.items if (name := pod["metadata"]["name"]).startswith(incomplete)]

    with contextlib.suppress(Exception):
        return asyncio.run(listed())
    return []


Pod = Annotated[str, typer.Argument(help="Name of the pod.", autocompletion=complete_pod)]


def meant(kubeconfig: Path | None, name: str, data_dir: Path) -> Settings | None:
    """The running engine that a command means, as `cluster` has it: none is named, or a kubeconfig of an engine is;
    None when it is another cluster. Raises Failure where no engine runs."""
    if name:
        return None
    if kubeconfig is None:
        return running(data_dir)
    engine = settings.load(kubeconfig.resolve().parents[1])
    return engine if engine is not None and engine.kubeconfig("admin") == kubeconfig.resolve() else None


@contextlib.asynccontextmanager
async def cluster(kubeconfig: Path | None, name: str, data_dir: Path) -> AsyncIterator[Client]:
    """A client of the cluster that a command means.

    kubeconfig, name: what --kubeconfig (or $KUBECONFIG) and --context say; with neither it is the engine of the data
    directory, if that runs, and else the cluster that kubectl would take. Raises ConfigError.
    """
    engine = None if kubeconfig or name else settings.load(data_dir.resolve())
    if engine is not None and supervisor_pid(engine) is not None:
        async with admin(engine) as client:
            yield client
        return
    async with Client.from_kubeconfig(kubeconfig, name) as client:
        yield client


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's coroutine with failures turned into messages."""
    with failures():
        return asyncio.run(work())


def show(document: Any, form: Output) -> None:
    """Prints a document as JSON or YAML."""
    if form is Output.JSON:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False))


def epoch(default: int = 0) -> int:
    """The time that what is made bears, in seconds since 1970: $SOURCE_DATE_EPOCH, else `default`. Raises Failure."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return default
    if not text.isdigit():
        raise Failure(f'SOURCE_DATE_EPOCH is "{text}", not a number of seconds')
    return int(text)

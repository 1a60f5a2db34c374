"""``hawser db``: copies of the engine's store, and its health."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from hawser.cli import context
from hawser.cli.context import DataDir, Failure, Format, Output, err, out
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.tables import size_text
from hawser.store import copies
from hawser.store.base import StoreRefused, StoreUnavailable
from hawser.store.copies import Report
from hawser.store.log import sync_directory

app = typer.Typer(help="Back up, restore, check and compact the engine's store.", no_args_is_help=True)
_BACKUP = "/hawser/backup"
_DAMAGED = 4
"""Exit code for a store file that is not sound."""

File = Annotated[Path, typer.Argument(help="Store file.", show_default=False)]


@app.command(no_args_is_help=True)
def backup(
    file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Write a consistent copy of the store to a file, which is checked before it gets its name.

    The engine may run meanwhile: the copy is as of one revision, and nothing waits for it. It holds all objects,
    Secrets included (encrypted if the engine encrypts them), and is readable by you only. Certificates and pods'
    volumes are not part of it: keep the data directory's `pki` as well.

    Examples:

      hawser db backup /var/backups/hawser-$(date +%F).db

      hawser db backup store.db -o json
    """
    with failures():
        if file.exists() and not force:
            raise Failure(f"{file} is there already", "name another file, or write over it with --force")
        if not file.parent.is_dir():
            raise Failure(f"{file.parent} is not a directory")
        engine = context.existing(data_dir)
        online = context.supervisor_pid(engine) is not None
        part = file.with_name(f".{file.name}.part")
        try:
            with progress("Copying") as report:
                if online:
                    asyncio.run(_download(engine, part, report))
                else:
                    copies.copy(store_file(data_dir), part, report)
            with progress("Checking") as report:
                found = copies.examine(part, report)
            if found.problems:
                raise Failure(f"the copy is damaged: {found.problems[0]}", "`hawser db check` says more", _DAMAGED)
            part.replace(file)
            sync_directory(file.parent)
        finally:
            for leftover in (part, part.with_name(part.name + "-wal"), part.with_name(part.name + "-shm")):
                leftover.unlink(missing_ok=True)
        document = {"file": str(file), "online": online, **summary(found)}
        if not shown(document, output):
            out.print(f"{file}: {found.objects} objects at revision {found.revision}, {size_text(found.bytes)}")


@app.command(no_args_is_help=True)
def restore(
    file: File,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: Format = Output.TABLE,
) -> None:
    """Put a backup in the place of the store. The engine must not run.

    The store that is there is kept beside it. What was written after the backup is gone from the API: the engine's
    controllers remove pods that no longer belong to anything. Revisions go on from a number that no client has seen, so
    that clients notice and list everything anew.

    Examples:

      hawser down && hawser db restore /var/backups/hawser-2026-11-20.db && hawser up -d
    """
    with failures():
        stopped(data_dir)
        with progress("Checking") as report:
            found = copies.examine(file, report)
        if found.problems:
            raise Failure(f"{file} is damaged: {found.problems[0]}", "restore another backup", _DAMAGED)
        target = store_file(data_dir)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept, known = _predecessor(target)
        with progress("Restoring"):
            revision = copies.restore(file, target, kept, known)
        document = {"store": str(target), "kept": str(kept) if kept else "", **summary(found), "revision": revision}
        if not shown(document, output):
            out.print(f"{target}: {found.objects} objects of {file}; revisions go on from {revision}")
            if kept:
                out.print(f"The store before is kept as {kept}")


def _predecessor(target: Path) -> tuple[Path | None, int | None]:
    """The name under which the present store is kept, and its newest revision (None: it cannot be read)."""
    if not target.exists():
        return None, None
    kept = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    try:
        return kept, copies.newest(target)
    except StoreRefused as e:
        if "in use" in str(e):
            raise
        return kept, None


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="Store file; the engine's own by default.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: Format = Output.TABLE,
) -> None:
    """Read a whole store file and say what is wrong with it. The engine's own can be checked while it does not run.

    Exits with 0 when it is sound, 4 when it is damaged.

    Examples:

      hawser db check

      hawser db check /var/backups/hawser-2026-11-20.db -o json
    """
    with failures():
        if file is None:
            stopped(data_dir, "back it up and check the backup: `hawser db backup FILE`, or stop it: `hawser down`")
        path = file or store_file(data_dir)
        with progress("Checking") as report:
            found = copies.examine(path, report)
        document = {"file": str(path), "sound": not found.problems, **summary(found), "problems": found.problems}
        if not shown(document, output):
            for problem in found.problems:
                out.print(problem, markup=False)
            state = "damaged" if found.problems else "sound"
            out.print(f"{path} is {state}: {found.objects} objects at revision {found.revision}")
        if found.problems:
            raise typer.Exit(_DAMAGED)


@app.command()
def compact(data_dir: DataDir = DEFAULT_DATA_DIR, output: Format = Output.TABLE) -> None:
    """Make the store's file as small as it can be. The engine must not run.

    While it runs, it removes old versions by itself, but does not give the space back.

    Examples:

      hawser down && hawser db compact && hawser up -d
    """
    with failures():
        stopped(data_dir)
        path = store_file(data_dir)
        if not path.is_file():
            raise StoreRefused(f"there is no file {path}")
        before = path.stat().st_size
        with progress("Compacting"):
            revision = copies.compact(path)
        after = path.stat().st_size
        if not shown({"file": str(path), "revision": revision, "before": before, "bytes": after}, output):
            out.print(f"{path}: {size_text(before)} → {size_text(after)}")


async def _download(engine: Any, part: Path, report: copies.Progress) -> None:
    """A copy from the running engine. Raises APIError, Failure."""
    async with context.admin(engine) as client, client.stream("GET", _BACKUP, silence=120) as answer:
        total = int(answer.headers.get("x-hawser-size", "0"))
        done = 0
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as to:
            async for piece in answer:
                to.write(piece)
                done += len(piece)
                report(done, total)
            to.flush()
            os.fsync(to.fileno())
    if done != total:
        raise Failure("the engine stopped in the middle of the copy", "`hawser status` shows whether it runs")


def store_file(data_dir: Path) -> Path:
    """The store of the engine in a data directory."""
    return data_dir.resolve() / "store" / "hawser.db"


def stopped(data_dir: Path, hint: str = "`hawser down` stops it") -> None:
    """Raises Failure unless there is an engine and it does not run."""
    if context.supervisor_pid(context.existing(data_dir)) is not None:
        raise Failure(f"the engine in {data_dir} runs", hint)


def summary(found: Report) -> dict[str, Any]:
    """What JSON says of a store file."""
    numbers = ("revision", "objects", "bytes")
    return {name: getattr(found, name) for name in numbers} | {"encrypted": found.sealed}


def shown(document: dict[str, Any], output: Output) -> bool:
    """Print a document for machines; False when people are to be told."""
    if output in (Output.JSON, Output.YAML):
        context.show(document, output)
        return True
    return False


@contextlib.contextmanager
def progress(what: str) -> Iterator[copies.Progress]:
    """A bar on the terminal for work that takes a while."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """As context.failures, and the store's own."""
    with context.failures():
        try:
            yield
        except StoreRefused as e:
            raise Failure(str(e), code=_DAMAGED if "damaged" in str(e) else 1) from None
        except StoreUnavailable as e:
            raise Failure(str(e), "free some space, or name another place") from None

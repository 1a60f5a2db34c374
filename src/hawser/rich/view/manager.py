"""The containers' own view on a node: one lxcfs, kept alive, and its files in every container that wants them.

Lazy: nothing runs before the first container asks (``ensure``), and lxcfs ends when there is none any more
(``retire``). When lxcfs dies, another is started at once and the files in all running containers, which answer nothing
but errors then, are replaced. All of that compares what is there with what should be, so it may be cut short anywhere:
a new manager finds lxcfs, containers and what they lack by itself.

Depends on no agent: the node agent of an engine uses it, and so can any other program on a cluster's node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar, cast

from hawser.rich.view import containers, library, lxcfs
from hawser.rich.view.lxcfs import Lxcfs, LxcfsError
from hawser.runtime.view import LATE_PLACES, PLACES

log = logging.getLogger(__name__)
T = TypeVar("T")

_START_SECONDS = 10.0
_CALM_SECONDS = 10.0
_FIRST_DELAY, _LONGEST_DELAY = 0.05, 5.0
_ENTER_SECONDS = 30.0
_PROBE_SECONDS = 10.0
"""How often lxcfs is asked for something, and how long it may take to answer before it counts as dead."""
_AGAIN_SECONDS = (1.0, 4.0)
"""Containers that were being made while lxcfs died are looked for once more after so long."""


class Manager:
    """One node's view. home: its directory, which hawser-runtime knows; below /run, so that a boot finds none."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.complaint = ""
        """Why libraries are missing; "" when they are there."""
        self._provided = False
        self._task: asyncio.Task[None] | None = None
        self._serving = asyncio.Event()
        self._failure = ""
        self._running: Lxcfs | None = None
        self._offers: tuple[str, ...] = ()
        self._renewing = asyncio.Lock()
        self._changing = asyncio.Lock()

    async def provide(self) -> str:
        """Has the libraries in place; why they are not, "" when they are."""
        async with self._changing:
            if not self._provided:
                self._provided = True
                await asyncio.to_thread(self._prepare)
        return self.complaint

    async def ensure(self) -> str:
        """Has lxcfs serve; why it cannot, "" when it does."""
        await self.provide()
        async with self._changing:
            if self._serving.is_set():
                return ""
            if self._task is None:
                self._failure = ""
                self._task = asyncio.create_task(self._keep(), name="lxcfs")
            serving = asyncio.create_task(self._serving.wait())
            try:
                await asyncio.wait({serving, self._task}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                serving.cancel()
            if self._task.done():
                self._task = None
            return "" if self._serving.is_set() else self._failure or "lxcfs does not answer"

    @property
    def active(self) -> bool:
        """Whether lxcfs runs, or is being started."""
        return self._task is not None

    async def started(self) -> None:
        """A container has started: it gets what its runtime could not mount."""
        if self._serving.is_set() and any(offer in LATE_PLACES for offer in self._offers):
            await self._renew()

    async def retire(self) -> None:
        """No container wants the view any more: lxcfs ends."""
        async with self._changing:
            await self.close()
            (self.home / "offers").unlink(missing_ok=True)
            if (running := lxcfs.find(self.home)) is not None:
                running.kill()
                await running.ended()
                running.close()
            lxcfs.unmount(self.home / "lxcfs")

    async def close(self) -> None:
        """Lets go of lxcfs, which serves on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._serving.clear()

    async def _keep(self) -> None:
        """Keeps lxcfs alive; returns when it cannot be started at all."""
        delay, loop = _FIRST_DELAY, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                running = lxcfs.find(self.home) or await lxcfs.start(self.home)
            except (LxcfsError, OSError) as err:
                self._failure = str(err)
                log.warning("containers see the node's processors and memory: %s", err)
                return
            self._running = running
            try:
                await self._serve(running)
            finally:
                self._serving.clear()
                self._running = None
                running.close()
            delay = _FIRST_DELAY if loop.time() - began > _CALM_SECONDS else min(2 * delay, _LONGEST_DELAY)
            log.warning("lxcfs has ended; it is started again")
            await asyncio.sleep(delay)

    def _prepare(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o711)
        folder = self.home / "lib"
        folder.mkdir(exist_ok=True, mode=0o755)
        self.complaint = library.provide(folder)
        if self.complaint:
            log.warning("containers lack libraries: %s", self.complaint)

    async def _serve(self, running: Lxcfs) -> None:
        """From the mount to the end of one lxcfs."""
        watched: list[asyncio.Task[None]] = []
        try:
            self._offers = await _asked(lambda: _offers(running.place))
            _write(self.home / "offers", "\n".join(self._offers) + "\n")
            self._serving.set()
            watched += [asyncio.create_task(running.ended()), asyncio.create_task(self._watch(running))]
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, TimeoutError) as err:
            log.warning("lxcfs does not answer: %s", str(err) or "it takes too long")
        finally:
            for task in watched:
                task.cancel()
            await asyncio.gather(*watched, return_exceptions=True)
        (self.home / "offers").unlink(missing_ok=True)
        running.kill()
        await running.ended()

    async def _watch(self, running: Lxcfs) -> None:
        """Renews what containers have of earlier ones; returns when lxcfs hangs."""
        await self._renew()
        for seconds in _AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            await self._renew()
        file = running.place / self._offers[0]
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            try:
                await _asked(file.read_bytes)
            except (OSError, TimeoutError) as err:
                log.warning("lxcfs hangs and is ended: %s", str(err) or "no answer")
                return

    async def _renew(self) -> None:
        """Mounts what running containers lack. What fails is reported; the next time tries again."""
        running = self._running
        async with self._renewing:
            try:
                if running is not None and (work := await asyncio.to_thread(self._lacking, running.device)):
                    said = await _enter({"lxcfs": str(running.place), "namespaces": work})
                    log.info("the view of %d containers was renewed", len(work))
                    if said != "[]":
                        log.warning("not everywhere: %s", said[-500:])
            except (OSError, TimeoutError) as err:
                log.warning("the view of containers is not renewed: %s", str(err) or "it takes too long")

    def _lacking(self, device: str) -> list[dict[str, object]]:
        work: list[dict[str, object]] = []
        for namespace in containers.find(self.home / "lib"):
            steps = containers.lacking(namespace.mounts, device, self._offers)
            if steps:
                rows = [asdict(step) for step in steps]
                work.append({"pid": namespace.pid, "inode": namespace.inode, "steps": rows})
        return work


async def _enter(task: dict[str, object]) -> str:
    """Runs the program that enters namespaces; what it prints."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(Path(__file__).with_name("enter.py"))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(program.communicate(json.dumps(task).encode()), _ENTER_SECONDS)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        raise
    return said.decode(errors="replace").strip()


async def _asked(question: Callable[[], T]) -> T:
    """The answer to what lxcfs is asked, in a thread that nobody has to wait for. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: OSError | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(cast(T, value))

    def ask() -> None:
        value, error = None, None
        try:
            value = question()
        except OSError as err:
            error = err
        with contextlib.suppress(RuntimeError):  # the program ends
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=ask, name="lxcfs", daemon=True).start()
    return await asyncio.wait_for(answer, _PROBE_SECONDS)


def _offers(place: Path) -> tuple[str, ...]:
    """The files that the installed lxcfs has, of those that are known here."""
    return tuple(name for name in (*PLACES, *LATE_PLACES) if (place / name).exists())


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)

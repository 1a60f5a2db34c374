"""The containers' own view on a node: one lxcfs and one server of what that lacks, kept alive, and their files in every
container that wants them.

Lazy: nothing runs before the first container asks (``ensure``), and both end when there is none any more (``retire``).
When one dies, both are started anew at once and the files in all running containers, which answer nothing but errors
then, are replaced. All of that compares what is there with what should be, so it may be cut short anywhere: a new
manager finds the servers, containers and what they lack by itself.

Depends on no agent: the node agent of an engine uses it, and so can any other program on a cluster's node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from hawser import threads
from hawser.rich.view import containers, library, lxcfs, own
from hawser.rich.view.server import Server, ServerError, find, unmount
from hawser.runtime.view import LATE_PLACES, PLACES

log = logging.getLogger(__name__)
T = TypeVar("T")

_START_SECONDS = 10.0
_CALM_SECONDS = 10.0
_FIRST_DELAY, _LONGEST_DELAY = 0.05, 5.0
_ENTER_SECONDS = 30.0
_PROBE_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
"""How often servers are asked for something, and how long they may take to answer before they count as dead."""
_AGAIN_SECONDS = (1.0, 5.0)
"""Containers that were being made while a server died are looked for once more after so long."""
_PROGRAMS = {lxcfs.NAME: "lxcfs", own.NAME: own.PROGRAM}
"""The servers' programs by their places."""


class Manager:
    """One node's view. home: its directory, which hawser-runtime knows; below /run, so that a boot finds none.

    libraries: the folder of what programs in containers load, where /run is no place for that: many hosts mount it
    noexec, which containers with users of their own inherit.
    """

    def __init__(self, home: Path, libraries: Path | None = None) -> None:
        self.home = home
        self.libraries = libraries or home / "lib"
        self.complaint = ""
        """Why libraries are missing; "" when they are there."""
        self._provided = False
        self._task: asyncio.Task[None] | None = None
        self._serving = asyncio.Event()
        self._failure = ""
        self._running: tuple[Server, ...] = ()
        self._offers: tuple[str, ...] = ()
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()

    async def provide(self) -> str:
        """Has the libraries in place; why they are not, "" when they are."""
        async with self._changing:
            if not self._provided:
                self._provided = True
                await asyncio.to_thread(self._prepare)
        return self.complaint

    async def ensure(self) -> str:
        """Has the view served; why it cannot be, "" when it is."""
        await self.provide()
        async with self._changing:
            if self._serving.is_set():
                return ""
            if self._task is None:
                self._failure = ""
                self._task = asyncio.create_task(self._keep(), name="view")
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
        """Whether the view is served, or about to be."""
        return self._task is not None

    def started(self) -> None:
        """A container has started: it gets what its runtime could not mount, in a moment."""
        self._news.set()

    async def retire(self) -> None:
        """No container wants the view any more: its servers end."""
        async with self._changing:
            await self.close()
            (self.home / "offers").unlink(missing_ok=True)
            running = [server for name in _PROGRAMS if (server := self._find(name)) is not None]
            await _end(running)
            for server in running:
                server.close()
            for name in _PROGRAMS:
                unmount(self.home / name)

    async def close(self) -> None:
        """Lets go of the servers, which go on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._serving.clear()

    async def _keep(self) -> None:
        """Keeps the servers alive; returns when they cannot be started at all."""
        delay, loop = _FIRST_DELAY, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                running = await self._start()
            except (ServerError, OSError) as err:
                self._failure = str(err)
                log.warning("containers see the node's processors and memory: %s", err)
                return
            self._running = running
            try:
                await self._serve(running)
            finally:
                self._serving.clear()
                self._running = ()
                for server in running:
                    server.close()
            delay = _FIRST_DELAY if loop.time() - began > _CALM_SECONDS else min(2 * delay, _LONGEST_DELAY)
            log.warning("the servers of the view have ended; they are started again")
            await asyncio.sleep(delay)

    async def _start(self) -> tuple[Server, ...]:
        """The servers that an earlier agent has started, else new ones. Raises ServerError, OSError."""
        first = self._find(lxcfs.NAME) or await lxcfs.start(self.home)
        try:
            return first, self._find(own.NAME) or own.start(self.home)
        except BaseException:
            first.kill()
            first.close()
            raise

    def _find(self, name: str) -> Server | None:
        return find(self.home / name, _PROGRAMS[name])

    def _prepare(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.libraries.mkdir(parents=True, exist_ok=True, mode=0o755)
        link = self.home / "lib"
        if link != self.libraries and (not link.is_symlink() or link.readlink() != self.libraries):
            # What stood there before goes; containers that have it keep it.
            shutil.rmtree(link) if link.is_dir() and not link.is_symlink() else link.unlink(missing_ok=True)
            link.symlink_to(self.libraries)
        self.complaint = library.provide(self.libraries)
        if self.complaint:
            log.warning("containers lack libraries: %s", self.complaint)

    async def _serve(self, running: tuple[Server, ...]) -> None:
        """From the mounts to the end of one of the servers, which is the others', too."""
        watched: list[asyncio.Task[None]] = []
        try:
            self._offers = await _asked(lambda: _offers(self.home))
            _write(self.home / "offers", "\n".join(self._offers) + "\n")
            self._serving.set()
            watched += [asyncio.create_task(server.ended()) for server in running]
            watched.append(asyncio.create_task(self._watch()))
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, TimeoutError) as err:
            log.warning("the view is not served: %s", str(err) or "it takes too long")
        finally:
            for task in watched:
                task.cancel()
            for result in await asyncio.gather(*watched, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("the view is not watched any more", exc_info=result)
        (self.home / "offers").unlink(missing_ok=True)
        await _end(running)

    async def _watch(self) -> None:
        """Gives containers what they lack, now and when there are new ones; returns when a server hangs."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        looks = [began, *(began + seconds for seconds in _AGAIN_SECONDS)]
        probe = began + _PROBE_SECONDS
        files = [next(self.home / offer for offer in self._offers if offer.startswith(name)) for name in _PROGRAMS]
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min([probe, *looks])):
                    await self._news.wait()
            if self._news.is_set() or (looks and loop.time() >= looks[0]):
                looks = [moment for moment in looks if moment > loop.time()]
                self._news.clear()
                await self._renew()
            if loop.time() >= probe:
                try:
                    for file in files:
                        await _asked(file.read_bytes)
                except (OSError, TimeoutError) as err:
                    log.warning("a server of the view hangs; both are ended: %s", str(err) or "no answer")
                    return
                probe = loop.time() + _PROBE_SECONDS

    async def _renew(self) -> None:
        """Mounts what running containers lack. What fails is reported; the next time tries again."""
        try:
            devices = {server.place.name: server.device for server in self._running}
            if devices and (work := await asyncio.to_thread(self._lacking, devices)):
                said = await _enter({"view": str(self.home), "namespaces": work})
                log.info("the view of %d containers was renewed", len(work))
                if said != "[]":
                    log.warning("not everywhere: %s", said[-500:])
        except (OSError, TimeoutError) as err:
            log.warning("the view of containers is not renewed: %s", str(err) or "it takes too long")

    def _lacking(self, devices: dict[str, str]) -> list[dict[str, object]]:
        work: list[dict[str, object]] = []
        for namespace in containers.find(self.libraries.resolve()):
            steps = containers.lacking(namespace.mounts, devices, self._offers)
            if steps:
                rows = [asdict(step) for step in steps]
                work.append({"pid": namespace.pid, "inode": namespace.inode, "steps": rows})
        return work


async def _end(servers: Sequence[Server]) -> None:
    for server in servers:
        server.kill()
    for server in servers:
        await server.ended()


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
    """The answer to what a server is asked, in a thread that nobody has to wait for. Raises OSError, TimeoutError."""
    return await asyncio.wait_for(threads.begin(question, "view"), _ANSWER_SECONDS)


def _offers(home: Path) -> tuple[str, ...]:
    """The files that the servers have, of those that are known here."""
    return tuple(name for name in (*PLACES, *LATE_PLACES) if (home / name).exists())


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)

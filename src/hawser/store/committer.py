"""The thread that waits for the disk, so that the event loop does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
Done = Callable[[BaseException | None], None]


class Committer:
    """Runs jobs one after the other in a thread of its own.

    A plain thread and queue: an executor's futures cost as much as a small commit.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Job, Done, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-commit", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done) -> None:
        """Runs job in the thread and then done, with the job's exception or None, on the running event loop."""
        self._jobs.put((job, done, asyncio.get_running_loop()))

    def close(self) -> None:
        """Waits until all submitted jobs have run, and ends the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done, loop = item
            error: BaseException | None = None
            try:
                job()
            except BaseException as raised:
                error = raised
            try:
                loop.call_soon_threadsafe(done, error)
            except RuntimeError:
                pass  # The loop was closed: nobody is waiting any more.

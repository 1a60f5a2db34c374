"""Work that may hang: on a server that is dead, on a command that takes as long as it takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def begin(work: Callable[[], T], name: str, *, daemon: bool = True) -> asyncio.Future[T]:
    """Has a thread of its own do something, so that whoever hangs takes no place of others in the loop's pool.

    name: the thread's. daemon: the program may end before it. Returns what becomes its result or Exception.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(done: Future[T]) -> None:
        if answer.done():  # who asked does not wait any more
            return
        if (error := done.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    def run() -> None:
        done: Future[T] = Future()
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=run, name=name, daemon=daemon).start()
    return answer

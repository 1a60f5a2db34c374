"""Threads of their own for what may hang."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hawser import threads


async def test_what_a_thread_finds_or_fails_with_is_told() -> None:
    assert await threads.begin(lambda: 7, "finds") == 7
    with pytest.raises(ZeroDivisionError):
        await threads.begin(lambda: 1 // 0, "fails")


async def test_any_number_may_hang_beside_one_that_answers() -> None:
    go_on = threading.Event()
    hanging = [threads.begin(go_on.wait, "hangs") for _ in range(64)]
    assert await threads.begin(lambda: "said", "answers") == "said"
    assert not any(one.done() for one in hanging)
    hanging[0].cancel()  # nobody waits for it any more
    go_on.set()
    assert await asyncio.gather(*hanging[1:]) == [True] * 63

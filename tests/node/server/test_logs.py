from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.node.server.logs import Options, options, read, tail_offset

NOW = datetime(2026, 1, 2, 3, 4, 10, tzinfo=UTC)


def record(second: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-01-02T03:04:{second:02}.123456789Z {stream} {tag} {text}\n"


LOG = "".join(
    (
        record(1, "one"),
        record(2, "two, ", tag="P"),
        record(2, "oops", "stderr"),
        record(3, "continued", tag="P:x"),
        record(3, " and done"),
        record(4, ""),
        record(5, "  indented"),
    )
)


async def text(path: Path, wanted: Options, ended: Callable[[], bool] = lambda: True) -> str:
    return b"".join([piece async for piece in read(path, wanted, ended)]).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_text(LOG)
    return path


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        pytest.param({}, "one\ntwo, oops\ncontinued and done\n\n  indented\n", id="everything, parts joined"),
        pytest.param({"stream": "Stdout"}, "one\ntwo, continued and done\n\n  indented\n", id="one stream"),
        pytest.param({"stream": "Stderr"}, "oops\n", id="the other"),
        pytest.param({"tailLines": "2"}, "\n  indented\n", id="the last lines"),
        pytest.param({"tailLines": "0"}, "", id="no lines"),
        pytest.param({"tailLines": "99"}, "one\ntwo, oops\ncontinued and done\n\n  indented\n", id="too many"),
        pytest.param({"limitBytes": "5"}, "one\nt", id="so many bytes"),
        pytest.param({"sinceTime": "2026-01-02T03:04:04Z"}, "\n  indented\n", id="since a time"),
        pytest.param({"sinceTime": "2026-01-02T04:04:05.1+01:00"}, "  indented\n", id="a time with an offset"),
        pytest.param({"sinceSeconds": "5"}, "  indented\n", id="since seconds"),
        pytest.param(
            {"tailLines": "1", "timestamps": "true"}, "2026-01-02T03:04:05.123456789Z   indented\n", id="with times"
        ),
    ],
)
async def test_a_log_shows(path: Path, query: dict[str, str], shown: str) -> None:
    assert await text(path, options(query, NOW)) == shown


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": "-1"},
        {"limitBytes": "0"},
        {"sinceSeconds": "0"},
        {"sinceTime": "yesterday"},
        {"tailLines": "many"},
        {"sinceSeconds": "1", "sinceTime": "2026-01-02T03:04:04Z"},
        {"stream": "Stdin"},
    ],
)
def test_nonsense_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(APIError) as caught:
        options(query, NOW)
    assert caught.value.code in (400, 422)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 30_000), max_size=12), wanted=st.integers(0, 14))
def test_the_last_lines_are_found_across_blocks(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], wanted: int
) -> None:
    records = [record(i, "x" * length) for i, length in enumerate(lengths)]
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.write_text("".join(records))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        offset = tail_offset(descriptor, path.stat().st_size, wanted)
    finally:
        os.close(descriptor)
    assert path.read_text()[offset:] == "".join(records[max(0, len(records) - wanted) :])


async def test_following_shows_what_comes_until_the_container_ends_even_over_a_rotation(path: Path) -> None:
    def more(second: int) -> None:
        with path.open("a") as log:
            log.write(record(second, f"line {second}"))

    def rotate() -> None:
        path.rename(path.with_suffix(".1"))
        path.write_text(record(8, "fresh file"))

    running = True

    def end() -> None:
        nonlocal running
        more(9)
        running = False

    steps = [lambda: more(6), lambda: more(7), rotate, end]

    async def sleep(_seconds: float) -> None:
        steps.pop(0)()

    wanted = Options(follow=True, tail=1)
    pieces = [piece async for piece in read(path, wanted, lambda: not running, sleep)]
    assert b"".join(pieces) == b"  indented\nline 6\nline 7\nfresh file\nline 9\n"


async def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert await text(tmp_path / "none", Options()) == ""

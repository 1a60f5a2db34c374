"""Journals are read from where one left off, and nothing else is read in their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hawser.notices import MODIFY, Notices
from hawser.rich.journal import Place, directories, find, unread
from hawser.runtime.notes import note


@pytest.fixture
def place(tmp_path: Path) -> Place:
    records = tmp_path / "run/x/runc/k8s.io"
    (records / ".inside/abc").mkdir(parents=True)
    (records / "abc").write_text("systemd\n")
    return Place(records, "abc")


def test_lines_are_read_once_and_whole(place: Place) -> None:
    place.inside.write_text("one\ntwo\nthr")
    assert place.new() == [b"one", b"two"]
    assert place.new() == []
    with place.inside.open("a") as file:
        file.write("ee\n")
    assert place.new() == [b"three"]
    assert place.told() == [b"one", b"two", b"three"]


def test_a_restart_repeats_nothing_and_the_end_loses_nothing(place: Place) -> None:
    place.inside.write_text("one\n")
    assert place.new() == [b"one"]
    (place.records / ".journal/abc.inside.jsonl").write_text("one\ntwo\n")
    place.inside.unlink()
    again = Place(place.records, "abc")
    assert again.told() == [b"one"]
    assert again.new() == [b"two"]
    again.forget()
    assert list((place.records / ".journal").iterdir()) == []


def test_a_journal_that_was_begun_anew_is_read_from_its_beginning(place: Place) -> None:
    place.inside.write_text("one\ntwo\n")
    place.new()
    place.inside.write_text("new\n")
    assert place.new() == [b"new"]


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_plain_file_is_not_read(place: Place, kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    if kind == "link":
        place.inside.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(place.inside)
    else:
        place.inside.mkdir()
    assert place.new() == []
    assert unread(place.inside, tmp_path / "told") is None


def test_containers_are_found_by_their_id_alone(place: Place, tmp_path: Path) -> None:
    known = list(directories(tmp_path / "run"))
    assert known == [place.records]
    found = find("abc", known)
    assert found is not None
    assert (found.records, found.init) == (place.records, "systemd")
    for other in ("abd", "", ".inside", "../x/abc"):
        assert find(other, known) is None


@pytest.mark.parametrize(("preload", "stop"), [("", ""), ("/lib/x.so", ""), ("", "SIGQUIT"), ("/lib/x.so", "SIGQUIT")])
def test_the_init_is_read_of_what_the_runtime_notes(tmp_path: Path, preload: str, stop: str) -> None:
    note(str(tmp_path), "abc", "minimal", preload, stop)
    assert Place(tmp_path, "abc").init == "minimal"


def test_the_kernel_tells_when_a_journal_grows(place: Place) -> None:
    place.inside.write_text("")
    notices = Notices(MODIFY)
    try:
        notices.watch(place.inside)
        notices.read()  # nothing yet, and it does not wait
        with place.inside.open("a") as file:
            file.write("one\n")
        assert os.read(notices.descriptor, 4096)
    finally:
        notices.close()

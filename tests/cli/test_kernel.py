"""Limits of the kernel: raised where they are lower, never lowered, and no engine fails for them."""

from __future__ import annotations

from pathlib import Path

from hawser.cli.engine.kernel import LEAST, raise_limits


def test_only_what_is_lower_is_raised(tmp_path: Path) -> None:
    low, high = ((tmp_path / name) for name in LEAST)
    low.parent.mkdir(parents=True)
    low.write_text("128\n")
    high.write_text("99999999\n")
    assert list(raise_limits(tmp_path)) == ["fs.inotify.max_user_instances is 8192 now, it was 128"]
    assert (low.read_text(), high.read_text()) == ("8192", "99999999\n")
    assert list(raise_limits(tmp_path)) == []


def test_what_cannot_be_raised_is_said(tmp_path: Path) -> None:
    said = list(raise_limits(tmp_path))
    assert [word.partition(" stays as it is: ")[0] for word in said] == [name.replace("/", ".") for name in LEAST]

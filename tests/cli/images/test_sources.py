"""The host's own package sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawser.cli.images.sources import deb822_sources, host_sources, one_line_sources

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://one.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: https://third.example/apt
Suites: bookworm
Components: stable

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no
"""


def test_deb822_sources_of_the_release() -> None:
    assert deb822_sources(DEB822, "bookworm") == [
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://one.example/debian bookworm main contrib",
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://one.example/debian bookworm-updates main contrib",
    ]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("deb http://a.example/ubuntu noble main universe # c", "deb http://a.example/ubuntu noble main universe"),
        ("deb [ arch=amd64 signed-by=/k ] http://a.example/ noble-security main",
         "deb [ arch=amd64 signed-by=/k ] http://a.example/ noble-security main"),
        ("deb-src http://a.example/ubuntu noble main", None),
        ("# deb http://a.example/ubuntu noble main", None),
        ("deb http://third.example/ noble stable", None),
        ("deb http://a.example/ubuntu jammy main", None),
        ("deb http://flat.example/ ./", None),
    ],
)  # fmt: skip
def test_one_line_sources_of_the_release(line: str, kept: str | None) -> None:
    assert one_line_sources(line, "noble") == ([kept] if kept else [])


def test_a_host_without_sources_says_so(tmp_path: Path) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    with pytest.raises(LookupError, match="no source of the release bookworm"):
        host_sources(tmp_path)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://a.example/debian bookworm main\n")
    assert host_sources(tmp_path) == ("bookworm", ["deb http://a.example/debian bookworm main"])

"""The unit of systemd that an engine is started with at boot; tests/vm has systemd itself run it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hawser.cli.engine import units
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings, SettingsError


def engine(data_dir: Path) -> Settings:
    return Settings(data_dir, "1a2b3c4d", "127.0.0.1:6443", "127.0.0.1:10250", "a", "10.42.0.0/16", "10.43.0.0/16")


def value(text: str, key: str) -> str:
    """The one value of a setting, with its specifiers resolved."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"{key}="))
    return line.partition("=")[2].replace("%%", "%")


def test_the_engine_of_the_machine_has_the_products_name_and_others_their_own() -> None:
    assert units.name(engine(DEFAULT_DATA_DIR)) == "hawser.service"
    assert units.name(engine(Path("/srv/two"))) == "hawser-1a2b3c4d.service"


def test_a_unit_stops_the_engine_and_leaves_its_containers() -> None:
    text = units.text(engine(DEFAULT_DATA_DIR), "/opt/hawser/bin/python")
    command = "/opt/hawser/bin/python -m hawser.cli.main up --data-dir /var/lib/hawser"
    assert shlex.split(value(text, "ExecStart")) == command.split()
    assert (value(text, "KillMode"), value(text, "Restart")) == ("process", "on-failure")
    # By default systemd ends all when the kernel has ended one.
    assert value(text, "OOMPolicy") == "continue"
    assert value(text, "WantedBy") == "multi-user.target"


def test_paths_mean_themselves() -> None:
    folder = '/srv/100% "two"\\$HOME'
    text = units.text(engine(Path(folder)), "/usr/bin/python3")
    assert shlex.split(value(text, "ExecStart").replace("$$", "$"))[-1] == folder
    assert value(text, "ConditionPathExists") == f"{folder}/config.json"
    assert "%%" in text and "% " not in text.replace("%%", "")


def test_a_directory_that_no_unit_can_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="systemd has no way to write the path"):
        units.text(engine(Path("/srv/two\nlines")))

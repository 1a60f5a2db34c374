"""Descriptions of rich images are checked before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hawser.cli.images.description import DescriptionError, load, parse

GOOD = {"name": "localhost/x:1", "cmd": ["/bin/x"]}


def test_the_examples_description_is_good() -> None:
    image = load(Path(__file__).parents[3] / "examples/legacy-app/image.yaml")
    assert image.name == "localhost/legacy-app:1"
    assert image.config.ports == ("8080/tcp", "22/tcp")
    assert image.overlay is not None
    assert (image.overlay / "opt/legacy-app/legacy_app.py").is_file()


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "must be a mapping"),
        ({}, 'name: "" is not a full reference'),
        (GOOD | {"name": "x"}, 'name: "x" is not a full reference'),
        (GOOD | {"name": 1}, "name: must be a string, not 1"),
        ({"name": "localhost/x:1"}, "cmd: required"),
        (GOOD | {"comand": []}, "comand: unknown field; known are name, packages"),
        (GOOD | {"cmd": "sh"}, "cmd: must be a list of strings"),
        (GOOD | {"cmd": ["sleep", 5]}, r"cmd\[1\]: must be a string, not 5 \(quote it\)"),
        (GOOD | {"packages": ["--force"]}, r'packages\[0\]: "--force" is not a package name'),
        (GOOD | {"ports": ["8080"]}, r'ports\[0\]: "8080" is not a port such as 8080/tcp'),
        (GOOD | {"env": {"A": 1}}, r"env.A: must be a string, not 1 \(quote it\)"),
        (GOOD | {"env": ["A=1"]}, "env: must be a mapping of strings"),
        (GOOD | {"overlay": "missing"}, "overlay: .*missing is not a directory"),
    ],
)
def test_what_is_wrong_is_named(document: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match=text):
        parse(document, tmp_path)


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: [")
    with pytest.raises(DescriptionError, match=r"image\.yaml: not YAML"):
        load(tmp_path / "image.yaml")
    with pytest.raises(DescriptionError, match=r"none\.yaml: no such file"):
        load(tmp_path / "none.yaml")

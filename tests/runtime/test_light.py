"""What is written here in place of typing and json does as they do, and the runtime loads neither."""

from __future__ import annotations

import json
import math
import os
import subprocess
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.runtime.entry import PROGRAM
from hawser.runtime.install import install
from hawser.runtime.light import NamedTuple, dumps, loads

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
# Of what an ordinary container's start may not load: each takes as long as the edit itself, or longer.
HEAVY = {"typing", "json", "re", "enum", "collections", "functools", "contextlib", "signal", "socket", "subprocess"}
HEAVY |= {"hashlib", "shutil", "pathlib", "runpy", "ctypes", "tempfile", "copy", "dataclasses"}


@given(JSON)
def test_json_is_written_and_read_as_by_json(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"))
    assert dumps(value) == text
    assert json.dumps(loads(text)) == json.dumps(value)
    assert json.dumps(loads(f"\n {text}\t".encode())) == json.dumps(value)


@pytest.mark.parametrize("text", ["", " ", "{", '{"a"}', "[1,]", "nul", "1 2", '"a\nb"', "{}x", "'a'", "\ufeff1"])
def test_what_is_no_json_is_refused_in_jsons_words(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text.strip())
    with pytest.raises(json.JSONDecodeError) as found:
        loads(text)
    assert found.value.msg == expected.value.msg


def test_what_json_does_not_have_is_refused() -> None:
    assert math.isnan(loads("NaN"))
    with pytest.raises(TypeError, match="JSON has no set"):
        dumps({"a": {1}})


class Light(NamedTuple):
    """Of ours."""

    one: int
    two: str = "b"
    three: tuple[str, ...] = ()

    def both(self) -> str:
        return f"{self.one}{self.two}"


class Typed(typing.NamedTuple):
    """Of typing."""

    one: int
    two: str = "b"
    three: tuple[str, ...] = ()


def test_a_named_tuple_is_as_typings() -> None:
    light, typed = Light(1, three=("x",)), Typed(1, three=("x",))
    assert light == typed
    assert (light.one, light.two, light.three) == tuple(typed)
    assert light._asdict() == typed._asdict()
    assert light._replace(two="c") == typed._replace(two="c")
    assert repr(light).replace("Light", "Typed") == repr(typed)
    assert light.both() == "1b"
    assert not hasattr(light, "__dict__")


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, "b", (), 4), {}), ((1,), {"four": 4})])
def test_a_named_tuple_takes_its_fields_alone(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Light, Typed):
        with pytest.raises(TypeError):
            kind(*values, **named)


@pytest.mark.parametrize("init", ["systemd", "minimal"])
def test_a_containers_start_loads_nothing_heavy(tmp_path: Path, spec: dict[str, Any], init: str) -> None:
    root = tmp_path / "rootfs"
    for path in ("bin/true", "bin/sh", "bin/systemctl", "lib/systemd/systemd"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("#!")
        (root / path).chmod(0o755)
    spec["annotations"] = {"rich.hawser.dev/init": init}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    env = {"HAWSER_REAL": "/bin/true", "HAWSER_RECORDS": str(tmp_path / "records"), "HAWSER_VIEW": "/nonexistent"}
    program = install(tmp_path / "hawser-runtime")
    words = ["-I", "-S", "-X", "importtime", "-c", PROGRAM, program, "create", "--bundle", tmp_path, "weighed"]
    ran = subprocess.run(["/usr/bin/python3", *words], env=env, capture_output=True, text=True, timeout=30)
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    if init == "minimal" and "none of catatonit" in ran.stderr:
        pytest.skip("no static init on this machine")
    assert ran.returncode == 0, ran.stderr
    assert {"hawser_runtime.main", f"hawser_runtime.{init}"} <= loaded
    assert not loaded & HEAVY
    inside = tmp_path / "records/.inside/weighed"
    if os.path.ismount(inside):
        subprocess.run(["umount", inside], check=True)

"""Programs that are built on the machine that runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from hawser.native import compiler
from hawser.native.compiler import BuildError

TEXTS = {"VERSIONS": '{"a": "b\\\\c"}\n', "UNREACHABLE": "away"}


@pytest.fixture(autouse=True)
def needs_a_compiler() -> None:
    if not compiler.find_compiler():
        pytest.skip("no C compiler")


def cni(path: Path, **variables: str) -> tuple[int, str]:
    ran = subprocess.run([path], env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("prefix", ["writable", "file"])
def test_what_it_is_built_with_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    if prefix == "file":
        (tmp_path / prefix).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / prefix))
    made = compiler.provide(tmp_path / "bin" / "hawser", "cni.c", TEXTS, {"SOCKET_PATH": str(tmp_path / "none")})
    assert cni(made, CNI_COMMAND="VERSION") == (0, TEXTS["VERSIONS"])
    assert cni(made, CNI_COMMAND="ADD") == (1, "away"), "nobody listens"
    assert cni(made, CNI_COMMAND="DEL") == (0, "")


def test_it_is_built_once_for_all_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    first = compiler.provide(tmp_path / "one", "cni.c", TEXTS, {"SOCKET_PATH": "/run/one"})
    monkeypatch.setattr(compiler, "find_compiler", lambda: "")
    other = compiler.provide(tmp_path / "two", "cni.c", TEXTS, {"SOCKET_PATH": "/run/two"})
    assert first.read_bytes().replace(b"/run/one", b"/run/two") == other.read_bytes()
    with pytest.raises(BuildError, match="no C compiler"):
        compiler.provide(tmp_path / "three", "cni.c", {**TEXTS, "UNREACHABLE": "gone"}, {"SOCKET_PATH": "/run/one"})


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(BuildError, match="is too long"):
        compiler.provide(tmp_path / "bin", "cni.c", TEXTS, {"SOCKET_PATH": "/" + "x" * 107})

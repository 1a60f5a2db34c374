"""Compilers that programs are built with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from hawser.native import compiler


@pytest.fixture(params=["cc", "tcc"])
def compiled(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are built by each compiler, anew for the test."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    monkeypatch.setattr(compiler, "find_compiler", lambda: request.param)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

"""client-go, unmodified: the Go tests in ``go/``, built with Debian's own toolchain and packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kind import Kind

from ..apiserver.conftest import Server
from . import debian
from .samples import REVIEWS, STORED, sample

SOURCES = Path(__file__).parent / "go"
TESTS = re.findall(r"^func (Test\w+)\(", "\n".join(p.read_text() for p in sorted(SOURCES.glob("*.go"))), re.MULTILINE)
PACKAGES = ("golang-1.26-go", "golang-1.26-src", "golang-k8s-client-go-dev")
MINUTES = 10


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built tests. The first build on a machine compiles all of client-go, later ones what has changed."""
    try:
        root = debian.unpacked("sid", PACKAGES, dependencies="golang-*-dev")
    except debian.Unavailable as error:
        pytest.skip(str(error))
    made = tmp_path_factory.mktemp("go") / "clients"
    go = root / "usr/lib/go-1.26"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(made.parent),
        "GOROOT": str(go),
        # As Debian's own packages are built: sources are found by their path, no module is fetched.
        "GOPATH": str(root / "usr/share/gocode"),
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOCACHE": str(debian.CACHE / "go-build"),
    }
    command = [str(go / "bin/go"), "test", "-c", "-o", str(made), "-ldflags=-s -w", "."]
    done = subprocess.run(command, cwd=SOURCES, env=environment, capture_output=True, text=True, timeout=60 * MINUTES)
    assert done.returncode == 0, done.stderr
    return made


class Suite:
    """The built tests. They run all at once, beside each other, when the first result is asked for."""

    def __init__(self, program: Path, server: Server) -> None:
        self._program = program
        self._server = server
        self._samples = server.folder / "samples.json"
        self._failures: dict[str, str] | None = None
        self._samples.write_text(json.dumps([_row(kind) for kind in (*STORED, *REVIEWS)]))

    def run(self, *arguments: str, **environment: str) -> dict[str, str]:
        """The failures by name of the tests that the arguments choose."""
        known = {"KUBECONFIG": str(self._server.kubeconfig), "HAWSER_SAMPLES": str(self._samples)}
        command = [str(self._program), "-test.parallel=8", "-test.timeout=5m", *arguments]
        done = subprocess.run(command, env={**known, **environment}, capture_output=True, text=True, timeout=330)
        # Whatever else ends it, as a panic does, has no such last line.
        assert re.search(r"^(PASS|FAIL)\n\Z", done.stdout, re.MULTILINE), done.stdout[-3000:] + done.stderr[-3000:]
        return dict(re.findall(r"^--- FAIL: (Test\w+) .*\n((?:    .*\n)*)", done.stdout, re.MULTILINE))

    @property
    def failures(self) -> dict[str, str]:
        """Of all tests."""
        if self._failures is None:
            self._failures = self.run()
        return self._failures


def _row(kind: Kind) -> dict[str, Any]:
    return {
        "resource": kind.plural,
        "namespaced": kind.namespaced,
        "object": sample(kind, "go-sample", "go-everykindinprotobuf"),
    }


@pytest.fixture(scope="module")
def suite(program: Path, server: Server) -> Suite:
    """One for all."""
    return Suite(program, server)


@pytest.mark.parametrize("name", TESTS)
def test_client_go(suite: Suite, name: str) -> None:
    assert name not in suite.failures, suite.failures[name]


def test_informers_that_list_and_then_watch(suite: Suite) -> None:
    """As all clients did before WatchList became client-go's default in 1.35."""
    found = suite.run("-test.run=Informers", KUBE_FEATURE_WatchListClient="false", HAWSER_SUFFIX="-2")
    assert not found, found

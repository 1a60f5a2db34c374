"""One server for the tests of clients, with namespaces, identities and tools around it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import aiohttp
import pytest

from ..apiserver.conftest import Api, Server

_numbers = itertools.count(1)
KUBECTL = str(Path(sys.executable).parent / "kubectl")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; it must have survived them."""
    with lasting(tmp_path_factory.mktemp("clients")) as running:
        yield running


@contextmanager
def lasting(folder: Path) -> Iterator[Server]:
    """A server that must live until it is told to end."""
    running = Server(folder)
    running.start()
    process = running.process
    assert process is not None
    assert process.stderr is not None
    # A pipe that nobody reads would stop a server that has much to say.
    said = threading.Thread(target=_keep, args=(process.stderr, running.folder / "log"))
    said.start()
    yield running
    process.send_signal(signal.SIGTERM)
    said.join(20)
    assert process.wait(120) == 0


def _keep(stream: IO[str], file: Path) -> None:
    with stream, file.open("w") as log:
        for line in stream:
            log.write(line)
            log.flush()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A bare HTTP client with a namespace that no other test uses."""
    async with aiohttp.ClientSession() as session:
        client = Api(server, session, f"client-{next(_numbers)}")
        await client.create("/api/v1/namespaces", {"metadata": {"name": client.namespace}})
        yield client


class Kubectl:
    """kubectl in a namespace. Calling it gives what it prints."""

    def __init__(self, server: Server, program: str, namespace: str) -> None:
        self.server = server
        self.program = program
        self.namespace = namespace

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [self.program, "--kubeconfig", str(self.server.kubeconfig), "-n", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end, however that is."""
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            # Its own home, so its own cache of discovery: what others deleted would be missed.
            env={**os.environ, "HOME": str(self.server.folder / self.namespace), **environment},
        )

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """What it prints; fails the test when it fails."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """What it says when it fails, as it must."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, f"{arguments}: {done.stdout}"
        return done.stderr


@pytest.fixture
def spaces(server: Server) -> Callable[[], str]:
    """Makes namespaces for tests without an event loop."""

    def make() -> str:
        name = f"space-{next(_numbers)}"
        Kubectl(server, KUBECTL, "default")("create", "namespace", name)
        return name

    return make


@pytest.fixture
def kubectl(server: Server, spaces: Callable[[], str]) -> Kubectl:
    """kubectl of our version, in a namespace of its own."""
    return Kubectl(server, KUBECTL, spaces())

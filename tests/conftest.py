"""What tests of several packages share: time that stands still, and a real API server as a process of its own."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings

from hawser.runtime.install import STATE

# How long an example takes says something of the machine, not of the code.
settings.register_profile("hawser", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hawser")


class FakeTimer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class FakeClock:
    """A hawser.client.clock.Clock that moves only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.worked = 0.0
        """Processor time, which only tests that are about it use."""
        self.slept: list[float] = []
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def cpu(self) -> float:
        return self.worked

    def call_later(self, seconds: float, call: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(call)
        heapq.heappush(self._timers, (self.seconds + seconds, next(self._numbers), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """Takes no real time, and is remembered."""
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.seconds = due
            if timer.call:
                timer.call()
        self.seconds = end


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class APIServerProcess:
    """``python -m hawser.apiserver`` on a port of its own, with an administrator's kubeconfig."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.yaml"
        self.port = 0
        """Any free one at the first start, and the same ever after."""
        self._process: subprocess.Popen[bytes] | None = None
        _self_signed(folder)
        (folder / "tokens.csv").write_text('admin-token,admin,1,"system:masters"\n')

    def _write_kubeconfig(self) -> None:
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.folder / "tls.crt")}
        document = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "admin-token"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def start(self) -> None:
        """Starts it and waits until it says that it serves."""
        log = self.folder / "log"
        log.touch()
        before = log.stat().st_size
        command = [sys.executable, "-m", "hawser.apiserver", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--data-dir", str(self.folder / "data"), "--token-auth-file", str(self.folder / "tokens.csv")]
        command += ["--tls-cert", str(self.folder / "tls.crt"), "--tls-key", str(self.folder / "tls.key")]
        command += ["--client-ca", str(self.folder / "tls.crt")]
        with log.open("ab") as written:
            self._process = subprocess.Popen(command, stdout=written, stderr=written, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := re.search(rb"serving on https://\S+:(\d+)\n", log.read_bytes()[before:]):
                self.port = int(found[1])
                self._write_kubeconfig()
                return
            time.sleep(0.02)
        pytest.fail(f"the API server did not start:\n{log.read_text()}")

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends it, as a crash unless told otherwise."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(120)
            self._process = None


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServerProcess]:
    """A real API server for the tests of one module."""
    server = APIServerProcess(tmp_path_factory.mktemp("apiserver"))
    server.start()
    yield server
    server.stop()


def _self_signed(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hawser-test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "tls.key").write_bytes(encoded)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Callable[[Path, int], int]]:
    """Makes directories `d` one in the other, so many, in a directory; a descriptor of the deepest, to be closed.

    The test's directory is emptied by rm(1), however the test ends: of directories that are deeper than Python would
    call itself, a later run, which takes this one's away by Python, would end.
    """

    def make(top: Path, levels: int) -> int:
        here = os.open(top, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir("d", 0o700, dir_fd=here)
            there = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = there
        return here

    yield make
    subprocess.run(["rm", "-rf", "--one-file-system", *tmp_path.iterdir()], check=False)


@pytest.fixture
def node_state() -> Iterator[None]:
    """The machine's folder of what hawser-runtime keeps on a node goes again, unless it was there."""
    there = Path(STATE).exists()
    yield
    if not there:
        shutil.rmtree(STATE, ignore_errors=True)

"""A real server for the tests: its own certificates, its own data, any free port."""

from __future__ import annotations

import itertools
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Writes NAME.crt and NAME.key files into a folder; its own are ca.crt and ca.key."""

    def __init__(self, folder: Path, name: str = "test-ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._write("ca", self._key, certificate)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.crt"

    def issue(
        self, file: str, name: str, *groups: str, server: bool = False, names: tuple[str, ...] = ()
    ) -> tuple[Path, Path]:
        """A certificate for CN name and O groups; server: valid for 127.0.0.1, localhost and the names."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key())
        if server:
            known = [*map(x509.DNSName, ("localhost", *names)), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(known), critical=False)
        self._write(file, key, builder)
        return self.folder / f"{file}.crt", self.folder / f"{file}.key"

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def _write(self, file: str, key: ec.EllipticCurvePrivateKey, builder: x509.CertificateBuilder) -> None:
        certificate = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{file}.key").write_bytes(encoded)


TOKENS = """admin-token,admin,1,"system:masters"
joe-token,joe,2,"dev"
node-token,system:node:n1,3,"system:nodes"
"""
_numbers = itertools.count(1)
Obj = dict[str, Any]


class Server:
    """One server process. url: where it is; restart and kill -9 are part of what is tested."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        for file, name, groups in (("admin", "admin", ["system:masters"]), ("agents", "kube-apiserver", [])):
            self.authority.issue(file, name, *groups)
        self.authority.issue("server", "server", server=True)
        (folder / "tokens.csv").write_text(TOKENS)
        self.process: subprocess.Popen[str] | None = None
        self.listener: threading.Thread | None = None
        self.url = ""
        self.extra: list[str] = []
        """More arguments of the command."""

    def launch(self) -> subprocess.Popen[str]:
        """Start, without waiting."""
        folder = self.folder
        command = [sys.executable, "-m", "hawser.apiserver", "--data-dir", folder / "data", "--listen", "127.0.0.1:0"]
        files = {
            "--tls-cert": "server.crt",
            "--tls-key": "server.key",
            "--client-ca": "ca.crt",
            "--token-auth-file": "tokens.csv",
            "--kubelet-client-cert": "agents.crt",
            "--kubelet-client-key": "agents.key",
            "--kubelet-ca": "ca.crt",
        }
        for flag, file in files.items():
            command += [flag, folder / file]
        command += ["--service-cluster-ip-range", "10.96.0.0/24", *self.extra]
        self.process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        return self.process

    def start(self) -> None:
        """Start, and wait until it says that it serves."""
        process = self.launch()
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            found = re.search(r"serving on (https://\S+)", line)
            if found:
                self.url = found.group(1)
                # What it says from now on is taken, or a slow machine's warnings would fill the pipe and stop it.
                self.listener = threading.Thread(target=process.stderr.read, daemon=True)
                self.listener.start()
                return
        raise AssertionError(f"the server did not start: {said[-2000:]}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        assert self.process.stderr is not None
        if self.listener is not None:
            self.listener.join()
            self.listener = None
        self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait(120)

    def tls(self, certificate: str = "") -> ssl.SSLContext:
        """A client's TLS, with a certificate's file name or without one."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if certificate:
            context.load_cert_chain(self.folder / f"{certificate}.crt", self.folder / f"{certificate}.key")
        return context

    @property
    def kubeconfig(self) -> Path:
        """For kubectl, with the administrator's certificate."""
        path = self.folder / "kubeconfig"
        folder = self.folder
        path.write_text(
            orjson.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "t",
                            "cluster": {"server": self.url, "certificate-authority": str(folder / "ca.crt")},
                        }
                    ],
                    "users": [
                        {
                            "name": "t",
                            "user": {
                                "client-certificate": str(folder / "admin.crt"),
                                "client-key": str(folder / "admin.key"),
                            },
                        }
                    ],
                    "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
                    "current-context": "t",
                }
            ).decode()
        )
        return path


class Answer:
    """A whole answer."""

    def __init__(self, status: int, body: bytes, headers: Any) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def json(self) -> Obj:
        """The decoded body."""
        found: Obj = orjson.loads(self.body)
        return found

    @property
    def message(self) -> str:
        """A Status' message."""
        return str(self.json["message"])


def abandon(answer: aiohttp.ClientResponse) -> None:
    """Leave a stream at once: TLS' goodbye would outlive the test's event loop."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()


class Api:
    """A client of one server, in a namespace of its own."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, namespace: str) -> None:
        self.server = server
        self.session = session
        self.namespace = namespace
        self.tls = server.tls()

    def path(self, plural: str, name: str = "", group: str = "") -> str:
        """The path of a collection of the namespace, or of what is in it."""
        root = f"/apis/{group}/v1" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin-token",
        accept: str = "application/json",
        content: str = "application/json",
        tls: ssl.SSLContext | None = None,
        headers: dict[str, str] | None = None,
        expect: bool = False,
    ) -> Answer:
        """One request; body: bytes as they are, anything else as JSON. expect: ask before the body is sent."""
        sent = {"Accept": accept, "Content-Type": content, **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        if data is not None:
            data = BytesIO(data)
        async with self.session.request(
            method, self.server.url + path, data=data, headers=sent, ssl=tls or self.tls, expect100=expect
        ) as answer:
            return Answer(answer.status, await answer.read(), answer.headers)

    async def get(self, path: str, **options: Any) -> Answer:
        """GET."""
        return await self.call("GET", path, **options)

    async def create(self, path: str, body: Any, **options: Any) -> Obj:
        """POST that must succeed."""
        answer = await self.call("POST", path, body, **options)
        assert answer.status == 201, answer.body
        return answer.json

    async def config_map(self, name: str, labels: dict[str, str] | None = None, **fields: Any) -> Obj:
        """A ConfigMap in the namespace."""
        metadata: Obj = {"name": name}
        if labels:
            metadata["labels"] = labels
        return await self.create(self.path("configmaps"), {"metadata": metadata, **fields})

    async def watch(self, path: str) -> AsyncIterator[Obj]:
        """Events of a watch, decoded."""
        headers = {"Authorization": "Bearer admin-token"}
        async with self.session.get(self.server.url + path, headers=headers, ssl=self.tls) as answer:
            assert answer.status == 200, await answer.text()
            try:
                async for line in answer.content:
                    yield orjson.loads(line)
            finally:
                abandon(answer)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it running."""
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A client with a namespace that no other test uses."""
    async with aiohttp.ClientSession() as session:
        client = Api(server, session, f"test-{next(_numbers)}")
        await client.create("/api/v1/namespaces", {"metadata": {"name": client.namespace}})
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may stop and start; it is not running yet."""
    mine = Server(tmp_path)
    yield mine
    if mine.process is not None and mine.process.poll() is None:
        mine.stop()


@pytest.fixture
async def own_api(own_server: Server) -> AsyncIterator[Api]:
    """A client of a server of the test's own, for what concerns a whole cluster."""
    own_server.start()
    async with aiohttp.ClientSession() as session:
        yield Api(own_server, session, "default")


@pytest.fixture
def kubectl(server: Server) -> Any:
    """Runs kubectl; fails the test when it fails."""

    def run(*arguments: str, stdin: str = "", namespace: str = "default", **environment: str) -> str:
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "kubectl"),
                "--kubeconfig",
                server.kubeconfig,
                "-n",
                namespace,
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "HOME": str(server.folder), **environment},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

"""A small HTTP/1.1 client over TLS, so that the client is not what is measured.

One ``Connection`` is one keep-alive socket. Answers are kept as bytes with the times of their first and last byte;
nothing is decoded until somebody asks. ``Reader`` parses incrementally, for answers that come bit by bit.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import yaml

JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
CREATED = 201
now = time.monotonic


class HTTPError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Target:
    """An API server and how to prove who we are. tls: None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    token: str = ""

    @classmethod
    def at(cls, server: str, token: str = "", ca: str = "", ca_data: str = "", insecure: bool = False) -> Target:
        """server: URL. ca: a file. ca_data: PEM text."""
        url = urlsplit(server)
        tls = None
        if url.scheme == "https":
            tls = ssl.create_default_context(cafile=ca or None, cadata=ca_data or None)
            if insecure:
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            tls.set_alpn_protocols(["http/1.1"])
        return cls(url.hostname or "127.0.0.1", url.port or (443 if tls else 80), tls, token)

    @classmethod
    def from_kubeconfig(cls, path: str) -> Target:
        """The current context's server and user (token or client certificate)."""
        config = yaml.safe_load(Path(path).read_text())

        def named(kind: str, name: str) -> dict[str, Any]:
            return next(dict(entry[kind]) for entry in config[kind + "s"] if entry["name"] == name)

        context = named("context", config["current-context"])
        cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
        ca_data = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
        ca = cluster.get("certificate-authority", "")
        token = user.get("token") or (Path(user["tokenFile"]).read_text().strip() if "tokenFile" in user else "")
        insecure = bool(cluster.get("insecure-skip-tls-verify"))
        target = cls.at(cluster["server"], token, ca, ca_data, insecure)
        if target.tls and ("client-certificate" in user or "client-certificate-data" in user):
            with tempfile.TemporaryDirectory() as directory:
                files = []
                for field in ("client-certificate", "client-key"):
                    files.append(Path(user.get(field) or directory, "" if field in user else field))
                    if field not in user:
                        descriptor = os.open(files[-1], os.O_CREAT | os.O_WRONLY, 0o600)
                        os.write(descriptor, base64.b64decode(user[field + "-data"]))
                        os.close(descriptor)
                target.tls.load_cert_chain(*map(str, files))
        return target

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = JSON, accept: str = JSON) -> bytes:
        """The bytes of a request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAccept: {accept}\r\nUser-Agent: bench\r\n"
        if self.token:
            head += f"Authorization: Bearer {self.token}\r\n"
        if body or method in ("POST", "PUT", "PATCH"):
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class Reader:
    """Takes an answer's bytes as they come. ``body`` grows by whole chunks; ``done`` after the last one."""

    __slots__ = ("_left", "_raw", "body", "chunked", "done", "headers", "status")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._left = -1
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.chunked = False
        self.done = False

    def feed(self, data: bytes) -> bool:
        """Whether the answer is complete."""
        raw = self._raw
        raw += data
        if not self.status:
            end = raw.find(b"\r\n\r\n")
            if end < 0:
                return False
            lines = raw[:end].decode("latin-1").split("\r\n")
            del raw[: end + 4]
            self.status = int(lines[0].split(" ", 2)[1])
            self.headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            self.chunked = "chunked" in self.headers.get("transfer-encoding", "")
            self._left = int(self.headers.get("content-length", 0)) if not self.chunked else -1
        if not self.chunked:
            if len(raw) >= self._left:
                self.body, self.done = raw[: self._left], True
            return self.done
        at = 0
        while not self.done:
            end = raw.find(b"\r\n", at)
            if end < 0:
                break
            size = int(raw[at:end].split(b";")[0], 16)
            if len(raw) < end + 2 + size + 2:
                break
            self.body += raw[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
            self.done = size == 0
        del raw[:at]
        return self.done

    def take_lines(self) -> list[bytes]:
        """The complete lines of the body so far, which are removed from it."""
        end = self.body.rfind(b"\n") + 1
        lines = bytes(self.body[:end]).split(b"\n")
        del self.body[:end]
        return [line for line in lines if line]


@dataclass(frozen=True, slots=True)
class Answer:
    """sent: just before the request was written. received: at the last byte (both ``time.monotonic``)."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: float
    received: float

    def json(self) -> Any:
        return orjson.loads(self.body)


class Connection:
    """One keep-alive connection, used by one thread."""

    def __init__(self, target: Target, timeout: float = 60) -> None:
        self.target = target
        plain = socket.create_connection((target.host, target.port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = target.tls.wrap_socket(plain, server_hostname=target.host) if target.tls else plain

    def send(self, request: bytes) -> Answer:
        reader = Reader()
        sent = now()
        self.socket.sendall(request)
        while True:
            data = self.socket.recv(262_144)
            received = now()
            if not data:
                raise HTTPError("the server closed the connection")
            if reader.feed(data):
                return Answer(reader.status, reader.headers, bytes(reader.body), sent, received)

    def call(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Answer:
        """body: anything that JSON can hold."""
        data = orjson.dumps(body) if body is not None else b""
        return self.send(self.target.request(method, path, data, content_type))

    def must(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Answer:
        """Raises HTTPError for an answer that is not 2xx."""
        answer = self.call(method, path, body, content_type)
        if answer.status >= 300:
            raise HTTPError(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer

    def list(self, path: str) -> tuple[list[dict[str, Any]], str]:
        """All items in one answer, and the list's resourceVersion."""
        found = self.must("GET", path).json()
        return found["items"] or [], found["metadata"]["resourceVersion"]

    def close(self) -> None:
        self.socket.close()

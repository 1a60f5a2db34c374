"""A registry on loopback: pulls and pushes of the OCI distribution specification, with basic or token auth."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

from .images import blobs_of

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry(http.server.ThreadingHTTPServer):
    """repositories: manifest by name and tag. users: passwords by name; empty: everybody may pull. token: whether
    credentials are shown to a token service instead. spoiled: digests whose content is damaged. barrier: whoever asks
    for a manifest waits there for others."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[tuple[str, str], bytes] = {}
        self.users: dict[str, str] = {}
        self.token = False
        self.granted = b'{"token":"good","access_token":"good"}'
        self.spoiled: set[str] = set()
        self.served: list[str] = []
        self.barrier: threading.Barrier | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def add(self, name: str, tag: str = "1", content: str = "", *, spoiled: bool = False) -> str:
        """An image of busybox with a file of its own; its name for pods."""
        blobs, manifest = blobs_of(content or name)
        self.blobs.update(blobs)
        self.repositories[(name, tag)] = manifest
        if spoiled:
            self.spoiled.update(layer["digest"] for layer in json.loads(manifest)["layers"])
        return f"{self.address}/{name}:{tag}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # who tries TLS first is answered in HTTP, by which containerd 2 tells
    server: Registry

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        registry = self.server
        path = self.path.partition("?")[0]
        if path == "/token":
            self._token()
            return
        if not self._may():
            return
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if path == "/v2/":
            self._answer(200, b"{}")
        elif found is None:
            self._answer(404, b"{}")
        elif found[2] == "manifests":
            self._manifest(found[1], found[3])
        else:
            data = registry.blobs.get(found[3])
            if data is not None and found[3] in registry.spoiled:
                data = data[:-1] + bytes([data[-1] ^ 1])
            self._answer(404 if data is None else 200, data or b"", "application/octet-stream")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """Asks for a token with a form (OAuth 2.0, RFC 6749, section 4.3), or begins a push."""
        if self.path.startswith("/v2/"):
            if self._may():
                self._answer(202, b"", headers={"Location": self.path + "begun?state=1"})
            return
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        if form.get("grant_type") == "refresh_token":  # RFC 6749, section 6; the token of a user is its password
            self._grant(form["refresh_token"] in self.server.users.values())
        else:
            self._grant(self.server.users.get(form.get("username", "")) == form.get("password"))

    def do_PUT(self) -> None:
        """Takes a blob whose digest is right, or a manifest whose blobs are there."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        path, _, query = self.path.partition("?")
        if not self._may():
            return
        digest = _digest(data)
        if "/blobs/uploads/" in path:
            good = dict(parse_qsl(query)) == {"state": "1", "digest": digest}
            self.server.blobs |= {digest: data} if good else {}
        else:
            name, _, tag = path.removeprefix("/v2/").partition("/manifests/")
            manifest = json.loads(data)
            good = all(one["digest"] in self.server.blobs for one in [manifest["config"], *manifest["layers"]])
            self.server.repositories |= {(name, tag): data} if good else {}
        self._answer(201 if good else 400, b"", headers={"Docker-Content-Digest": digest})

    def _manifest(self, name: str, reference: str) -> None:
        registry = self.server
        data = registry.repositories.get((name, reference))
        if data is None:
            data = next((m for m in registry.repositories.values() if _digest(m) == reference), None)
        if data is None:
            self._answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            return
        if registry.barrier is not None and self.command == "GET":
            registry.barrier.wait(20)
        registry.served.append(name)
        self._answer(200, data, _MANIFEST, {"Docker-Content-Digest": _digest(data)})

    def _may(self) -> bool:
        registry = self.server
        if not registry.users:
            return True
        shown = self.headers.get("Authorization", "")
        if registry.token:
            if shown == "Bearer good":
                return True
            challenge = f'Bearer realm="http://{registry.address}/token",service="test"'
        else:
            if self._known(shown):
                return True
            challenge = 'Basic realm="test"'
        self._answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', headers={"WWW-Authenticate": challenge})
        return False

    def _known(self, shown: str) -> bool:
        scheme, _, text = shown.partition(" ")
        if scheme != "Basic":
            return False
        user, _, password = base64.b64decode(text).decode().partition(":")
        return self.server.users.get(user) == password

    def _token(self) -> None:
        self._grant(self._known(self.headers.get("Authorization", "")))

    def _grant(self, known: bool) -> None:
        if known:
            self._answer(200, self.server.granted)
        else:
            self._answer(401, b"{}")

    def _answer(
        self, code: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def running() -> Iterator[Registry]:
    """Serves until the end of the block."""
    registry = Registry()
    thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        thread.join()
        registry.server_close()

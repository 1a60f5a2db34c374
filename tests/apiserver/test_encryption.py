"""Secrets at rest, of a real server."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

PASSWORD = b64encode(b"correct horse battery staple").decode()


def configure(server: Any, *providers: dict[str, Any]) -> None:
    """Start or restart a server with these providers for Secrets."""
    path = server.folder / "encryption.yaml"
    entry = {"resources": ["secrets"], "providers": list(providers)}
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
    path.write_text(yaml.safe_dump({**head, "resources": [entry]}))
    server.extra = ["--encryption-provider-config", str(path)]


def key(name: str) -> dict[str, Any]:
    return {"keys": [{"name": name, "secret": b64encode(name.encode().ljust(32, b"-")).decode()}]}


def stored(server: Any) -> bytes:
    """The newest row of the Secret, as it is on disk."""
    with closing(sqlite3.connect(server.folder / "data" / "hawser.db")) as db:
        query = "SELECT value FROM log WHERE key = 'core/secrets/default/s' ORDER BY revision DESC LIMIT 1"
        value: bytes = db.execute(query).fetchone()[0]
        return value


def on_disk(server: Any) -> bool:
    """Whether the password is in any file of the store."""
    return any(PASSWORD.encode() in path.read_bytes() for path in Path(server.folder / "data").glob("hawser.db*"))


def kubectl(server: Any, *arguments: str, stdin: str = "") -> str:
    command = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(server.kubeconfig), *arguments]
    environment = {**os.environ, "HOME": str(server.folder)}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_secrets_are_encrypted_with_the_first_key_and_read_with_any(own_server: Any) -> None:
    own_server.start()
    kubectl(own_server, "create", "secret", "generic", "s", "--from-literal=password=correct horse battery staple")
    assert own_server.stop() == 0
    assert on_disk(own_server)
    # Encrypting begins: what is there is read as it is, and written anew.
    configure(own_server, {"aescbc": key("k1")}, {"identity": {}})
    own_server.start()
    kubectl(own_server, "replace", "-f", "-", stdin=kubectl(own_server, "get", "secrets", "-A", "-o", "json"))
    assert own_server.stop() == 0
    assert stored(own_server).startswith(b"k8s:enc:aescbc:v1:k1:")
    # The key is rotated, and is another provider's.
    configure(own_server, {"secretbox": key("k2")}, {"aescbc": key("k1")}, {"identity": {}})
    own_server.start()
    assert PASSWORD in kubectl(own_server, "get", "secret", "s", "-o", "json")
    before = kubectl(own_server, "get", "secret", "s", "-o", "jsonpath={.metadata.resourceVersion}")
    kubectl(own_server, "replace", "-f", "-", stdin=kubectl(own_server, "get", "secrets", "-A", "-o", "json"))
    after = kubectl(own_server, "get", "secret", "s", "-o", "jsonpath={.metadata.resourceVersion}")
    assert before != after
    # Once it is written with the first key, replacing it changes nothing again.
    kubectl(own_server, "replace", "-f", "-", stdin=kubectl(own_server, "get", "secrets", "-A", "-o", "json"))
    assert kubectl(own_server, "get", "secret", "s", "-o", "jsonpath={.metadata.resourceVersion}") == after
    assert own_server.stop() == 0
    assert stored(own_server).startswith(b"k8s:enc:secretbox:v1:k2:")


def test_a_server_without_the_key_does_not_start_and_says_which(own_server: Any) -> None:
    configure(own_server, {"aesgcm": key("k1")})
    own_server.start()
    kubectl(own_server, "create", "secret", "generic", "s", "--from-literal=password=correct horse battery staple")
    assert own_server.stop(9) == -9
    assert not on_disk(own_server)
    for providers in ([], [{"aesgcm": key("k2")}, {"identity": {}}]):
        own_server.extra = []
        if providers:
            configure(own_server, *providers)
        process = own_server.launch()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert 'core/secrets/default/s is encrypted (provider aesgcm, key "k1")' in errors


def test_a_configuration_that_changes_is_followed_without_a_restart(own_server: Any) -> None:
    configure(own_server, {"aescbc": key("k1")}, {"identity": {}})
    own_server.extra.append("--encryption-provider-config-automatic-reload=true")
    own_server.start()
    kubectl(own_server, "create", "secret", "generic", "s", "--from-literal=password=correct horse battery staple")

    def reloads(outcome: str) -> int:
        text = kubectl(own_server, "get", "--raw", "/metrics")
        name = f'apiserver_encryption_config_controller_automatic_reloads_total{{status="{outcome}"}} '
        return int(next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name))

    def wait(outcome: str) -> None:
        deadline = time.monotonic() + 120
        while not reloads(outcome):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    Path(own_server.folder / "encryption.yaml").write_text("kind: nothing")
    wait("failure")
    configure(own_server, {"aesgcm": key("k2")}, {"aescbc": key("k1")}, {"identity": {}})
    wait("success")
    kubectl(own_server, "replace", "-f", "-", stdin=kubectl(own_server, "get", "secrets", "-A", "-o", "json"))
    assert own_server.stop() == 0
    assert stored(own_server).startswith(b"k8s:enc:aesgcm:v1:k2:")
    own_server.start()
    assert PASSWORD in kubectl(own_server, "get", "secret", "s", "-o", "json")

"""An image archive is pushed as the distribution specification has it: what is there already is not sent again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.node import registry as registries
from tests.node.registry import Registry

from hawser.cli.context import Failure
from hawser.cli.images.logins import login
from hawser.cli.images.oci import Entry, ImageConfig, write_archive, write_layer
from hawser.cli.images.pushing import base_url, challenge, push


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with registries.running() as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    layers = [write_layer(tmp_path / f"{name}.tar", [Entry(name, content=name.encode() * 5000)]) for name in "ab"]
    write_archive(tmp_path / "image.tar", "example/shop:2", layers, ImageConfig(cmd=("/a",)))
    return tmp_path / "image.tar"


def told(_: str) -> None:
    pass


async def test_all_of_an_image_gets_to_its_registry(registry: Registry, archive: Path) -> None:
    said: list[str] = []
    digest = await push(archive, f"{registry.address}/team/shop:2", said.append)
    manifest = registry.repositories[("team/shop", "2")]
    assert registries._digest(manifest) == digest
    assert len(registry.blobs) == 3
    assert len(said) == 4
    sizes = {one["digest"]: one["size"] for one in json.loads(manifest)["layers"]}
    assert {digest: len(registry.blobs[digest]) for digest in sizes} == sizes
    registry.spoiled = set()
    assert await push(archive, f"{registry.address}/team/shop:3", told) == digest
    assert registry.repositories[("team/shop", "3")] == manifest


@pytest.mark.parametrize("token", [False, True])
async def test_a_login_is_shown(registry: Registry, archive: Path, tmp_path: Path, token: bool) -> None:
    registry.users, registry.token = {"ann": "s3cret"}, token
    with pytest.raises(Failure, match="401") as failed:
        await push(archive, f"{registry.address}/shop:1", told)
    assert "docker login" in failed.value.hint
    auth = base64.b64encode(b"ann:s3cret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    await push(archive, f"{registry.address}/shop:1", told)
    assert ("shop", "1") in registry.repositories


@pytest.mark.parametrize("answer", [b"welcome", b"[]", b"{}"])
async def test_a_token_service_that_gives_none_is_named(
    registry: Registry, archive: Path, tmp_path: Path, answer: bytes
) -> None:
    registry.users, registry.token, registry.granted = {"ann": "s3cret"}, True, answer
    auth = base64.b64encode(b"ann:s3cret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    with pytest.raises(Failure, match=f"http://{registry.address}/token gives no token: there is none in its answer"):
        await push(archive, f"{registry.address}/shop:1", told)


@pytest.mark.parametrize("text", ["[]", "{", "null"])
def test_a_file_of_logins_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "auth.json").write_text(text)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    with pytest.raises(Failure, match=r"auth\.json is no object of JSON"):
        login("a.example/x:1")


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A credential helper named `test` on PATH."""
    program = folder / "docker-credential-test"
    program.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 9\nread -r server\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize("kind", ["credHelpers", "credsStore"])
@pytest.mark.parametrize("user", ["ann", "<token>"])
async def test_a_credential_helper_is_asked(
    registry: Registry, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, user: str
) -> None:
    registry.users, registry.token = {"ann": "s3cret"}, user == "<token>"
    said = json.dumps({"ServerURL": "", "Username": user, "Secret": "s3cret"})
    helper(tmp_path, monkeypatch, f"""[ "$server" = {registry.address} ] && echo '{said}'""")
    config = {kind: {registry.address: "test"} if kind == "credHelpers" else "test", "auths": {registry.address: {}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    await push(archive, f"{registry.address}/shop:1", told)
    assert ("shop", "1") in registry.repositories


def test_whoever_knows_the_registry_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = (base64.b64encode(f"{name}:x".encode()).decode() for name in ("ann", "bob"))
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers/auth.json").write_text(json.dumps({"auths": {"b.example": {"auth": bob}}}))
    docker: dict[str, Any] = {"auths": {"a.example/team": {"auth": ann}, "a.example": {}}, "credsStore": "test"}
    (tmp_path / "config.json").write_text(json.dumps(docker))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    hub = '{"Username":"hub","Secret":"y"}'
    unknown = "echo credentials not found in native keychain; exit 1"
    helper(tmp_path, monkeypatch, f"""[ $server != https://index.docker.io/v1/ ] || exec echo '{hub}'; {unknown}""")
    found = [login(name).user for name in ("a.example/team/x:1", "a.example/other", "b.example/x", "busybox:1.36")]
    assert found == ["ann", "", "bob", "hub"]
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "containers/auth.json"))
    assert [login(name).user for name in ("a.example/team/x:1", "b.example/x")] == ["", "bob"]


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo no session; exit 1", "no session"), ("exit 3", "it ends with 3"), ("echo", "Expecting value"), ("", "")],
)
def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"a.example": "test"}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    if script:
        helper(tmp_path, monkeypatch, script)
    with pytest.raises(Failure) as failed:
        login("a.example/x:1")
    assert failed.value.what.startswith(
        f"docker-credential-test, which {tmp_path}/config.json names for a.example, gives"
    )
    assert (why or "there is no such program on PATH") in failed.value.what


async def test_what_is_not_there_is_said(archive: Path, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"http://127\.0\.0\.1:1/v2 can not be reached: Connect call failed"):
        await push(archive, "127.0.0.1:1/shop:1", told)
    (tmp_path / "empty.tar").write_bytes(b"x" * 2000)
    with pytest.raises(Failure, match="no archive of an image"):
        await push(tmp_path / "empty.tar", f"{registry.address}/shop:1", told)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("registry.example", "https://registry.example/v2"),
        ("registry.example:5000", "https://registry.example:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("docker.io", "https://registry-1.docker.io/v2"),
    ],
)
def test_a_registry_is_where_container_runtimes_look_for_it(host: str, url: str) -> None:
    assert base_url(host) == url


def test_a_challenge_is_read() -> None:
    header = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull,push"'
    assert challenge(header) == (
        "bearer",
        {"realm": "https://auth.example/token", "service": "registry.example", "scope": "repository:a:pull,push"},
    )
    assert challenge("") == ("", {})

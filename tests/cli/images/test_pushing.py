"""An image archive is pushed as the distribution specification has it: what is there already is not sent again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node import registry as registries
from tests.node.registry import Registry

from hawser.cli.context import Failure
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


async def test_what_is_not_there_is_said(archive: Path, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="does not take the image"):
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

"""Images written without a container engine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hawser.cli.images import local
from hawser.cli.images.oci import Entry, ImageConfig, directory_entries, write_archive, write_layer

CONFIG = ImageConfig(
    entrypoint=("/pause",),
    cmd=("-P",),
    env={"A": "b"},
    user="1",
    workdir="/w",
    ports=("80/tcp",),
    stop_signal="SIGQUIT",
)


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def image(archive: Path) -> tuple[dict[str, Any], dict[str, Any], list[bytes]]:
    """The index's entry, the image configuration and the layers; every digest on the way is checked."""
    files = contents(archive)

    def blob(descriptor: dict[str, Any]) -> bytes:
        digest = descriptor["digest"].removeprefix("sha256:")
        data = files["blobs/sha256/" + digest]
        assert hashlib.sha256(data).hexdigest() == digest
        assert len(data) == descriptor["size"]
        return data

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    entry = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(blob(entry))
    return entry, json.loads(blob(manifest["config"])), [blob(layer) for layer in manifest["layers"]]


def test_an_archive_is_an_image_layout(tmp_path: Path) -> None:
    layer = write_layer(tmp_path / "layer", [Entry("a", content=b"x")])
    digest = write_archive(tmp_path / "image.tar", "localhost/x:1", [layer], CONFIG)
    entry, config, layers = image(tmp_path / "image.tar")
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    assert config["config"] == {
        "Entrypoint": ["/pause"],
        "Cmd": ["-P"],
        "Env": ["A=b"],
        "User": "1",
        "WorkingDir": "/w",
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
    }
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layers[0]).hexdigest()]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (local.build_busybox(tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["busybox", "localhost/x", "busybox:1"])
def test_a_name_is_a_full_reference(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="full reference"):
        write_archive(tmp_path / "x.tar", name, [], CONFIG)


def test_a_directory_becomes_a_layer_of_roots(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/empty").mkdir()
    (root / "etc/secret").write_text("x")
    (root / "etc/secret").chmod(0o600)
    (root / "link").symlink_to("/etc/secret")
    assert list(directory_entries(root)) == [
        Entry("etc/empty"),
        Entry("etc/secret", content=b"x", mode=0o600),
        Entry("link", link="/etc/secret"),
    ]
    os.mkfifo(root / "pipe")
    with pytest.raises(ValueError, match="neither a file"):
        list(directory_entries(root))


def test_busybox_has_its_applets_and_the_files_they_need(tmp_path: Path) -> None:
    _, config, layers = image(local.build_busybox(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(layers[0])) as tar:
        members = {member.name: member for member in tar}
    for name in ("sh", "httpd", "nc", "wget", "init"):
        assert members["bin/" + name].linkname == "bin/busybox"
    assert members["tmp"].mode == 0o1777
    assert {"etc/passwd", "etc/group", "home", "root"} <= members.keys()
    assert config["config"]["Cmd"] == ["sh"]


def test_a_missing_executable_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(local.LocalImageError, match="install the package catatonit"):
        local.build_pause(tmp_path, tmp_path / "none")

"""A commit: which changes it takes, and what the new image is made of."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hawser.cli.context import Failure
from hawser.cli.images.oci import Entry, ImageConfig, write_archive, write_layer
from hawser.cli.writable.committing import check, dated, extend, kept, left_out, patterns, with_layer

PATHS = ("etc/machine-id", "etc/motd", "etc/ssh/ssh_host_rsa_key.pub", "run/x", "var/log/a")
RELEASE = "var/lib/hawser/release/1/state"
CHANGES: list[dict[str, Any]] = [{"path": "/" + path} for path in (*PATHS, RELEASE)]


@pytest.mark.parametrize(
    ("exclude", "identity", "expected"),
    [
        ((), False, ["/etc/motd", "/var/log/a"]),
        (("/var/log",), False, ["/etc/motd"]),
        (("*.pub", "etc/mo*"), True, ["/etc/machine-id", "/var/log/a"]),
    ],
)
def test_what_belongs_to_one_machine_is_left_out(exclude: tuple[str, ...], identity: bool, expected: list[str]) -> None:
    without = left_out(CHANGES, patterns(exclude, identity))
    assert [change["path"] for change in kept(CHANGES, without)] == expected


def test_any_number_of_files_is_left_out() -> None:
    changes = [{"path": f"/{folder}/{number}/file"} for folder in ("cache", "data") for number in range(50_000)]
    without = left_out(changes, ["cache/*/file", "data/7"])
    left = [change["path"] for change in kept(changes, without)]
    assert len(left) == 49_999 and left[6:8] == ["/data/6/file", "/data/8/file"]


def test_the_image_keeps_its_settings_and_gets_a_layer(tmp_path: Path) -> None:
    base, layer, made = (tmp_path / name for name in ("base.tar", "layer.tar", "new.tar"))
    lower = write_layer(tmp_path / "lower.tar", [Entry("a", content=b"1")])
    write_archive(base, "localhost/x:1", [lower], ImageConfig(entrypoint=("/a",), env={"K": "v"}, user="5"))
    write_layer(layer, [Entry("b", content=b"2")])
    digest = extend(base, layer, "localhost/x:2", 86400, "hawser rich commit d/p c", made)
    first = made.read_bytes()
    assert extend(base, layer, "localhost/x:2", 86400, "hawser rich commit d/p c", made) == digest
    assert made.read_bytes() == first
    with tarfile.open(made) as tar:
        blobs = {name: (tar.extractfile(name) or base.open("rb")).read() for name in tar.getnames()}
    index = json.loads(blobs["index.json"])["manifests"][0]
    assert index["annotations"]["io.containerd.image.name"] == "localhost/x:2"
    manifest = json.loads(blobs["blobs/sha256/" + digest[7:]])
    config = json.loads(blobs["blobs/sha256/" + manifest["config"]["digest"][7:]])
    assert config["config"] == {"Entrypoint": ["/a"], "Env": ["K=v"], "User": "5"}
    assert config["rootfs"]["diff_ids"] == [one["digest"] for one in manifest["layers"]]
    assert len(config["history"]) == 2
    assert config["history"][-1] == {"created": "1970-01-02T00:00:00Z", "created_by": "hawser rich commit d/p c"}


def test_history_goes_on_where_the_image_tells_one() -> None:
    config = {"history": [{"created_by": "a"}, {"created_by": "b", "empty_layer": True}], "rootfs": {"diff_ids": ["x"]}}
    assert [one["created_by"] for one in with_layer(config, "y", 0, "c")["history"]] == ["a", "b", "c"]


def test_a_layer_that_the_node_has_dropped_is_told_of(tmp_path: Path) -> None:
    base, smaller = tmp_path / "base.tar", tmp_path / "smaller.tar"
    lower = write_layer(tmp_path / "lower.tar", [Entry("a", content=b"1" * 9999)])
    write_archive(base, "localhost/x:1", [lower], ImageConfig())
    with tarfile.open(base) as tar, tarfile.open(smaller, "w") as out:
        for member in tar:
            if member.size < 9000:
                out.addfile(member, tar.extractfile(member))
    with pytest.raises(Failure, match="does not have the image's layer"):
        extend(smaller, lower, "localhost/x:2", 0, "", tmp_path / "new.tar")


def test_an_image_is_as_old_as_its_newest_file_if_a_calendar_has_that_time() -> None:
    assert dated([{"mtime": 5}, {"mtime": 1 << 60}, {"mtime": -9}, {}]) == 5
    assert dated([{"mtime": -9}]) == 0
    assert with_layer({}, "y", dated([{"mtime": 253402300799}]), "c")["created"] == "9999-12-31T23:59:59Z"


def test_what_has_no_room_here_is_told_before_it_comes() -> None:
    check([{"path": "/a", "size": 5}, {"path": "/gone"}], 10)
    with pytest.raises(Failure, match=r"the layer has 1\.0KiB") as told:
        check([{"path": "/a", "size": 5}, {"path": "/b\x1b[2J", "size": 1024}], 2057)
    assert told.value.hint == "the largest file is /b\\x1b[2J with 1.0KiB: --exclude leaves it out"


def test_what_would_delete_a_file_of_the_image_is_no_part_of_it() -> None:
    with pytest.raises(Failure, match=r"the name of /etc/\.wh\.passwd means a file that was deleted"):
        check([{"path": "/etc/.wh.passwd", "size": 0}], 10)

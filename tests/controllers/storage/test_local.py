"""What the provisioner of this machine's volumes makes of claims and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hawser.controllers.storage.local import PROVISIONER, left_to_the_node, problem, volume_for

Obj = dict[str, Any]
DELAYED = "volumeBindingMode WaitForFirstConsumer"
CLAIM: Obj = {
    "metadata": {"name": "data", "namespace": "shop", "uid": "u1"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def class_of(delayed: bool = True, **parameters: str) -> Obj:
    mode = "WaitForFirstConsumer" if delayed else "Immediate"
    named = {"metadata": {"name": "c"}, "provisioner": PROVISIONER, "volumeBindingMode": mode}
    return {**named, "parameters": parameters} if parameters else named


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (class_of(), ""),
        (class_of(type="folder"), ""),
        (class_of(False, type="folder"), ""),
        (class_of(type="disk"), ""),
        (class_of(type="tape"), 'parameter "type" is "tape": expected folder or disk'),
        (class_of(fast="yes"), 'unknown parameter "fast": this provisioner knows "type"'),
        (
            class_of(False, type="disk"),
            "disks are tied to a node: the class needs volumeBindingMode WaitForFirstConsumer",
        ),
    ],
    ids=["none", "folder", "folder-at-once", "disk", "value", "name", "disk-at-once"],
)
def test_parameters_of_a_class(found: Obj, words: str) -> None:
    assert problem(CLAIM, found) == words


def test_a_disk_is_told_by_its_file_system() -> None:
    def source(found: Obj) -> Obj:
        spec: Obj = volume_for(CLAIM, found, Path("/root/pvc-u1"), "host")["spec"]
        return dict(spec["local"])

    assert source(class_of(type="disk")) == {"path": "/root/pvc-u1", "fsType": "ext4"}
    assert source(class_of()) == {"path": "/root/pvc-u1"}


def test_what_is_left_to_the_node_leaves_the_rest_of_the_status_alone() -> None:
    theirs, refused = {"type": "ModifyingVolume"}, {"type": "NodeResizeError"}
    status = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "conditions": [theirs, refused]}
    made = left_to_the_node({**CLAIM, "status": status}, "2Gi", "2026-01-01T00:00:00Z")
    assert made["capacity"] == {"storage": "1Gi"} and made["phase"] == "Bound"
    assert made["allocatedResources"] == {"storage": "2Gi"}
    assert [row["type"] for row in made["conditions"]] == ["ModifyingVolume", "FileSystemResizePending"]

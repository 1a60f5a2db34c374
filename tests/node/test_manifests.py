"""Static pods: what is made of a manifest, and their mirrors in the API."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path
from typing import Any

import pytest

from hawser.node import manifests
from hawser.node.mirrors import mirror_of, stale

Obj = dict[str, Any]
NODE = {"metadata": {"name": "n1", "uid": "nu"}}


def manifest(**spec: Any) -> Obj:
    spec = {"containers": [{"name": "c", "image": "i"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": spec}


def parsed(pod: Obj) -> Obj:
    return manifests.parse(json.dumps(pod).encode(), "/m/web.yaml", "n1")


def test_a_manifest_gets_the_nodes_name_and_an_uid_of_its_own() -> None:
    pod = parsed(manifest())
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"], pod["spec"]["nodeName"]) == (
        "web-n1",
        "default",
        "n1",
    )
    assert pod["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert pod["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert parsed(manifest())["metadata"]["uid"] == pod["metadata"]["uid"]
    assert parsed(manifest(restartPolicy="Never"))["metadata"]["uid"] != pod["metadata"]["uid"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"serviceAccountName": "x"}, "static pods may not reference serviceaccounts"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "static pods may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}]}}]},
            "static pods may not reference configmaps",
        ),
        (
            {"containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}]},
            "static pods may not reference secrets",
        ),
        ({"containers": []}, "spec.containers are required"),
    ],
)
def test_what_a_static_pod_may_not_have(spec: Obj, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(manifest(**spec))


@pytest.mark.parametrize("text", [b"{", b"a: [", b"[]", b"", b"kind: Pod", b"\xff"])
def test_what_is_no_pod_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="couldn't parse as pod"):
        manifests.parse(text, "/m/x", "n1")


@pytest.mark.parametrize("watched", [True, False])
async def test_manifests_are_read_whether_or_not_the_kernel_tells_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    if not watched:

        def none_left(mask: int) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(manifests, "Notices", none_left)
        monkeypatch.setattr(manifests, "_SECONDS", 0.01)
    names: asyncio.Queue[list[str]] = asyncio.Queue()
    folder = manifests.Folder(
        tmp_path, "n1", lambda pods: names.put_nowait([pod["metadata"]["name"] for pod in pods.values()])
    )
    following = asyncio.create_task(folder.run())
    async with asyncio.timeout(20):
        assert await names.get() == []
        (tmp_path / "web.yaml").write_text(json.dumps(manifest()))
        while not (found := await names.get()):
            pass  # seen before it was written
        assert found == ["web-n1"]
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


def test_a_mirror_is_the_nodes_and_goes_with_its_manifest() -> None:
    pod = parsed(manifest())
    mirror = mirror_of(pod, NODE)
    assert mirror["metadata"]["ownerReferences"][0]["uid"] == "nu"
    assert "uid" not in mirror["metadata"]
    assert not stale(mirror, pod)
    assert stale(mirror, None)
    assert stale(mirror, parsed(manifest(restartPolicy="Never")))
    mirror["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert stale(mirror, pod)

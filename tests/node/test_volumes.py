"""Volumes of every kind as containers see them, and what is said of those that cannot be: on real containers."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import CONFIG_MAP, POD, SECRET
from hawser.client.client import Client
from hawser.node.cri.client import Runtime

from .batch import SLEEP, STAT, items, make, one, outputs, phase, pod, said, user, volume_of
from .engine import Engine
from .images import ENTRY, LAYERED
from .running import log_of, node_is_there, until

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]
MAP, KEPT = "settings", "hidden"


NEW = "touch /v/new && " + STAT + " /v /v/new"
EMPTY = [
    (one("disk", NEW, {"emptyDir": {}}, spec_securityContext=user(1001)), "777 0 0\n644 1001 1001"),
    (
        one("group", NEW, {"emptyDir": {}}, spec_securityContext=user(1001, fsGroup=4242)),
        "2777 0 4242\n644 1001 4242",
    ),
    (
        one(
            "memory",
            NEW + "; /bin/busybox grep ' /v ' /proc/mounts",
            {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            spec_securityContext=user(1001),
        ),
        "777 0 0\n644 1001 1001\ntmpfs /v tmpfs rw",
    ),
    (
        one(
            "memory-of-the-pod",
            "/bin/busybox df -k /v | /bin/busybox tail -1",
            {"emptyDir": {"medium": "Memory"}},
            {"resources": {"limits": {"memory": "32Mi"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        ),
        "32768 ",
    ),
    (one("read-only", "touch /v/x 2>&1", {"emptyDir": {}}, readOnly=True), "Read-only file system"),
    (one("no-source", "touch /v/x && ls /v", {}), "x"),
]
FILES = [
    (
        one(
            "map",
            "cd /v; cat a b/x; " + STAT + " a",
            {"configMap": {"name": MAP, "items": items(("one", "a", None), ("bytes", "b/x", None))}},
        ),
        "1\nbytes\n644 0 0",
    ),
    (
        one(
            "map-modes",
            STAT + " /v/one /v/two",
            {
                "configMap": {
                    "name": MAP,
                    "defaultMode": 0o400,
                    "items": items(("one", "one", None), ("two", "two", 0o440)),
                }
            },
        ),
        "400 0 0\n440 0 0",
    ),
    (
        one(
            "map-group",
            STAT + " /v/one; cat /v/one",
            {"configMap": {"name": MAP, "defaultMode": 0o400}},
            spec_securityContext=user(1001, fsGroup=7),
        ),
        "440 0 7\n1\n",
    ),
    (one("map-optional", "ls /v | /bin/busybox wc -l", {"configMap": {"name": "none", "optional": True}}), "0"),
    (
        one(
            "secret",
            "cat /v/one; " + STAT + " /v/one; /bin/busybox grep -c ' /v tmpfs ' /proc/mounts",
            {"secret": {"secretName": KEPT, "defaultMode": 0o440}},
            spec_securityContext=user(1001, fsGroup=8),
        ),
        "1\n440 0 8\n1",
    ),
    (one("secret-read-only", "echo x 2>&1 > /v/one || echo no", {"secret": {"secretName": KEPT}}), "no"),
    (
        one(
            "projected",
            "cd /v; cat m/one s/one; echo; cat name; echo; cat cpu; " + STAT + " name",
            {
                "projected": {
                    "defaultMode": 0o444,
                    "sources": [
                        {"configMap": {"name": MAP, "items": items(("one", "m/one", None))}},
                        {"secret": {"name": KEPT, "items": items(("one", "s/one", None))}},
                        {
                            "downwardAPI": {
                                "items": [
                                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
                                    {
                                        "path": "cpu",
                                        "resourceFieldRef": {
                                            "containerName": "c",
                                            "resource": "limits.cpu",
                                            "divisor": "1m",
                                        },
                                    },
                                ]
                            }
                        },
                    ],
                }
            },
            {"resources": {"limits": {"cpu": "250m"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        ),
        "1\n1\n\nprojected\n250400 0 0",
    ),
    (
        one(
            "token-of-a-user",
            STAT + " /v/t",
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            spec_securityContext=user(1001),
        ),
        "600 1001 0",
    ),
    (one("sub-file", "cat /v; " + STAT + " /v", {"configMap": {"name": MAP}}, subPath="one"), "1\n644 0 0"),
    (one("sub-secret", "cat /v", {"secret": {"secretName": KEPT}}, subPath="one"), "1\n"),
    (
        one("sub-folder", NEW, {"emptyDir": {}}, subPath="a/b", spec_securityContext=user(1001, fsGroup=9)),
        "2777 0 9",
    ),
    (
        one(
            "sub-variable",
            "touch /v/f; ls /w/x/y",
            {"emptyDir": {}},
            {
                "env": [{"name": "N", "value": "x"}],
                "volumeMounts": [
                    {"name": "v", "mountPath": "/w"},
                    {"name": "v", "mountPath": "/v", "subPathExpr": "$(N)/y"},
                ],
            },
        ),
        "f",
    ),
]
TABLE = [(row[0]["metadata"]["name"], row[0], row[1]) for row in (*EMPTY, *FILES)]


@pytest.fixture(scope="module")
def written(engine: Engine) -> dict[str, str]:
    """What every pod of the table wrote."""

    async def run() -> dict[str, str]:
        async with Client.from_kubeconfig(engine.kubeconfig) as client:
            await until(lambda: node_is_there(client))
            data = {"one": "1\n", "two": "2\n"}
            await make(client, CONFIG_MAP, MAP, data=data, binaryData={"bytes": base64.b64encode(b"bytes\n").decode()})
            await make(client, SECRET, KEPT, stringData=data)
            return await outputs(client, engine, [row for _, row, _ in TABLE])

    return asyncio.run(run())


@pytest.mark.parametrize(("name", "expected"), [(row[0], row[2]) for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_volume_is_what_its_spec_says(written: dict[str, str], name: str, expected: str) -> None:
    assert expected.strip() in written[name]


async def test_host_paths_are_made_as_asked(client: Client, engine: Engine, tmp_path: Path) -> None:
    folder, file = (
        {"path": f"{tmp_path}/a/b", "type": "DirectoryOrCreate"},
        {"path": f"{tmp_path}/f", "type": "FileOrCreate"},
    )
    got = await outputs(
        client,
        engine,
        [
            one("host-folder", "touch /v/x; " + STAT + " /v", {"hostPath": folder}),
            one("host-file", "echo here > /v; " + STAT + " /v", {"hostPath": file}),
            one("host-device", "test -c /v && echo yes", {"hostPath": {"path": "/dev/null", "type": "CharDevice"}}),
            one(
                "host-untouched",
                STAT + " /v",
                {"hostPath": {"path": str(tmp_path)}},
                spec_securityContext={"fsGroup": 77},
            ),
        ],
    )
    assert got["host-folder"] == "755 0 0" and (tmp_path / "a/b/x").exists()
    assert got["host-file"] == "644 0 0" and (tmp_path / "f").read_text() == "here\n"
    assert got["host-device"] == "yes"
    assert not got["host-untouched"].endswith("77")


async def test_files_follow_their_objects(client: Client, engine: Engine, written: dict[str, str]) -> None:
    await make(client, CONFIG_MAP, "live", data={"a": "1", "b": "1"})
    sources = [{"configMap": {"name": "live"}}, {"secret": {"name": "later", "optional": True}}]
    live = one("live", SLEEP, {"projected": {"sources": sources}})
    live["spec"]["volumes"].append({"name": "w", "configMap": {"name": "live"}})
    live["spec"]["containers"][0]["volumeMounts"] += [
        {"name": "w", "mountPath": "/w"},
        {"name": "w", "mountPath": "/sub", "subPath": "a"},
    ]
    live["spec"]["containers"][0]["env"] = [
        {"name": "E", "valueFrom": {"configMapKeyRef": {"name": "live", "key": "a"}}}
    ]
    await client.create(POD, live)
    made = await phase(client, "live", "Running")
    projected = volume_of(engine, made, "projected", "v")

    async def shows(**files: str) -> bool:
        try:
            return {p.name: p.read_text() for p in projected.iterdir() if not p.name.startswith("..")} == files
        except FileNotFoundError:
            # A name that goes leads nowhere for a moment.
            return False

    await until(lambda: shows(a="1", b="1"))
    await make(client, SECRET, "later", stringData={"s": "new"})
    await until(lambda: shows(a="1", b="1", s="new"))
    await client.patch(CONFIG_MAP, "live", "default", {"data": {"a": "2", "b": None, "c": "3"}})
    await until(lambda: shows(a="2", c="3", s="new"))
    await client.delete(SECRET, "later", "default")
    await until(lambda: shows(a="2", c="3"))
    async with Runtime(engine.containerd.endpoint) as runtime:
        (container,) = await runtime.list_containers(made["metadata"]["uid"])
        seen = await runtime.exec_sync(container.id, ["/bin/sh", "-c", "cat /v/a /w/a /sub; echo $E"], 10)
    assert seen.stdout == b"2211\n", "what is mounted by subPath and what is in the environment stays"
    await client.delete(CONFIG_MAP, "live", "default")
    await said(client, "live", "FailedMount", 'configmap "live" not found')
    assert await shows(a="2", c="3"), "what an object had stays when it is gone"


async def test_a_pod_starts_once_its_volumes_can_be(client: Client, engine: Engine) -> None:
    await client.create(POD, one("waits", "cat /v/k", {"configMap": {"name": "appears"}}))
    await said(client, "waits", "FailedMount", 'configmap "appears" not found')
    await make(client, CONFIG_MAP, "appears", data={"k": "now"})
    assert log_of(engine, await phase(client, "waits", "Succeeded")) == "now"


async def test_a_path_made_of_an_annotation_can_be_mended(client: Client, engine: Engine) -> None:
    env = [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['path']"}}}]
    mounted = {"env": env, "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(A)/x"}]}
    await client.create(POD, one("mended", "ls -d /v", {"emptyDir": {}}, mounted))
    await said(client, "mended", "Failed", "must not be an absolute path")
    await client.patch(POD, "mended", "default", {"metadata": {"annotations": {"path": "good"}}})
    await phase(client, "mended", "Succeeded")


async def test_a_volume_that_nobody_uses_is_not_set_up(client: Client, engine: Engine) -> None:
    await client.create(
        POD, pod("unused", "true", hostNetwork=True, volumes=[{"name": "v", "configMap": {"name": "no"}}])
    )
    await phase(client, "unused", "Succeeded")


# Mounts that come later, and the end


async def test_mounts_travel_as_far_as_asked(client: Client, engine: Engine) -> None:
    """A privileged container mounts something in an emptyDir: who sees it depends on the propagation."""
    shared = {"name": "v", "emptyDir": {}}

    def container(name: str, propagation: str, script: str) -> Obj:
        mount = {"name": "v", "mountPath": "/v", "mountPropagation": propagation}
        privileged = {"securityContext": {"privileged": True}} if propagation == "Bidirectional" else {}
        template = pod("x", script)["spec"]["containers"][0]
        return {**template, "name": name, "volumeMounts": [mount], **privileged}

    wait = "until test -e /v/done; do /bin/busybox usleep 20000; done; ls /v/m"
    master = (
        "/bin/busybox mkdir /v/m && /bin/busybox mount -t tmpfs x /v/m && touch /v/m/seen && touch /v/done; " + SLEEP
    )
    containers = [
        container("slave", "HostToContainer", wait),
        container("private", "None", wait),
        container("master", "Bidirectional", master),
    ]
    await client.create(POD, pod("travels", hostNetwork=True, volumes=[shared], containers=containers))

    async def ended() -> Obj:
        made = await client.get(POD, "travels", "default")
        rows = (made.get("status") or {}).get("containerStatuses") or ()
        done = [row["name"] for row in rows if "terminated" in (row.get("state") or {})]
        return made if set(done) == {"slave", "private"} else {}

    made = await until(ended)
    assert (log_of(engine, made, "slave"), log_of(engine, made, "private")) == ("seen", "")
    await client.delete(POD, "travels", "default", grace_period=0)
    folder = engine.folder / "agent/pods" / made["metadata"]["uid"]

    async def gone() -> bool:
        return not folder.exists()

    await until(gone)


async def test_a_container_that_starts_again_finds_its_volumes(client: Client, engine: Engine) -> None:
    """Also by another agent, and although what its subPath means has been replaced."""
    script = "test -e /w/again && cat /v && exit 0; touch /w/again; sleep 1; exit 1"
    again = one("again", script, {"configMap": {"name": MAP}}, subPath="one", spec_restartPolicy="OnFailure")
    again["spec"]["volumes"].append({"name": "w", "emptyDir": {}})
    again["spec"]["containers"][0]["volumeMounts"].append({"name": "w", "mountPath": "/w"})
    await client.create(POD, again)
    await phase(client, "again", "Running")
    await client.patch(CONFIG_MAP, MAP, "default", {"data": {"one": "replaced"}})
    engine.stop_agent()
    engine.start_agent()
    made = await phase(client, "again", "Succeeded")
    assert log_of(engine, made, count=1) == "replaced"


# Images


async def test_an_image_is_a_volume(client: Client, engine: Engine) -> None:
    source = {"image": {"reference": ENTRY, "pullPolicy": "IfNotPresent"}}
    script = "cat /v/etc/group | /bin/busybox head -1; touch /v/x 2>&1"
    whole, part = one("image", script, source), one("image-part", "cat /v/passwd", source, subPath="etc")
    layered = one("image-layers", "cat /v/etc/group; ls /v/etc", {"image": {"reference": LAYERED}})
    got = await outputs(client, engine, [whole, part, layered])
    assert got["image"] == "root:x:0:\ntouch: /v/x: Read-only file system"
    assert got["image-part"].startswith("root:x:0:0")
    assert got["image-layers"] == "changed:x:0:\ngroup"
    await asyncio.gather(*(client.delete(POD, name, "default", grace_period=0) for name in got))

    async def left() -> bool:
        command = ["ctr", "-a", str(engine.containerd.socket), "-n", "k8s.io", "snapshots", "ls"]
        listed = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, text=True)
        return "hawser-image-volume" not in listed.stdout

    await until(left)


async def test_an_image_that_is_not_there_is_told_of_as_any(client: Client) -> None:
    source = {"image": {"reference": "hawser.test/nothing:1", "pullPolicy": "Never"}}
    await client.create(POD, one("no-image", "true", source))
    await said(client, "no-image", "ErrImageNeverPull", "")
    await client.delete(POD, "no-image", "default", grace_period=0)

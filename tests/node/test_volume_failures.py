"""What is said of volumes that cannot be: the words of kubelet, on a real node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import CONFIG_MAP, POD
from hawser.client.client import Client

from .batch import items, make, one, said
from .engine import Engine

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]
MAP = "of-failures"


def failing(host: str) -> list[tuple[str, Obj, str, str]]:
    setup = 'MountVolume.SetUp failed for volume "v" : '
    claim = {"persistentVolumeClaim": {"claimName": "none"}}
    lists = "unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]"
    unmounted = f"Unable to attach or mount volumes: {lists}: "
    nothing = 'failed to fetch PVC from API server: persistentvolumeclaims "none" not found'
    rro = 'failed to resolve recursive read-only mode: volume "v" requested recursive read-only mode, '
    config = "Failed"
    both = {"projected": {"sources": [{"configMap": {"name": "no"}}, {"secret": {"name": "no"}}]}}
    return [
        (
            "no-map",
            one("no-map", "true", {"configMap": {"name": "no"}}),
            "FailedMount",
            setup + 'configmap "no" not found',
        ),
        (
            "no-secret",
            one("no-secret", "true", {"secret": {"secretName": "no"}}),
            "FailedMount",
            setup + 'secret "no" not found',
        ),
        (
            "no-item",
            one("no-item", "true", {"configMap": {"name": MAP, "items": items(("no", "x", None))}}),
            "FailedMount",
            setup + "configmap references non-existent config key: no",
        ),
        (
            "no-both",
            one("no-both", "true", both),
            "FailedMount",
            setup + '[configmap "no" not found, secret "no" not found]',
        ),
        (
            "no-folder",
            one("no-folder", "true", {"hostPath": {"path": f"{host}/no", "type": "Directory"}}),
            "FailedMount",
            setup + f"hostPath type check failed: {host}/no is not a directory",
        ),
        (
            "no-file",
            one("no-file", "true", {"hostPath": {"path": host, "type": "FileOrCreate"}}),
            "FailedMount",
            setup + f"hostPath type check failed: {host} is not a file",
        ),
        (
            "no-socket",
            one("no-socket", "true", {"hostPath": {"path": host, "type": "Socket"}}),
            "FailedMount",
            setup + f"hostPath type check failed: {host} is not a socket file",
        ),
        (
            "no-pages",
            one("no-pages", "true", {"emptyDir": {"medium": "HugePages"}}),
            "FailedMount",
            setup + "medium HugePages: hugePages storage requested, but there is no resource request for huge pages",
        ),
        (
            "no-claim",
            one("no-claim", "true", claim),
            "FailedMount",
            unmounted + f"error processing PVC default/none: {nothing}",
        ),
        (
            "no-plugin",
            one(
                "no-plugin",
                "true",
                {"iscsi": {"targetPortal": "1.2.3.4:1", "iqn": "iqn.2001-04.com.example:x", "lun": 0}},
            ),
            "FailedMount",
            unmounted + 'failed to get Plugin from volumeSpec for volume "v" err=no volume plugin matched',
        ),
        (
            "no-export",
            one("no-export", "true", {"nfs": {"server": "127.0.0.1", "path": "/no"}}),
            "FailedMount",
            setup + "mount failed: exit status 32\nMounting command: mount\nMounting arguments: -t nfs 127.0.0.1:/no /",
        ),
        (
            "sub-out",
            one("sub-out", "true", {"hostPath": {"path": host}}, subPath="link"),
            config,
            'Error: failed to prepare subPath for volumeMount "v" of container "c"',
        ),
        (
            "sub-new",
            one("sub-new", "true", {"hostPath": {"path": host}}, subPath="link/new"),
            config,
            'Error: failed to create subPath directory for volumeMount "v" of container "c"',
        ),
        (
            "sub-up",
            one(
                "sub-up",
                "true",
                {"emptyDir": {}},
                {
                    "env": [{"name": "N", "value": ".."}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(N)"}],
                },
            ),
            config,
            "Error: unable to provision SubPath `..`: must not contain '..'",
        ),
        (
            "sub-root",
            one(
                "sub-root",
                "true",
                {"emptyDir": {}},
                {
                    "env": [{"name": "N", "value": "/tmp"}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(N)"}],
                },
            ),
            config,
            "Error: error SubPath `/tmp` must not be an absolute path",
        ),
        (
            "sub-unknown",
            one("sub-unknown", "true", {"emptyDir": {}}, subPathExpr="$(NO)"),
            config,
            'Error: missing value for "NO"',
        ),
        (
            "recursive",
            one("recursive", "true", {"emptyDir": {}}, readOnly=True, recursiveReadOnly="Enabled"),
            config,
            f"Error: {rro}but it is not supported by the runtime",
        ),
    ]


async def test_what_cannot_be_mounted_says_why(client: Client, engine: Engine, tmp_path: Path) -> None:
    await make(client, CONFIG_MAP, MAP, data={"one": "1"})
    (tmp_path / "link").symlink_to("/etc")
    rows = failing(str(tmp_path))
    await asyncio.gather(*(client.create(POD, row[1]) for row in rows))
    for name, _, reason, words in rows:
        await said(client, name, reason, words)
        assert (await client.get(POD, name, "default"))["status"]["phase"] == "Pending"
    await asyncio.gather(*(client.delete(POD, row[0], "default", grace_period=0) for row in rows))
    assert not Path("/etc/new").exists()

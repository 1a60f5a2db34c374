"""A disk without space: writes fail, everything else goes on, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.apiserver.conftest import Api

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
SIZE = 6
"""Of the file system, in MiB."""


@pytest.fixture
def small_disk(own_server: Any) -> Iterator[Path]:
    """The server's data on a file system of its own."""
    folder: Path = own_server.folder / "data"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=700", "tmpfs", folder], check=True)
    yield folder
    if own_server.process is not None and own_server.process.poll() is None:
        own_server.stop()
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_stops_writes_only_and_only_while_it_is_full(own_server: Any, small_disk: Path) -> None:
    own_server.start()
    async with aiohttp.ClientSession() as session, asyncio.timeout(300):
        api = Api(own_server, session, "default")
        path = api.path("configmaps")
        version = (await api.config_map("first"))["metadata"]["resourceVersion"]
        watch = api.watch(f"{path}?watch=1&resourceVersion={version}")
        kept = {"first"}
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(free(small_disk) - 256 * 1024))
        refused = None
        for number in range(40):
            body = {"metadata": {"name": f"c{number}"}, "data": {"k": "x" * 50_000}}
            answer = await api.call("POST", path, body)
            if answer.status == 201:
                assert refused is None
                kept.add(f"c{number}")
                assert (await anext(watch))["object"]["metadata"]["name"] == f"c{number}"
            else:
                refused = answer
        assert refused is not None
        assert (refused.status, refused.json["reason"]) == (503, "ServiceUnavailable")
        assert "is full" in refused.message
        assert str(small_disk / "hawser.db") in refused.message
        # Reads go on, the server lives, and says that it is not ready.
        assert {item["metadata"]["name"] for item in (await api.get(path)).json["items"]} - {"kube-root-ca.crt"} == kept
        assert (await api.get("/livez")).status == 200
        ready = await api.get("/readyz")
        assert (ready.status, b"[-]etcd-readiness failed" in ready.body) == (500, True)
        assert (await api.get("/hawser/backup")).status == 503
        # Space returns: no restart is needed.
        ballast.unlink()
        await api.config_map("after", data={"k": "x" * 50_000})
        kept.add("after")
        assert (await anext(watch))["object"]["metadata"]["name"] == "after"
        assert (await api.get("/readyz")).status == 200
        await watch.aclose()
        own_server.stop(9)
        own_server.start()
        again = Api(own_server, session, "default")
        assert {item["metadata"]["name"] for item in (await again.get(path)).json["items"]} - {
            "kube-root-ca.crt"
        } == kept


def free(folder: Path) -> int:
    """The bytes that still fit."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


async def test_a_server_does_not_start_on_a_full_disk_and_says_why(own_server: Any, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(free(small_disk)))
    process = own_server.launch()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "hawser-apiserver: " in errors
    assert "full" in errors or "No space left" in errors
    assert "Traceback" not in errors

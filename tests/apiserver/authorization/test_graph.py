"""Which node's pods refer to what, as pods come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from hawser.api.kinds import POD
from hawser.apiserver import index
from hawser.apiserver.authorization import graph
from hawser.apiserver.authorization.graph import Graph
from hawser.store.base import Delete, Put
from hawser.store.sqlite import SqliteStore

Obj = dict[str, Any]


class Pods:
    """Writes pods that refer to one Secret each."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store

    async def put(self, name: str, node: str, secret: str, **status: Any) -> None:
        spec = {"nodeName": node, "containers": [{"envFrom": [{"secretRef": {"name": secret}}]}]}
        pod: Obj = {"metadata": {"name": name, "namespace": "a"}, "spec": spec, "status": status}
        await self.store.write(f"core/pods/a/{name}", lambda _, __: Put(orjson.dumps(pod), index.make(POD, pod)))

    async def remove(self, name: str) -> None:
        await self.store.write(f"core/pods/a/{name}", lambda _, __: Delete(b"{}"))


class Nothing:
    """A lookup that finds nothing."""

    def find(self, *_: Any) -> None:
        return None

    def phase(self, _: str) -> None:
        return None


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    store = SqliteStore.open(tmp_path / "x.db")
    yield Pods(store), Graph(store, Nothing())  # type: ignore[arg-type]
    await store.close()


def known(found: Graph, node: str) -> set[str]:
    return {name for name in ("s1", "s2", "s3") if found.refers(node, "secrets", "a", name)}


async def test_pods_count_while_they_are_bound(world: Any) -> None:
    pods, found = world
    await pods.put("before", "n1", "s1")
    await pods.put("free", "", "s2")
    assert known(found, "n1") == {"s1"} and known(found, "n2") == set()
    await pods.put("free", "n2", "s2")
    await pods.put("more", "n1", "s2")
    assert known(found, "n1") == {"s1", "s2"} and known(found, "n2") == {"s2"}
    await pods.put("more", "n1", "s2", phase="Running")
    assert known(found, "n1") == {"s1", "s2"}
    await pods.remove("before")
    assert known(found, "n1") == {"s2"}
    # Another pod of the same name.
    await pods.remove("more")
    await pods.put("more", "n1", "s3")
    assert known(found, "n1") == {"s3"}
    await pods.remove("more")
    assert known(found, "n1") == set()


async def test_two_pods_hold_one_reference_each(world: Any) -> None:
    pods, found = world
    await pods.put("a", "n1", "s1")
    await pods.put("b", "n1", "s1")
    assert known(found, "n1") == {"s1"}
    await pods.remove("a")
    assert known(found, "n1") == {"s1"}
    await pods.remove("b")
    assert known(found, "n1") == set()


async def test_changes_that_nobody_asks_about_are_not_kept(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pods, found = world
    monkeypatch.setattr(graph, "_MOST", 3)
    assert known(found, "n1") == set()
    for number in range(8):
        await pods.put(f"p{number}", "n1", "s1")
    await pods.put("last", "n1", "s2")
    assert known(found, "n1") == {"s1", "s2"}
    for number in range(8):
        await pods.remove(f"p{number}")
    assert known(found, "n1") == {"s2"}

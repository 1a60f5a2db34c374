#!/usr/bin/env python3
"""Measures authorization alone: decisions by RBAC over many bindings, and what a change of a binding costs.

bench/decisions.py [--bindings 1000]   that many RoleBindings (in 100 namespaces) and as many ClusterRoleBindings
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from hawser.apiserver.authorization.base import Attributes
from hawser.apiserver.authorization.policy import Policy
from hawser.apiserver.authorization.rbac import Rbac
from hawser.apiserver.identity import User
from hawser.store.base import Put
from hawser.store.sqlite import SqliteStore

GROUP = "rbac.authorization.k8s.io"
RULE = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


def binding(name: str, namespace: str, *subjects: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"metadata": metadata, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": subjects}


async def fill(store: SqliteStore, bindings: int) -> None:
    """One role, bound to 500 users and 50 groups in namespaces and to a user each in the cluster."""
    objects: dict[str, Any] = {f"{GROUP}/clusterroles/r": {"metadata": {"name": "r"}, "rules": [RULE]}}
    for number in range(bindings):
        namespace = f"ns{number % 100}"
        who = {"kind": "User", "name": f"u{number % 500}"}, {"kind": "Group", "name": f"g{number % 50}"}
        objects[f"{GROUP}/rolebindings/{namespace}/b{number}"] = binding(f"b{number}", namespace, *who)
        alone = {"kind": "User", "name": f"v{number}"}
        objects[f"{GROUP}/clusterrolebindings/c{number}"] = binding(f"c{number}", "", alone)
    values = {key: orjson.dumps(obj) for key, obj in objects.items()}
    await asyncio.gather(*(store.write(key, lambda _, __, key=key: Put(values[key])) for key in values))


def timed(what: str, turns: int, call: Callable[[], object]) -> None:
    start = time.perf_counter()
    for _ in range(turns):
        call()
    print(f"{what:45} {(time.perf_counter() - start) / turns * 1e6:10.2f} us")


async def measure(bindings: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "bench.db")
        await fill(store, bindings)
        user = User("u1", groups=("g1", "system:authenticated"))
        allowed, refused = (Attributes(verb, resource="pods", namespace="ns1", name="x") for verb in ("get", "delete"))
        timed("start", 1, lambda: Policy(store))
        rbac = Rbac(Policy(store))
        timed("first decision", 1, lambda: rbac.allows(user, allowed))
        timed("decision, remembered", 100_000, lambda: rbac.allows(user, allowed))

        def forgotten(asked: Attributes) -> None:
            rbac.policy.generation += 1
            rbac.allows(user, asked)

        timed("decision after a change, allowed", 5_000, lambda: forgotten(allowed))
        timed("decision after a change, refused", 5_000, lambda: forgotten(refused))
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bindings", type=int, default=1000)
    asyncio.run(measure(parser.parse_args().bindings))

"""One object under applies and updates, for tests of who owns what."""

from __future__ import annotations

import copy
from typing import Any

from hawser.api.apply import fields, owners, types
from hawser.api.apply.owners import Author
from hawser.api.kinds import CONFIG_MAP, DEPLOYMENT

Obj = dict[str, Any]
DEPLOY = types.root(DEPLOYMENT.gvk)
MAP = types.root(CONFIG_MAP.gvk)


def author(name: str, second: int = 0, subresource: str = "", version: str = "apps/v1") -> Author:
    return Author(name, version, f"2026-01-01T00:00:{second:02}Z", subresource)


def deployment(spec: Obj | None = None, **metadata: Any) -> Obj:
    made: Obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", **metadata}}
    return made if spec is None else {**made, "spec": spec}


def containers(*items: Obj) -> Obj:
    return deployment({"template": {"spec": {"containers": list(items)}}})


def items(obj: Obj) -> list[Obj]:
    found: list[Obj] = obj["spec"]["template"]["spec"]["containers"]
    return found


def config_map(**data: str | None) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def spoken(found: fields.Fields) -> list[str]:
    return [fields.text(path) for path in fields.paths(found)]


class Cluster:
    """One object under applies and updates."""

    def __init__(self, node: types.Node = DEPLOY) -> None:
        self.node = node
        self.object: Obj = {}
        self.entries: list[owners.Entry] = []
        self.second = 0

    def apply(self, name: str, config: Obj, force: bool = False) -> Obj:
        self.second += 1
        done = owners.apply(
            self.node, self.object, config, self.entries, author(name, self.second), force=force, ignored=("status",)
        )
        self.object, self.entries = done.object, done.entries
        return self.object

    def update(self, name: str, obj: Obj) -> None:
        self.second += 1
        if self.object:
            new = owners.updated(self.node, self.object, obj, self.entries, author(name, self.second))
        else:
            new = owners.created(self.node, obj, author(name, self.second))
        self.object, self.entries = copy.deepcopy(obj), new

    def owned(self, name: str) -> list[str]:
        found: fields.Fields = {}
        for entry in self.entries:
            if entry["manager"] == name:
                found = fields.union(found, entry["fieldsV1"])
        return spoken(found)

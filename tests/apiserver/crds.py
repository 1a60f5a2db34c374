"""CustomResourceDefinitions for tests, and their paths."""

from __future__ import annotations

import itertools
from typing import Any

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_numbers = itertools.count(1)
Obj = dict[str, Any]

SPEC = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "minLength": 1},
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
        "color": {"type": "string", "default": "red"},
        "port": {"x-kubernetes-int-or-string": True},
    },
}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}


def version(name: str = "v1", *, storage: bool = True, **fields: Any) -> Obj:
    """One entry of spec.versions."""
    schema = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **fields}


def definition(*versions: Obj, scope: str = "Namespaced", **names: Any) -> Obj:
    """A definition of a group of its own."""
    group = f"g{next(_numbers)}.example.com"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"crontabs.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": "crontabs", "kind": "CronTab", **names},
            "versions": list(versions) or [version()],
        },
    }


def path(crd: Obj, api: Any, name: str = "", at: str = "v1") -> str:
    """Where its objects are."""
    space = f"namespaces/{api.namespace}/" if crd["spec"]["scope"] == "Namespaced" else ""
    found = f"/apis/{crd['spec']['group']}/{at}/{space}{crd['spec']['names']['plural']}"
    return f"{found}/{name}" if name else found


def cron(name: str, **spec: Any) -> Obj:
    """An object without apiVersion and kind, which the URL says."""
    return {"metadata": {"name": name}, "spec": {"cronSpec": "* *", **spec}}


async def change(api: Any, crd: Obj, make: Any) -> Obj:
    """Read a definition, change it, write it."""
    live: Obj = (await api.get(f"{CRDS}/{crd['metadata']['name']}")).json
    make(live)
    answer = await api.call("PUT", f"{CRDS}/{crd['metadata']['name']}", live)
    assert answer.status == 200, answer.body
    changed: Obj = answer.json
    return changed


def conditions(crd: Obj) -> dict[str, str]:
    """Status by type."""
    return {c["type"]: c["status"] for c in crd["status"]["conditions"]}

"""The OpenAPI definitions of custom resources, in the form of Kubernetes' published ones.

Source: Kubernetes documentation, "Publish Validation Schema in OpenAPI": names are the group reversed, the version and
the kind; what OpenAPI 2 has no word for is left out there, so that old clients do not refuse what the server takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hawser.api.crd.kinds import CustomKind
from hawser.api.types import Obj

_META = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1."
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values."
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase."
)
_NOT_IN_V2 = ("nullable", "oneOf", "anyOf", "allOf", "not")
_KEEPS = "x-kubernetes-preserve-unknown-fields"


def definition_name(kind: CustomKind, name: str = "") -> str:
    """``com.example.stable.v1.CronTab``."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, name or kind.kind])


def definitions(kinds: Iterable[CustomKind], *, v2: bool = False) -> dict[str, Obj]:
    """Definitions of these kinds and of their lists, by name."""
    made: dict[str, Obj] = {}
    for kind in kinds:
        source = (kind.model.source.get("schema") or {}).get("openAPIV3Schema") or {}
        if not source or (v2 and source.get(_KEEPS)):
            # With any property given, old clients would refuse all that are not.
            schema: Obj = {"type": "object"}
        else:
            schema = _v2(source) if v2 else dict(source)
            schema["properties"] = {**(schema.get("properties") or {}), **_own_properties("ObjectMeta")}
        schema["x-kubernetes-group-version-kind"] = [_gvk(kind, kind.kind)]
        made[definition_name(kind)] = schema
        made[definition_name(kind, kind.list_kind)] = {
            "description": f"{kind.list_kind} is a list of {kind.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                **_own_properties("ListMeta"),
                "items": {
                    "description": f"List of {kind.plural}.",
                    "type": "array",
                    "items": {"$ref": f"#/$defs/{definition_name(kind)}"},
                },
            },
            "x-kubernetes-group-version-kind": [_gvk(kind, kind.list_kind)],
        }
    return made


def _gvk(kind: CustomKind, name: str) -> Obj:
    return {"group": kind.group, "kind": name, "version": kind.version}


def _own_properties(meta: str) -> Obj:
    return {
        "apiVersion": {"type": "string", "description": _API_VERSION},
        "kind": {"type": "string", "description": _KIND},
        "metadata": {"$ref": _META + meta, "description": "Standard object's metadata."},
    }


def _v2(schema: Any) -> Any:
    """A schema without what OpenAPI 2 cannot say."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key not in _NOT_IN_V2}
    if made.get(_KEEPS) or made.get("x-kubernetes-int-or-string"):
        for key in ("type", "items", "properties", "additionalProperties", "required"):
            made.pop(key, None)
    if schema.get("nullable"):
        for key in ("type", "items", "properties", "additionalProperties", "required", "enum"):
            made.pop(key, None)
    if isinstance(made.get("properties"), dict):
        nullable = {
            name for name, part in made["properties"].items() if isinstance(part, dict) and part.get("nullable")
        }
        if nullable & set(made.get("required") or ()):
            # A null would be no value at all to such a client.
            made["required"] = [name for name in made["required"] if name not in nullable]
        made["properties"] = {name: _v2(part) for name, part in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _v2(made[key])
    return made

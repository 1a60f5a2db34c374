"""What writers of a CustomResourceDefinition are warned of: what this server is asked for but does not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hawser.api.crd import columns
from hawser.api.crd.patterns import UnsupportedPatternError, compile_pattern
from hawser.api.types import Obj


def warnings(crd: Obj) -> list[str]:
    """What this server does not do although the CRD asks for it."""
    found: list[str] = []
    for i, version in enumerate((crd.get("spec") or {}).get("versions") or ()):
        path = f"spec.versions[{i}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        found += _schema_warnings(schema, f"{path}.schema.openAPIV3Schema")
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            if column.get("jsonPath") and columns.path_or_none(column["jsonPath"]) is None:
                found.append(
                    f"{path}.additionalPrinterColumns[{j}].jsonPath: {column['jsonPath']} is not supported by this "
                    "version of Hawser: the column stays empty"
                )
    return found


def _schema_warnings(schema: Any, path: str) -> list[str]:
    rules: list[str] = []
    patterns: list[str] = []
    for place, part in _walk(schema, path):
        if part.get("x-kubernetes-validations"):
            rules.append(place)
        if isinstance(part.get("pattern"), str):
            try:
                compile_pattern(part["pattern"])
            except UnsupportedPatternError as error:
                patterns.append(f"{place}.pattern is not enforced by this version of Hawser: {error}")
    if rules:
        more = f" and {len(rules) - 1} more" if len(rules) > 1 else ""
        patterns.insert(
            0,
            f"x-kubernetes-validations rules are stored but not evaluated in this version of Hawser ({rules[0]}{more})",
        )
    return patterns


def _walk(schema: Any, path: str) -> Iterator[tuple[str, Obj]]:
    """A schema and every schema in it, with their paths."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for name, part in (schema.get("properties") or {}).items():
        yield from _walk(part, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties", "not"):
        yield from _walk(schema.get(name), f"{path}.{name}")
    for name in ("allOf", "anyOf", "oneOf"):
        for index, part in enumerate(schema.get(name) or ()):
            yield from _walk(part, f"{path}.{name}[{index}]")

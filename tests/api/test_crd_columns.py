"""Columns and versions of custom resources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hawser.api.crd import columns, jsonpath
from hawser.api.kinds import version_order


def spec(**properties: Any) -> dict[str, Any]:
    """A root schema whose spec has these properties."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def test_columns() -> None:
    listed = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
        {"name": "Label", "type": "string", "jsonPath": r".metadata.labels.example\.com/a"},
        {"name": "List", "type": "string", "jsonPath": ".spec.l"},
        {"name": "First", "type": "string", "jsonPath": ".spec.l[0]"},
        {"name": "Since", "type": "date", "jsonPath": ".status.since"},
        {"name": "Odd", "type": "integer", "jsonPath": ".spec.l"},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
    ]
    printer = columns.printer({"additionalPrinterColumns": listed})
    obj = {
        "metadata": {"name": "a", "labels": {"example.com/a": "b"}},
        "spec": {"n": 3, "l": ["x", "y"]},
        "status": {
            "conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}],
            "since": "2026-01-01T00:00:00Z",
        },
    }
    row = printer.row(obj, datetime(2026, 1, 1, 0, 5, tzinfo=UTC))
    assert row == ["a", "True", 3, "b", '["x","y"]', "x", "5m", None, None]
    assert [c.priority for c in printer.columns] == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert [c.name for c in columns.printer({}).columns] == ["Name", "Age"]


def test_paths_that_are_none() -> None:
    for text in (".a[1:2]", "$.a", ".a[?(@.b=~'x')]"):
        with pytest.raises(jsonpath.PathError):
            jsonpath.compile_path(text)


def test_versions_in_order_of_preference() -> None:
    names = ["foo1", "v1alpha1", "v11beta2", "v2", "v1", "v10", "v1beta1", "v12alpha1"]
    assert sorted(names, key=version_order) == [
        "v10", "v2", "v1", "v11beta2", "v1beta1", "v12alpha1", "v1alpha1", "foo1",
    ]  # fmt: skip

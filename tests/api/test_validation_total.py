"""Whatever passes decoding can be defaulted and validated: rules meet absent, empty and odd fields everywhere."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api import decoding, definitions, kinds, schema
from hawser.api.defaults import apply_defaults
from hawser.api.validation import validate_create, validate_status_update, validate_update

TEXTS = ["", "a", "A_b", "None", "ClusterIP", "10.0.0.1", "Always", "In", "RollingUpdate", "a/b", "-", "ü", "%", "50%"]
SCALARS: dict[decoding.Node, list[Any]] = {
    decoding.BOOLEAN: [True, False],
    decoding.INT32: [-1, 0, 1, 80, 2**31 - 1],
    decoding.INT64: [-1, 0, 1, 30, 2**63 - 1],
    decoding.DOUBLE: [0, 1.5],
    decoding.BYTES: ["", "eA=="],
    decoding.TIME: ["2026-01-01T00:00:00Z"],
    decoding.MICRO_TIME: ["2026-01-01T00:00:00.000000Z"],
    decoding.QUANTITY: ["0", "1", "-1", "1500m", "1u", "1Gi", 3],
    decoding.INT_OR_STRING: [0, 1, -1, "25%", "http", ""],
}


def make(node: decoding.Node, rng: random.Random, depth: int) -> Any:
    """A value of a type: odd, sparse, and of limited depth."""
    match node:
        case decoding.Struct():
            names = list(node.fields) if depth else []
            # Few fields of many at a time, or validation would mostly see the same errors at the top.
            chosen = rng.sample(names, min(len(names), rng.randint(0, 6)))
            usual = [n for n in ("metadata", "spec", "template", "containers", "name", "type") if n in names]
            picked = {*chosen, *(n for n in usual if rng.random() < 0.8)}
            return {name: make(node.fields[name], rng, depth - 1) for name in names if name in picked}
        case decoding.Array():
            return [make(node.item, rng, depth) for _ in range(rng.randint(0, 2 if depth else 0))]
        case decoding.Map():
            return {rng.choice(TEXTS): make(node.item, rng, depth) for _ in range(rng.randint(0, 2))}
        case decoding.Opaque():
            return {}
    return rng.choice(SCALARS.get(node, TEXTS))


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda k: k.kind)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_validation_never_fails_and_is_repeatable(kind: kinds.Kind, seed: int) -> None:
    rng = random.Random(seed)
    node = decoding.node(definitions.definition_name(kind.gvk))
    new, old = make(node, rng, 9), make(node, rng, 9)
    for obj in (new, old):
        assert schema.decode(kind, obj) == []
        apply_defaults(kind, obj)
        defaulted = copy.deepcopy(obj)
        apply_defaults(kind, obj)
        assert obj == defaulted
        assert schema.decode(kind, obj) == []
        assert obj == defaulted, "defaults are in canonical form"
    before = copy.deepcopy((new, old))
    for errors in (validate_create(kind, new), validate_update(kind, new, old), validate_status_update(kind, new, old)):
        assert all(str(error) for error in errors)
    assert (new, old) == before, "validation changes nothing"
    assert not any(e.detail == "field is immutable" for e in validate_update(kind, old, old))

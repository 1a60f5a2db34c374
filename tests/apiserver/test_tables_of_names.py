"""Tables that name functions: every name is there, and every kind has rules of its own."""

from __future__ import annotations

import pytest

from hawser.api import defaults, kinds, lazily, tables, validation
from hawser.api.kinds import Kind
from hawser.apiserver.strategies import table


@pytest.mark.parametrize("kind", kinds.watched(), ids=lambda kind: f"{kind.kind}.{kind.group}")
def test_what_is_named_is_there(kind: Kind) -> None:
    rules = validation.rules_of(kind.gvk)
    assert all(callable(rule) for rule in rules)
    assert kind.gvk in validation._RULES
    default = defaults._default(kind.gvk)
    assert default is None or callable(default)
    assert tables.table_columns(kind)


@pytest.mark.parametrize("name", sorted({*table._STRATEGIES.values(), *table._WITH_CLOCK.values()}))
def test_strategies_that_are_named_are_there(name: str) -> None:
    assert issubclass(lazily.load(table._PACKAGE, name), table.Strategy)


def test_a_wrong_name_is_an_error() -> None:
    with pytest.raises(AttributeError):
        lazily.load("hawser.api.validation", "core.none")

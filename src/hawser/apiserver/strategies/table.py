"""Which strategy a kind has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.apiserver.strategies import core
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.apiserver.strategies.definitions import DefinitionStrategy, Names
from hawser.apiserver.strategies.namespaces import NamespaceStrategy
from hawser.apiserver.strategies.pods import PodStrategy
from hawser.apiserver.strategies.services import Allocator, ServiceStrategy

_STRATEGIES: dict[Kind, type[Strategy]] = {
    kinds.NAMESPACE: NamespaceStrategy,
    kinds.NODE: core.NodeStrategy,
    kinds.POD: PodStrategy,
    kinds.SECRET: core.SecretStrategy,
    kinds.EVENT: core.EventStrategy,
    kinds.LEASE: core.LeaseStrategy,
    kinds.RUNTIME_CLASS: core.RuntimeClassStrategy,
}


def strategy(kind: Kind, lookup: Lookup, allocator: Allocator, names: Names, now: Callable[[], datetime]) -> Strategy:
    """The strategy of a kind; the generic one for kinds without a row."""
    if kind is kinds.CUSTOM_RESOURCE_DEFINITION:
        return DefinitionStrategy(kind, lookup, names, now)
    if kind is kinds.SERVICE:
        return ServiceStrategy(kind, lookup, allocator)
    return _STRATEGIES.get(kind, Strategy)(kind, lookup)

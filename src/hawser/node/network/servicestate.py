"""What the kernel has of Services in one address family, and the commands that bring it up to date."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hawser.api.types import Obj
from hawser.node.network.conntrack import Flow
from hawser.node.network.endpoints import Place
from hawser.node.network.services import EMPTY, Fragment, fragment
from hawser.node.network.servicetable import MAPS, Change, ServiceTable

log = logging.getLogger(__name__)

_Element = tuple[str, str]
"""A map's name and a key in it."""


class ServiceState:
    """Plan, run what was planned, then commit; a plan that failed is followed by a whole one."""

    def __init__(self, table: ServiceTable) -> None:
        self.table = table
        self._applied: dict[str, Fragment] = {}
        self._hairpin: Counter[str] = Counter()
        self._owners: dict[_Element, str] = {}
        self._losers: dict[_Element, set[str]] = {}
        self._waiting: set[str] = set()
        self._planned: tuple[dict[str, Change], Counter[str]] = {}, Counter()

    def plan(self, known: Mapping[str, tuple[Obj | None, list[Obj]]], place: Place, whole: bool) -> str:
        """Commands for these Services and their slices, by key; whole: the table is made anew with only them."""
        if whole:
            self._applied, self._hairpin = {}, Counter()
            self._owners, self._losers, self._waiting = {}, {}, set()
        fragments = {key: self._fragment(key, *objects, place) for key, objects in known.items()}
        # An address may move from one Service to another: what is given up is free before anything is claimed.
        for key, new in fragments.items():
            self._give_up(key, new)
        changes: dict[str, Change] = {}
        for key, new in fragments.items():
            old, kept = self._applied.get(key, EMPTY), self._claim(key, new)
            if old != kept:
                changes[key] = Change(old, kept)
        hairpin = self._hairpin.copy()
        for change in changes.values():
            hairpin.update(change.new.hairpin)
            hairpin.subtract(change.old.hairpin)
        hairpin = +hairpin
        self._planned = changes, hairpin
        text = self.table.commands(
            changes.values(), hairpin.keys() - self._hairpin.keys(), self._hairpin.keys() - hairpin.keys()
        )
        return self.table.text() + text if whole else text

    def commit(self) -> Mapping[Flow, frozenset[str]]:
        """The plan was carried out; where datagrams may go, for the addresses for which that changed."""
        changes, self._hairpin = self._planned
        self._planned = {}, self._hairpin
        flows: dict[Flow, frozenset[str]] = {}
        for key, change in changes.items():
            self._applied[key] = change.new
            if change.new == EMPTY:
                del self._applied[key]
            flows.update({flow: to for flow, to in change.new.flows.items() if change.old.flows.get(flow) != to})
        return flows

    def waiting(self) -> set[str]:
        """Services that may have now what another one had; told once."""
        told, self._waiting = self._waiting, set()
        return told

    def _fragment(self, key: str, service: Obj | None, slices: Iterable[Obj], place: Place) -> Fragment:
        if service is None:
            return EMPTY
        try:
            return fragment(service, slices, place, self.table.pods, self.table.family)
        except (KeyError, TypeError, ValueError) as error:
            log.error("Service %s cannot be served: %r", key, error)
            return EMPTY

    def _give_up(self, key: str, new: Fragment) -> None:
        still = set(_elements(new))
        for element in _elements(self._applied.get(key, EMPTY)):
            if element not in still and self._owners.get(element) == key:
                del self._owners[element]
                self._waiting |= self._losers.pop(element, set()) - {key}

    def _claim(self, key: str, new: Fragment) -> Fragment:
        """The fragment without what another Service has already: nothing keeps two from the same external address."""
        lost = [element for element in _elements(new) if self._owners.setdefault(element, key) != key]
        if not lost:
            return new
        for name, address in lost:
            log.warning("Service %s: %s is served for Service %s", key, address, self._owners[name, address])
            self._losers.setdefault((name, address), set()).add(key)
        kept: dict[str, Any] = {
            field: {k: v for k, v in getattr(new, field).items() if (name, k) not in lost}
            for name, field in MAPS.items()
        }
        return replace(new, **kept)


def _elements(part: Fragment) -> list[_Element]:
    return [(name, key) for name, field in MAPS.items() for key in getattr(part, field)]

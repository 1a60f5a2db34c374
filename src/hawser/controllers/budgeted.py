"""The pods that disruption budgets select, with what budgets depend on counted as pods change.

So a look at a budget of thousands of pods takes as long as one at a budget of ten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from hawser.api.status import is_ready
from hawser.api.types import Obj
from hawser.client.controller import controller_of
from hawser.client.informer import Informer, key_of
from hawser.controllers import pods as any_pods
from hawser.controllers.selecting import Selecting, SelectorOf, selected


class Owner(NamedTuple):
    """The controller that a pod names."""

    api_version: str
    kind: str
    name: str
    uid: str


class Sort(NamedTuple):
    """What of a pod a budget depends on. healthy: Ready, and not being deleted."""

    healthy: bool
    owner: Owner | None


def owner_of(reference: Obj) -> Owner:
    """What an owner reference means."""
    return Owner(reference["apiVersion"], reference["kind"], reference["name"], reference["uid"])


def sort_of(pod: Obj) -> Sort:
    """The sort of a pod."""
    reference = controller_of(pod)
    owner = owner_of(reference) if reference is not None else None
    return Sort(not any_pods.is_terminating(pod) and is_ready(pod), owner)


class Selected:
    """The pods of one budget, by name. owners: how many pods each has, those without one under None."""

    def __init__(self, pods: Iterable[Obj] = ()) -> None:
        self.sorts: dict[str, Sort] = {}
        self.owners: Counter[Owner | None] = Counter()
        self._healthy = 0
        for pod in pods:
            self.put(pod["metadata"]["name"], sort_of(pod))

    def __len__(self) -> int:
        return len(self.sorts)

    def put(self, name: str, sort: Sort | None) -> None:
        """A pod is of this sort now, or not among them (None)."""
        before = self.sorts.pop(name, None)
        if before is not None:
            self._count(before, -1)
        if sort is not None:
            self.sorts[name] = sort
            self._count(sort, 1)

    def healthy(self, without: Iterable[str] = ()) -> int:
        """How many are healthy. without: names of pods that do not count."""
        return self._healthy - sum(self.sorts[name].healthy for name in without if name in self.sorts)

    def _count(self, sort: Sort, sign: int) -> None:
        self._healthy += sign * sort.healthy
        self.owners[sort.owner] += sign
        if not self.owners[sort.owner]:
            del self.owners[sort.owner]


class Budgeted:
    """What each budget selects, from the first look at it on. selecting: the budgets, asked by ``selector_of``."""

    def __init__(self, pods: Informer, selecting: Selecting, selector_of: SelectorOf) -> None:
        self._pods = pods
        self._selecting = selecting
        self._selector_of = selector_of
        self._known: dict[str, Selected] = {}
        self.among: dict[str, set[str]] = {}
        """By pod, the budgets that it is among, of those that were looked at."""

    def of(self, budget: Obj) -> Selected:
        """The pods of a budget. Raises APIError for a selector that is none."""
        key = key_of(budget)
        found = self._known.get(key)
        if found is None:
            pods = selected(self._pods, budget["metadata"]["namespace"], self._selector_of(budget))
            found = self._known[key] = Selected(pods)
            for pod in pods:
                self.among.setdefault(key_of(pod), set()).add(key)
        return found

    def forget(self, key: str) -> None:
        """The budget is gone, or selects others."""
        found = self._known.pop(key, None)
        namespace = key.partition("/")[0]
        for name in found.sorts if found is not None else ():
            budgets = self.among.get(f"{namespace}/{name}")
            if budgets is not None:
                budgets.discard(key)
                if not budgets:
                    del self.among[f"{namespace}/{name}"]

    def change(self, old: Obj | None, new: Obj | None) -> set[str]:
        """A pod has changed: the keys of the budgets that it is among, or was."""
        pod = new if new is not None else old
        assert pod is not None
        key, name = key_of(pod), pod["metadata"]["name"]
        now = {key_of(budget) for budget in self._selecting.of(new)} if new is not None else set()
        sort = sort_of(new) if new is not None and now else None
        # Of budgets that were not looked at yet nothing is known; those are about to be.
        concerned = now | self.among.pop(key, set())
        for budget in concerned & self._known.keys():
            self._known[budget].put(name, sort if budget in now else None)
        if here := now & self._known.keys():
            self.among[key] = here
        return concerned

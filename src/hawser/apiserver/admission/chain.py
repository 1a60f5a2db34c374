"""Admission as a whole: the plugins in Kubernetes' order, and the webhooks behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hawser.api.cel.patience import LaboriousError
from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.apiserver import laborious, scheme
from hawser.apiserver.admission.base import Hooks, Operation, Plugin, Request
from hawser.apiserver.admission.counts import ADMIT, VALIDATE, Counts
from hawser.apiserver.writes import Undo

Call = Callable[[Request], None]


def _nothing(request: Request) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Plan:
    """What the plugins do for one kind of write; most have nothing to do for most writes.

    mutate: lets every mutating plugin change the object. validate: asks every other one. Both raise the APIError of
    the first that refuses.
    """

    mutate: Callable[[Request], None] = _nothing
    validate: Callable[[Request], None] = _nothing
    reserving: tuple[Callable[[Request], Undo | None], ...] = ()

    def __bool__(self) -> bool:
        return self.mutate is not _nothing or self.validate is not _nothing or bool(self.reserving)

    def reserve(self, request: Request) -> list[Undo]:
        """Take what the write needs; when one refuses, what the others took is given back."""
        undos: list[Undo] = []
        try:
            for reserve in self.reserving:
                undo = reserve(request)
                if undo is not None:
                    undos.append(undo)
        except BaseException:
            give_back(undos)
            raise
        return undos


def give_back(undos: list[Undo]) -> None:
    """Undo reservations, the last first."""
    for undo in reversed(undos):
        undo()


class Chain:
    """Every plugin that is on, in order. hooks: set once there are webhooks to ask."""

    def __init__(self, plugins: Iterable[Plugin] = ()) -> None:
        self._plugins = tuple(plugins)
        self._thinking = tuple(plugin for plugin in self._plugins if type(plugin).thinks is not Plugin.thinks)
        self.hooks: Hooks | None = None
        self.counts = Counts()

    def plan(self, kind: Kind, subresource: str, operation: Operation) -> Plan:
        """What the plugins do for such writes; for the caller to keep."""
        chosen = [p for p in self._plugins if p.handles(kind, subresource, operation)]
        return Plan(
            self._step(ADMIT, operation, [(p, p.mutate) for p in chosen if type(p).mutate is not Plugin.mutate]),
            self._step(
                VALIDATE, operation, [(p, p.validate) for p in chosen if type(p).validate is not Plugin.validate]
            ),
            tuple(p.reserve for p in chosen if type(p).reserve is not Plugin.reserve),
        )

    def _step(self, step: str, operation: Operation, calls: list[tuple[Plugin, Call]]) -> Call:
        """All of these calls in one, measured. What is no admission plugin of Kubernetes has no name to count by."""
        if not calls:
            return _nothing
        of = self.counts.step
        admitted, refused = of("", operation, step)
        made = [(call, *(of(plugin.name, operation, step) if plugin.name else (None, None))) for plugin, call in calls]
        clock = time.perf_counter

        def run(request: Request) -> None:
            start = began = clock()
            for call, passed, failed in made:
                try:
                    call(request)
                except APIError:
                    now = clock()
                    if failed is not None:
                        failed.observe(now - began)
                    refused.observe(now - start)
                    raise
                now = clock()
                if passed is not None:
                    passed.observe(now - began)
                began = now
            admitted.observe(began - start)

        return run

    def thinks(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether such writes may be given up with LaboriousError, to be tried again."""
        return any(plugin.thinks(kind, subresource, operation) for plugin in self._thinking)

    def asked(self, kind: Kind, subresource: str, operation: Operation) -> Hooks | None:
        """The webhooks, when one of them wants to be asked of such writes."""
        hooks = self.hooks
        return hooks if hooks is not None and hooks.wanted(kind, subresource, operation) else None

    async def admit(self, request: Request) -> None:
        """All of admission for what is not an object of the registry: bindings, evictions, connections. APIError."""
        plan = self.plan(request.kind, request.subresource, request.operation)
        hooks = self.asked(request.kind, request.subresource, request.operation)
        try:
            plan.mutate(request)
        except LaboriousError as error:
            await laborious.again(error, plan.mutate, request)
        if hooks is not None:
            await hooks.mutate(request)
        try:
            plan.validate(request)
        except LaboriousError as error:
            await laborious.again(error, plan.validate, request)
        if hooks is not None:
            await hooks.validate(request)


async def ask(hooks: Hooks, plan: Plan, request: Request) -> None:
    """Let webhooks change an object; it is decoded and defaulted again then, and the plugins look at it once more.

    Source: Kubernetes documentation, "Dynamic Admission Control", reinvocation.
    """
    if await hooks.mutate(request) and request.object is not None:
        scheme.read(request.kind, request.object, scheme.Fields(scheme.IGNORE))
        try:
            plan.mutate(request)
        except LaboriousError as error:
            await laborious.again(error, plan.mutate, request)

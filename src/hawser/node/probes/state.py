"""A probe's state machine: pure; thresholds, and when the next check is due.

Source: Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from hawser.api.types import Obj


class Kind(StrEnum):
    """What a probe decides."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


@dataclass(frozen=True, slots=True)
class Settings:
    """A probe's figures, in seconds and counts; unset fields have the API's defaults."""

    initial_delay: float = 0
    timeout: float = 1
    period: float = 10
    successes: int = 1
    failures: int = 3

    @classmethod
    def of(cls, probe: Obj) -> Settings:
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("timeoutSeconds") or 1),
            float(probe.get("periodSeconds") or 10),
            int(probe.get("successThreshold") or 1),
            int(probe.get("failureThreshold") or 3),
        )


@dataclass(frozen=True, slots=True)
class State:
    """How a probe stands. result: None before the first verdict; run: equal outcomes in a row."""

    result: bool | None = None
    last: bool | None = None
    run: int = 0


def initial(kind: Kind) -> State:
    """Before the first check a container is alive, not ready, and not started."""
    return State(result=True if kind == Kind.LIVENESS else None if kind == Kind.STARTUP else False)


def after(state: State, settings: Settings, ok: bool) -> tuple[State, bool | None]:
    """The state after one check, and the verdict when it has changed (True good, False bad), else None."""
    run = state.run + 1 if state.last == ok else 1
    state = replace(state, last=ok, run=run)
    if run < (settings.successes if ok else settings.failures) or state.result == ok:
        return state, None
    return replace(state, result=ok), ok

"""Which RichProfiles a pod gets, and what they say together. Pure.

Profiles apply in the order of their names. Units and hooks add up; of a default the first profile that has one counts;
two agents, or two hooks of a phase, of one name are a mistake that the container's failure tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.quantity import parse_quantity
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

PROFILE = Kind("rich.hawser.dev", "v1", "RichProfile", "richprofiles", False, ("richprof",), subresources=("status",))
PHASES = ("prestart", "poststop")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_RESTARTS = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}


class ProfileError(Exception):
    """A container cannot have its profiles. profile: whose fault it is, "" for nobody's."""

    def __init__(self, message: str, profile: str = "") -> None:
        super().__init__(f"{profile}: {message}" if profile else message)
        self.profile = profile
        self.message = message


@dataclass(frozen=True, slots=True)
class Merged:
    """What profiles say together. agents: with the profile that each is from."""

    profiles: tuple[Obj, ...] = ()
    defaults: dict[str, str] = field(default_factory=dict)
    hooks: dict[str, list[Obj]] = field(default_factory=dict)
    enable: list[str] = field(default_factory=list)
    mask: list[str] = field(default_factory=list)
    agents: list[tuple[str, Obj]] = field(default_factory=list)


def matching(profiles: Iterable[Obj], namespace: Obj, pod: Obj) -> list[Obj]:
    """The profiles that select a pod of a namespace, in order. Raises ProfileError for a selector that is none."""
    found = []
    for profile in sorted(profiles, key=_name):
        spec = profile.get("spec") or {}
        try:
            chosen = all(
                LabelSelector.from_object(spec.get(key) or {}).matches(obj["metadata"].get("labels"))
                for key, obj in (("namespaceSelector", namespace), ("podSelector", pod))
            )
        except APIError as error:
            raise ProfileError(error.message, _name(profile)) from None
        if chosen:
            found.append(profile)
    return found


def merge(profiles: list[Obj]) -> Merged:
    """What profiles say together, in their order. Raises ProfileError where they contradict each other."""
    result = Merged(tuple(profiles), hooks={phase: [] for phase in PHASES})
    owners: dict[tuple[str, str], str] = {}
    for profile in profiles:
        name, spec = _name(profile), profile.get("spec") or {}

        def own(what: str, entry: Obj, name: str = name) -> Obj:
            other = owners.setdefault((what, entry["name"]), name)
            if other != name:
                raise ProfileError(f"the {what} {entry['name']} is in RichProfile {other}, too", name)
            return entry

        result.defaults.update({k: v for k, v in (spec.get("defaults") or {}).items() if k not in result.defaults})
        for phase in PHASES:
            entries = (spec.get("hooks") or {}).get(phase) or []
            result.hooks[phase] += [own(f"{phase} hook", entry) for entry in entries]
        units = spec.get("units") or {}
        result.enable.extend(units.get("enable") or [])
        result.mask.extend(units.get("mask") or [])
        result.agents.extend((name, own("agent", entry)) for entry in spec.get("agents") or [])
    return result


def agent(entry: Obj, files: Obj) -> Obj:
    """An agent as hawser-runtime is told of it. files: where they are on the node, `root` or `layers`."""
    limits = entry.get("limits") or {}
    return {
        "name": entry["name"],
        **files,
        "chroot": "image" in entry,
        "command": entry["command"],
        "env": {one["name"]: one.get("value", "") for one in entry.get("env") or []},
        "memory": int(_amount(limits.get("memory"))),
        "cpu": float(_amount(limits.get("cpu"))),
        "restart": _RESTARTS[entry.get("restart", "Always")],
        "restartSeconds": seconds(entry.get("restartDelay", "5s")),
    }


def seconds(text: str) -> float:
    """500ms, 5s, 2m or a number of seconds."""
    number = text.rstrip("ms")
    return float(number) * _UNITS.get(text[len(number) :], 1.0)


def _amount(value: object) -> Decimal:
    return Decimal(0) if value is None else parse_quantity(str(value))


def _name(profile: Obj) -> str:
    name: str = profile["metadata"]["name"]
    return name

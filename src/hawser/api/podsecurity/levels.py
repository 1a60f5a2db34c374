"""Pod security levels, their versions, and what a namespace's labels ask for.

Source: Kubernetes documentation, "Pod Security Standards", "Pod Security Admission"; KEP-2579.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hawser.api.errors import Cause, FieldError

PREFIX = "pod-security.kubernetes.io/"
LATEST = 10_000
"""The minor version that ``latest`` stands for: later than every other."""

_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,3})")
_WRONG_VERSION = 'must be "latest" or "v1.x"'


class Level(StrEnum):
    """From what allows everything to what allows least."""

    PRIVILEGED = "privileged"
    BASELINE = "baseline"
    RESTRICTED = "restricted"


_STRICTNESS = {level: number for number, level in enumerate(Level)}
_WRONG_LEVEL = "must be one of " + ", ".join(Level)


def stricter(left: Level, right: Level) -> bool:
    """Whether left forbids more than right."""
    return _STRICTNESS[left] > _STRICTNESS[right]


@dataclass(frozen=True, slots=True)
class Rule:
    """A level of one version; ``str()`` is how messages write it: ``restricted:latest``, ``baseline:v1.30``."""

    level: Level = Level.PRIVILEGED
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What is refused, what is recorded in the audit log, and what the client is warned of."""

    enforce: Rule = field(default_factory=Rule)
    audit: Rule = field(default_factory=Rule)
    warn: Rule = field(default_factory=Rule)

    @property
    def idle(self) -> bool:
        """Whether it says nothing about any pod."""
        return self.enforce.level is self.audit.level is self.warn.level is Level.PRIVILEGED


EVERYTHING = Policy()


def parse_level(text: str) -> Level:
    """A level by its name. ValueError, in Kubernetes' words."""
    try:
        return Level(text)
    except ValueError:
        raise ValueError(_WRONG_LEVEL) from None


def parse_version(text: str) -> int:
    """The minor version of ``latest`` or ``v1.N``. ValueError, in Kubernetes' words."""
    if text == "latest":
        return LATEST
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError(_WRONG_VERSION)
    return int(found[1])


def policy_of(labels: Mapping[str, str] | None, defaults: Policy = EVERYTHING) -> tuple[Policy, list[FieldError]]:
    """What a namespace's labels ask for, and what is wrong with them.

    A wrong enforce label enforces ``restricted``; wrong audit and warn labels mean nothing. Where there is no label
    for warnings, what is enforced is warned of, too.
    """
    if not labels or not any(key.startswith(PREFIX) for key in labels):
        return defaults, []
    errors: list[FieldError] = []
    enforce = _rule(labels, "enforce", defaults.enforce, Level.RESTRICTED, errors)
    audit = _rule(labels, "audit", defaults.audit, Level.PRIVILEGED, errors)
    warn = _rule(labels, "warn", defaults.warn, Level.PRIVILEGED, errors)
    if (
        PREFIX + "warn" not in labels
        and labels.get(PREFIX + "enforce") == enforce.level
        and stricter(enforce.level, warn.level)
    ):
        warn = Rule(enforce.level, warn.version if PREFIX + "warn-version" in labels else enforce.version)
    return Policy(enforce, audit, warn), errors


def _rule(labels: Mapping[str, str], mode: str, default: Rule, fallback: Level, errors: list[FieldError]) -> Rule:
    """One mode's rule. fallback: the level of a label that cannot be read."""
    level, version = default.level, default.version
    name = PREFIX + mode
    if name in labels:
        try:
            level = parse_level(labels[name])
        except ValueError as error:
            level = fallback
            errors.append(_wrong(name, labels[name], error))
    name += "-version"
    if name in labels:
        try:
            version = parse_version(labels[name])
        except ValueError as error:
            version = LATEST
            errors.append(_wrong(name, labels[name], error))
    return Rule(level, version)


def _wrong(label: str, value: str, error: ValueError) -> FieldError:
    return FieldError(Cause.INVALID, f"metadata.labels[{label}]", str(error), value)

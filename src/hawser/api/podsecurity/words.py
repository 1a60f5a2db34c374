"""How checks look at pods, and how they put what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from hawser.api.types import Obj


class Violation(NamedTuple):
    """What a pod does that a check forbids. reason: in short; detail: where and what."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Obj, Obj], Violation | None]
"""Of a pod's metadata and spec."""


def containers(spec: Obj) -> Iterator[Obj]:
    """Every container of a pod, in the order in which messages name them."""
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()
    yield from spec.get("ephemeralContainers") or ()


def security(part: Obj) -> Obj:
    """The security context of a pod spec or a container; empty when there is none."""
    found: Obj = part.get("securityContext") or {}
    return found


def names(spec: Obj, wrong: Callable[[Obj], bool]) -> list[str]:
    """The names of the containers that are wrong."""
    return [container["name"] for container in containers(spec) if wrong(container)]


def quoted(items: Iterable[str]) -> str:
    """``"a", "b"``."""
    return ", ".join(f'"{item}"' for item in items)


def plural(word: str, items: Iterable[object], many: str = "") -> str:
    """The word for one, or for as many as there are."""
    return word if len(list(items)) == 1 else many or word + "s"


def named(listed: list[str], word: str = "container") -> str:
    """``container "a"`` or ``containers "a", "b"``."""
    return f"{plural(word, listed)} {quoted(listed)}"


def setters(pod: bool, listed: list[str]) -> str:
    """Who set something: ``pod and container "a"``; empty when nobody did."""
    return " and ".join((["pod"] if pod else []) + ([named(listed)] if listed else []))


def on_windows(spec: Obj) -> bool:
    """Whether the pod says that it is for Windows, where Linux' settings mean nothing."""
    return (spec.get("os") or {}).get("name") == "windows"


def has_own_users(spec: Obj) -> bool:
    """Whether the pod runs in a user namespace: its root is nobody outside (KEP-127)."""
    return spec.get("hostUsers") is False

"""Kinds that are served in more than one version over one stored object.

A row with ``form_of`` is such another form; its objects are kept in the form of that row. Both directions are pure
functions; going there and back changes nothing but what the other form cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hawser.api.conversion import autoscaling, events
from hawser.api.kinds import KINDS, Kind
from hawser.api.types import Obj

Convert = Callable[[Obj], Obj]

_BY_GVK: dict[tuple[str, str, str], tuple[Convert, Convert]] = {
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): (autoscaling.to_v2, autoscaling.to_v1),
    ("events.k8s.io", "v1", "Event"): (events.to_core, events.to_events),
}


def forms(kind: Kind) -> dict[str, Kind]:
    """The rows over the objects of a kind, by API version; empty when there is only this one."""
    found = _forms()
    return found.get(kind.form_of or kind, {})


@cache
def _forms() -> dict[Kind, dict[str, Kind]]:
    found: dict[Kind, dict[str, Kind]] = {}
    for row in KINDS:
        if (base := row.form_of) is not None:
            found.setdefault(base, {base.api_version: base})[row.api_version] = row
    return found


def convert(obj: Obj, kind: Kind, to: Kind) -> Obj:
    """An object of one row over a kind as one of another row over the same kind; obj itself for the same row."""
    return obj if kind is to else shown(to, kept(kind, obj))


def kept(kind: Kind, obj: Obj) -> Obj:
    """An object of a form as it is kept; obj itself when it is in that form already."""
    if kind.form_of is None or obj.get("apiVersion") == kind.form_of.api_version:
        return obj
    converted = _BY_GVK[kind.gvk][0](obj)
    return {**converted, "kind": kind.form_of.kind, "apiVersion": kind.form_of.api_version}


def shown(kind: Kind, obj: Obj) -> Obj:
    """A kept object in a form; obj itself when that is how it is kept."""
    if kind.form_of is None or obj.get("apiVersion") == kind.api_version:
        return obj
    converted = _BY_GVK[kind.gvk][1](obj)
    return {**converted, "kind": kind.kind, "apiVersion": kind.api_version}

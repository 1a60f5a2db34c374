"""Who owns which fields: ``metadata.managedFields``, how writes change it, and what stands against an apply.

Source: Kubernetes documentation, "Server-Side Apply"; KEP-555; ManagedFieldsEntry of the API reference. Fields are
compared in the version that a manager wrote in, where a kind's versions differ (``versions.py``), else by their paths.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from hawser.api.apply import fields as sets
from hawser.api.apply.extract import applied, compare, everything
from hawser.api.apply.fields import Fields
from hawser.api.apply.merge import merge
from hawser.api.apply.ownable import NOBODYS, ownable, ownable_change
from hawser.api.apply.types import Granular, Node, UnfitError
from hawser.api.apply.versions import Changes, Views, prune
from hawser.api.encoding import dumps
from hawser.api.errors import APIError
from hawser.api.types import Obj

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
"""Owns what an object without owners has when it is first applied to."""
ANCIENT = "ancient-changes"
MAX_UPDATERS = 10
"""Entries of operation Update that an object may have; more are merged, the oldest first."""
_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Entry = Obj
"""One of ``metadata.managedFields``, with fieldsV1 decoded. Read-only."""


class Author(NamedTuple):
    """Who writes. manager: the field manager's name; time: now, as Kubernetes writes it."""

    manager: str
    api_version: str
    time: str
    subresource: str = ""

    def entry(self, operation: str, fields: Fields) -> Entry:
        """An entry of this author."""
        made: Entry = {
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if self.subresource:
            made["subresource"] = self.subresource
        return made


def created(node: Node, obj: Obj, author: Author, ignored: Collection[str] = ()) -> list[Entry]:
    """The entries of a new object that was not applied."""
    # As ``ownable`` of everything, without building what it would drop: every creation passes here.
    fields = everything(node, obj, True, (*_UNOWNED, *ignored) if ignored else _UNOWNED)
    metadata = obj.get("metadata")
    if metadata and isinstance(node, Granular) and not metadata.keys() <= _NOBODYS:
        below = everything(node.child("metadata"), metadata, True, NOBODYS)
        if below:
            fields["f:metadata"] = below
    return [author.entry(UPDATE, fields)] if fields else []


_UNOWNED = ("apiVersion", "kind", "metadata")
_NOBODYS = frozenset(NOBODYS)


def updated(
    node: Node,
    old: Obj,
    new: Obj,
    held: list[Entry],
    author: Author,
    ignored: Collection[str] = (),
    views: Views | None = None,
) -> list[Entry]:
    """The entries after an update: what changed is the author's alone, what is gone is nobody's.

    held: the entries so far; the very list is returned when nothing changed. views: for kinds whose versions differ in
    their fields, so that each manager's are compared in the version that it wrote in.
    """
    change = ownable_change(compare(node, old, new), ignored)
    if not change:
        return held
    seen = Changes(author.api_version, change, (old, new), ignored, views)
    touched = change.touched
    me = (author.manager, UPDATE, author.api_version, author.subresource)
    mine: Entry | None = None
    kept: list[Entry] = []
    for entry in held:
        if entry.get("manager", "") == author.manager and _identity(entry) == me:
            mine = entry
            continue
        theirs = seen[entry["apiVersion"]]
        rest = _without(entry, theirs.touched, theirs.removed)
        if rest is not None:
            kept.append(rest)
    fields = sets.union(sets.difference(mine["fieldsV1"], change.removed) if mine else {}, touched)
    if touched:
        kept.append(author.entry(UPDATE, fields))
    elif mine and fields:
        kept.append({**mine, "fieldsV1": fields})
    return _in_order(_capped(kept))


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply makes of an object. changed: whether object is another than before."""

    object: Obj
    entries: list[Entry]
    changed: bool


def apply(
    node: Node,
    live: Obj,
    config: Obj,
    held: list[Entry],
    author: Author,
    *,
    force: bool = False,
    ignored: Collection[str] = (),
    views: Views | None = None,
) -> Applied:
    """Merge config into live (empty for an object that is not there) and take away what the author applied before.

    APIError 409 when other managers own fields that would change, unless force is set: then they are the author's.
    UnfitError when config repeats list items. views: as of ``updated``.
    """
    fields = ownable(applied(node, config), ignored)
    if not held and live:
        before = Author(BEFORE_FIRST_APPLY, author.api_version, author.time)
        held = created(node, live, before)
    me = (author.manager, APPLY, "", author.subresource)
    mine = next((entry for entry in held if _identity(entry) == me), None)
    others = [entry for entry in held if entry is not mine]
    merged = merge(node, live, config)
    if mine is not None and not sets.covers(fields, mine["fieldsV1"]):
        owned = [(author.api_version, fields), *((entry["apiVersion"], entry["fieldsV1"]) for entry in others)]
        merged = prune(node, merged, (mine["apiVersion"], mine["fieldsV1"]), owned, views)
    change = ownable_change(compare(node, live, merged), ignored)
    seen = Changes(author.api_version, change, (live, merged), ignored, views)
    conflicts = [
        (entry, both)
        for entry in others
        if (both := sets.intersection(entry["fieldsV1"], seen[entry["apiVersion"]].touched))
    ]
    if conflicts and not force and not _upgrades(node, live, author, conflicts):
        raise _conflict(conflicts)
    kept = [
        rest
        for entry in others
        if (rest := _without(entry, (theirs := seen[entry["apiVersion"]]).touched, theirs.removed)) is not None
    ]
    if fields:
        same = mine is not None and mine["fieldsV1"] == fields and mine["apiVersion"] == author.api_version
        if mine is not None and same and not change:
            kept.append(mine)
        else:
            kept.append(author.entry(APPLY, fields))
    if author.manager == _KUBECTL and _LAST_APPLIED in (merged.get("metadata", {}).get("annotations") or {}):
        _remember(merged, config)
    return Applied(merged, _in_order(_capped(kept)), merged != live)


def _without(entry: Entry, *taken: Fields) -> Entry | None:
    """The entry without those fields; None when it has none left."""
    fields = entry["fieldsV1"]
    for each in taken:
        fields = sets.difference(fields, each)
    if fields is entry["fieldsV1"]:
        return entry
    return {**entry, "fieldsV1": fields} if fields else None


def _identity(entry: Entry) -> tuple[str, str, str, str]:
    """What makes two entries the same manager's: an applier is one, whatever version it applies."""
    operation = entry["operation"]
    version = entry["apiVersion"] if operation == UPDATE else ""
    return entry.get("manager", ""), operation, version, entry.get("subresource", "")


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most ``MAX_UPDATERS`` entries of operation Update: of each version, the oldest become one."""
    updaters = [entry for entry in entries if entry["operation"] == UPDATE]
    excess = len(updaters) - MAX_UPDATERS
    if excess <= 0:
        return entries
    updaters.sort(key=lambda entry: (entry.get("time", ""), _identity(entry)))
    made = list(entries)
    buckets: dict[str, Entry] = {}
    for entry in updaters:
        if excess <= 0:
            break
        version = entry["apiVersion"]
        bucket = buckets.get(version)
        if bucket is None:
            buckets[version] = entry
            continue
        merged: Entry = {**entry, "manager": ANCIENT, "fieldsV1": sets.union(bucket["fieldsV1"], entry["fieldsV1"])}
        merged.pop("subresource", None)
        made = [each for each in made if each is not bucket and each is not entry]
        same = next((each for each in made if _identity(each) == _identity(merged)), None)
        if same is not None:
            merged["fieldsV1"] = sets.union(same["fieldsV1"], merged["fieldsV1"])
            made.remove(same)
            excess -= 1
        made.append(merged)
        buckets[version] = merged
        excess -= 1
    return made


def _in_order(entries: list[Entry]) -> list[Entry]:
    if len(entries) > 1:
        entries.sort(
            key=lambda e: (
                e["operation"],
                e.get("time", ""),
                e.get("manager", ""),
                e["apiVersion"],
                e.get("subresource", ""),
            )
        )
    return entries


def same_but_time(left: list[Entry], right: list[Entry]) -> bool:
    """Whether two lists of entries say the same, whenever it was said."""
    if len(left) != len(right):
        return False
    theirs = {_identity(entry): entry for entry in right}
    return all(
        (other := theirs.get(_identity(entry))) is not None and {**entry, "time": ""} == {**other, "time": ""}
        for entry in left
    )


def decode(raw: Any) -> list[Entry] | None:
    """The entries that a client wrote, in normal form; None when they are not ones, so those there are stay.

    ``[{}]`` is a client's way to forget all entries: an empty list.
    """
    if raw == [{}]:
        return []
    if not isinstance(raw, list):
        return None
    made = {}
    for given in raw:
        if not isinstance(given, dict) or given.get("operation") not in (APPLY, UPDATE) or not given.get("apiVersion"):
            return None
        if given.get("fieldsType") != "FieldsV1":
            return None
        try:
            fields = sets.parse(given.get("fieldsV1") or {})
        except ValueError:
            return None
        entry = {name: given[name] for name in _ENTRY if given.get(name)} | {"fieldsV1": fields}
        made[_identity(entry)] = entry
    return _in_order(list(made.values())) or None


_ENTRY = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")


def encoded(entries: list[Entry], held: Sequence[Entry] = ()) -> list[Obj]:
    """Entries as they are written into an object; sets that were held before are in order already."""
    made = []
    for entry in entries:
        fields = entry["fieldsV1"]
        if fields:
            known = held and any(fields is before["fieldsV1"] for before in held)
            made.append(entry if known else {**entry, "fieldsV1": sets.encode(fields)})
    return made


def _conflict(conflicts: list[tuple[Entry, Fields]]) -> APIError:
    """409 with a cause for every field."""
    found = [(_spoken(entry), sets.text(path)) for entry, both in conflicts for path in sets.paths(both)]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": where} for who, where in found
    ]
    if len(found) == 1:
        who, where = found[0]
        text = f"Apply failed with 1 conflict: conflict with {who}: {where}"
    else:
        lines = []
        for who in sorted({who for who, _ in found}):
            lines.append(f"conflicts with {who}:")
            lines += [f"- {where}" for name, where in found if name == who]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return APIError(409, "Conflict", text, details={"causes": causes})


def _spoken(entry: Entry) -> str:
    text = orjson.dumps(entry.get("manager", "")).decode()
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    if entry["operation"] == UPDATE:
        text += f" using {entry['apiVersion']}"
    return text


def _upgrades(node: Node, live: Obj, author: Author, conflicts: list[tuple[Entry, Fields]]) -> bool:
    """Whether kubectl only takes over what it had applied itself, on the client's side, and nobody changed since."""
    if author.manager != _KUBECTL:
        return False
    try:
        last = orjson.loads(live["metadata"]["annotations"][_LAST_APPLIED])
        mine = ownable(applied(node, last))
    except (KeyError, TypeError, orjson.JSONDecodeError, UnfitError):
        return False
    mine = sets.union(mine, {"f:metadata": {"f:annotations": {f"f:{_LAST_APPLIED}": sets.MEMBER}}})
    mine = sets.difference(mine, compare(node, last, live).modified)
    return all(not sets.difference(both, mine) for _, both in conflicts)


def _remember(merged: Obj, config: Obj) -> None:
    """Keep kubectl's own note of what it applied last up to date, for who goes back to client-side apply."""
    metadata = dict(config.get("metadata") or {})
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != _LAST_APPLIED}
    if "annotations" in metadata:
        metadata["annotations"] = annotations
    merged["metadata"]["annotations"][_LAST_APPLIED] = (
        dumps({**config, "metadata": metadata}, orjson.OPT_SORT_KEYS).decode() + "\n"
    )

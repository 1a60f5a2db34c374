"""Which names a CustomResourceDefinition gets, and the conditions that say so.

Source: API reference, CustomResourceDefinitionStatus; the reasons and sentences are those of Kubernetes'
naming and establishing controllers.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.types import Obj

NAMES_ACCEPTED = "NamesAccepted"


def taken(others: Iterable[Obj]) -> tuple[set[str], set[str]]:
    """The resource names (plural, singular, short) and the kinds (kind, listKind) that other CRDs of a group have."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ())}
        kinds |= {names.get("kind", ""), names.get("listKind", "")}
    return resources - {""}, kinds - {""}


def accept(crd: Obj, others: Iterable[Obj], now: str) -> Obj:
    """The status of a CRD: acceptedNames, conditions and storedVersions. others: CRDs of its group but itself."""
    resources, kinds = taken(others)
    wanted = crd["spec"]["names"]
    before: Obj = crd.get("status") or {}
    old = before.get("acceptedNames") or {}
    names: Obj = {}
    problems: list[tuple[str, str]] = []
    for field, used, reason in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        name = wanted.get(field)
        if name and name in used:
            problems.append((reason, f'"{name}" is already in use'))
            name = old.get(field)
        if name:
            names[field] = name
    short = wanted.get("shortNames") or []
    if bad := [name for name in short if name in resources]:
        problems.append(("ShortNamesConflict", ", ".join(f'"{name}" is already in use' for name in bad)))
        short = old.get("shortNames") or []
    if short:
        names["shortNames"] = list(short)
    if wanted.get("categories"):
        names["categories"] = list(wanted["categories"])
    # The sets of names that clients look kinds up by must be there before anything is served.
    names = {"plural": "", "kind": "", **names}
    return {
        **before,
        "conditions": _conditions(before.get("conditions") or [], problems, now),
        "acceptedNames": names,
        "storedVersions": _stored(crd, before.get("storedVersions") or []),
    }


def _stored(crd: Obj, before: list[str]) -> list[str]:
    storage = next((v["name"] for v in crd["spec"]["versions"] if v.get("storage")), None)
    return [*before, storage] if storage and storage not in before else before


def _conditions(old: list[Obj], problems: list[tuple[str, str]], now: str) -> list[Obj]:
    if problems:
        reason, message = problems[0]
        wanted = [(NAMES_ACCEPTED, "False", reason, message)]
        # What is established once stays so: its objects do not go because a name was changed to one that is taken.
        if not any(c.get("type") == "Established" and c.get("status") == "True" for c in old):
            wanted.append(("Established", "False", "NotAccepted", "not all names are accepted"))
    else:
        wanted = [
            (NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found"),
            ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    made = list(old)
    for kind, status, reason, message in wanted:
        made = set_condition(made, kind, status, reason, message, now)
    return made


def set_condition(conditions: list[Obj], kind: str, status: str, reason: str, message: str, now: str) -> list[Obj]:
    """Conditions with one of them set; its time stays when its status does. Clients' conditions may lack anything."""
    new = {"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}
    made = []
    found = False
    for condition in conditions:
        if condition.get("type") != kind:
            made.append(condition)
            continue
        found = True
        if condition.get("status") == status:
            new["lastTransitionTime"] = condition.get("lastTransitionTime", now)
        made.append(new)
    return made if found else [*made, new]

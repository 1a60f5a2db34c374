"""Which address families a Service has: what the client leaves out is settled, what cannot be is refused.

Pure. Source: "IPv4/IPv6 dual-stack"; KEP-563; API reference, ServiceSpec (ipFamilies, ipFamilyPolicy, clusterIPs).
"""

from __future__ import annotations

from collections.abc import Sequence

from hawser.api.errors import Cause, FieldError, invalid
from hawser.api.kinds import SERVICE
from hawser.api.types import Obj

_SINGLE, _PREFER, _REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_POLICY = "spec.ipFamilyPolicy"
BOTH = ("IPv4", "IPv6")


def settle(obj: Obj, old: Obj | None, configured: Sequence[str]) -> None:
    """Set ipFamilyPolicy, ipFamilies and trim clusterIPs. configured: the families of the server, its own first.

    Raises APIError (422).
    """
    spec, was = obj["spec"], old["spec"] if old is not None else {}
    if spec.get("type") == "ExternalName" or _unchanged_preference(spec, was):
        return
    headless = spec.get("clusterIP") == "None"
    selectorless = headless and not spec.get("selector")
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = was.get("ipFamilyPolicy") or (_REQUIRE if selectorless else _SINGLE)
    errors = _reductions(spec, was) if was else []
    errors += _too_many(spec)
    errors += _inferred(spec, configured)
    _refuse(obj, errors)
    single = spec["ipFamilyPolicy"] == _SINGLE
    families: list[str] = spec.get("ipFamilies") or [configured[0]]
    if not selectorless:
        # Without a selector, what a headless Service names is the user's own affair.
        if spec["ipFamilyPolicy"] == _REQUIRE and len(configured) < 2:
            errors.append(_error(_POLICY, _REQUIRE, "this cluster is not configured for dual-stack services"))
        for i, family in enumerate(spec.get("ipFamilies") or ()):
            if family not in configured:
                errors.append(_error(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
        _refuse(obj, errors)
    if not single and len(families) == 1 and (selectorless or len(configured) == 2):
        families = [*families, next(f for f in BOTH if f != families[0])]
    spec["ipFamilies"] = families


def _unchanged_preference(spec: Obj, was: Obj) -> bool:
    """Whether a preference stays as it is, whatever the cluster has become meanwhile."""
    same = all(
        (spec.get(field) or None) == (was.get(field) or None)
        for field in ("type", "ipFamilyPolicy", "clusterIPs", "ipFamilies")
    )
    return bool(was) and same and spec.get("ipFamilyPolicy") == _PREFER


def _reductions(spec: Obj, was: Obj) -> list[FieldError]:
    """With policy SingleStack the second of what did not change goes; else nobody may take it away."""
    errors: list[FieldError] = []
    for field, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        now, before = spec.get(field) or [], was.get(field) or []
        if spec["ipFamilyPolicy"] == _SINGLE:
            if now == before and len(now) > 1:
                spec[field] = now[:1]
        elif len(before) == 2 and now == before[:1]:
            detail = f"must be 'SingleStack' to release the secondary {what}"
            errors.append(_error(_POLICY, spec["ipFamilyPolicy"], detail))
    return errors


def _too_many(spec: Obj) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != _SINGLE:
        return []
    detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    named = (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
    return [_error(_POLICY, _SINGLE, detail.format(what)) for field, what in named if len(spec.get(field) or ()) == 2]


def _inferred(spec: Obj, configured: Sequence[str]) -> list[FieldError]:
    """Families of addresses that were given without."""
    errors: list[FieldError] = []
    addresses = spec.get("clusterIPs") or [a for a in (spec.get("clusterIP"),) if a]
    families = list(spec.get("ipFamilies") or ())
    for i, address in enumerate(addresses):
        if address == "None":
            break
        if i < len(families):
            continue
        family = BOTH[":" in address]
        if family not in configured:
            errors.append(_error(f"spec.clusterIPs[{i}]", addresses, f"{family} is not configured on this cluster"))
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families
    return errors


def _error(field: str, value: object, detail: str) -> FieldError:
    return FieldError(Cause.INVALID, field, detail, value)


def _refuse(obj: Obj, errors: list[FieldError]) -> None:
    if errors:
        raise invalid("", SERVICE.kind, obj["metadata"].get("name", ""), errors)

"""Validation of what becomes of a ResourceClaim. Source: API reference, ResourceClaimStatus."""

from __future__ import annotations

import re
from ipaddress import ip_interface

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.devices import (
    MAX_PARAMETERS,
    Names,
    binding_conditions,
    configurations,
    label,
    opaque,
    pool_name,
    reference,
    request_names,
    toleration,
)
from hawser.api.validation.rules import Errors, duplicate, each, forbidden, invalid, required, too_many, unsupported
from hawser.api.validation.scheduling import node_selector

_MAX_CONSUMERS = 256
_MAX_RESULTS = 32
_SOURCES = ("FromClaim", "FromClass")
_is_uid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_UID_RULE = (
    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal "
    "characters"
)


def status_update(obj: Obj, old: Obj) -> Errors:
    """What was allocated stays until the claim is deallocated; only an allocated claim is reserved."""
    status, before = obj.get("status") or {}, old.get("status") or {}
    consumers, allocation = status.get("reservedFor") or [], status.get("allocation")
    yield from _consumers(consumers)
    yield from _devices(status.get("devices") or [], allocation)
    path = "status.reservedFor"
    if consumers and allocation is None:
        yield forbidden(path, "may not be specified when `allocated` is not set")
    elif consumers and (obj.get("metadata") or {}).get("deletionTimestamp"):
        known = before.get("reservedFor") or []
        if any(consumer not in known for consumer in consumers):
            detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            yield forbidden(path, detail)
    if allocation is None:
        return
    if before.get("allocation") is not None:
        yield from values.same("status.allocation", allocation, before["allocation"])
    else:
        yield from _allocation(allocation, request_names(obj.get("spec") or {}))


def _consumers(consumers: list[Obj]) -> Errors:
    path = "status.reservedFor"
    if len(consumers) > _MAX_CONSUMERS:
        yield too_many(path, len(consumers), _MAX_CONSUMERS)
        return
    for i, consumer in enumerate(consumers):
        for field in ("resource", "name", "uid"):
            if not consumer.get(field):
                yield required(f"{path}[{i}].{field}")
    yield from values.unique((consumer.get("uid", "") for consumer in consumers), path)


def _allocation(allocation: Obj, names: Names) -> Errors:
    path = "status.allocation"
    devices = allocation.get("devices") or {}
    results = devices.get("results") or []
    if len(results) > _MAX_RESULTS:
        yield too_many(f"{path}.devices.results", len(results), _MAX_RESULTS)
    else:
        for i, result in enumerate(results):
            yield from _result(result, names, f"{path}.devices.results[{i}]")
    config = devices.get("config") or []
    for i, entry in enumerate(config):
        at, source = f"{path}.devices.config[{i}].source", entry.get("source", "")
        if not source:
            yield required(at)
        elif source not in _SOURCES:
            yield unsupported(at, source, _SOURCES)
    yield from configurations(config, f"{path}.devices.config", names, 64)
    if (selector := allocation.get("nodeSelector")) is not None:
        yield from node_selector(selector, f"{path}.nodeSelector")


def _result(result: Obj, names: Names, path: str) -> Errors:
    yield from reference(result.get("request", ""), names, f"{path}.request")
    yield from _device(result, path)
    yield from binding_conditions(result, path)
    for i, entry in enumerate(result.get("tolerations") or ()):
        yield from toleration(entry, f"{path}.tolerations[{i}]")


def _device(device: Obj, path: str) -> Errors:
    """driver, pool, device and shareID, which name a device."""
    yield from values.csi_driver_name(device.get("driver", ""), f"{path}.driver")
    yield from pool_name(device.get("pool", ""), f"{path}.pool")
    yield from label(device.get("device", ""), f"{path}.device")
    if (share := device.get("shareID")) is not None and not _is_uid(share):
        yield invalid(f"{path}.shareID", share, _UID_RULE)


def _key(device: Obj) -> str:
    share = device.get("shareID")
    name = "/".join(device.get(field, "") for field in ("driver", "pool", "device"))
    return f"{name}/{share}" if share else name


def _devices(devices: list[Obj], allocation: Obj | None) -> Errors:
    allocated = {_key(result) for result in ((allocation or {}).get("devices") or {}).get("results") or ()}
    seen = set()
    for i, device in enumerate(devices):
        path, key = f"status.devices[{i}]", _key(device)
        yield from _device(device, path)
        if key not in allocated:
            yield invalid(path, key, "must be an allocated device in the claim")
        conditions = device.get("conditions") or []
        if len(conditions) > 8:
            yield too_many(f"{path}.conditions", len(conditions), 8)
        yield from values.conditions(conditions, f"{path}.conditions")
        if device.get("data") is not None:
            yield from opaque(device["data"], f"{path}.data", MAX_PARAMETERS)
        yield from _network(device.get("networkData") or {}, f"{path}.networkData")
        if key in seen:
            yield duplicate(path, key)
        seen.add(key)


def _network(data: Obj, path: str) -> Errors:
    for field, limit in (("interfaceName", 256), ("hardwareAddress", 128)):
        if len(data.get(field, "").encode()) > limit:
            yield rules.too_long(f"{path}.{field}", limit)
    addresses = data.get("ips") or []
    if len(addresses) > 16:
        yield too_many(f"{path}.ips", len(addresses), 16)
        return
    for i, address in enumerate(addresses):
        yield from each(f"{path}.ips[{i}]", address, _interface_errors(address))
    yield from values.unique(addresses, f"{path}.ips")


def _interface_errors(address: str) -> tuple[str, ...]:
    """An address with the length of its network's prefix, in canonical form."""
    rule = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
    try:
        parsed = ip_interface(address)
    except ValueError:
        return (rule,)
    if "/" not in address:
        return (rule,)
    return () if str(parsed) == address else (f'must be in canonical form ("{parsed}")',)

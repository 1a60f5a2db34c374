"""Validation of probes and lifecycle hooks. Source: API reference, Probe and LifecycleHandler."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, each, forbidden, invalid, not_negative, required, unsupported

_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def probe(value: Obj, name: str, grace: int, path: str) -> Errors:
    """name: the probe's field; grace: the pod's terminationGracePeriodSeconds."""
    yield from _handler(value, _PROBE_HANDLERS, grace, path)
    yield from not_negative(value, path, *_COUNTS)
    own_grace = value.get("terminationGracePeriodSeconds")
    if own_grace is not None:
        if own_grace <= 0:
            yield invalid(f"{path}.terminationGracePeriodSeconds", own_grace, "must be greater than 0")
        if name == "readinessProbe":
            yield invalid(f"{path}.terminationGracePeriodSeconds", own_grace, "must not be set for readinessProbes")
    if name != "readinessProbe" and value.get("successThreshold", 1) != 1:
        yield invalid(f"{path}.successThreshold", value["successThreshold"], "must be 1")


def lifecycle(value: Obj, grace: int, path: str) -> Errors:
    for name in ("postStart", "preStop"):
        if (hook := value.get(name)) is not None:
            yield from _handler(hook, _HOOK_HANDLERS, grace, f"{path}.{name}")


def _handler(value: Obj, names: tuple[str, ...], grace: int, path: str) -> Errors:
    """Exactly one way to ask."""
    given = [name for name in names if value.get(name) is not None]
    if not given:
        yield required(path, "must specify a handler type")
        return
    for extra in given[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    name = given[0]
    action, at = value[name], f"{path}.{name}"
    match name:
        case "exec":
            if not action.get("command"):
                yield required(f"{at}.command")
        case "httpGet":
            yield from _http_get(action, at)
        case "tcpSocket" | "grpc":
            yield from each(f"{at}.port", action.get("port", 0), rules.port_errors(action.get("port")))
        case "sleep":
            seconds = action.get("seconds", 0)
            if not 0 <= seconds <= grace:
                detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                yield invalid(at, seconds, detail)


def _http_get(action: Obj, path: str) -> Errors:
    if not action.get("path"):
        yield required(f"{path}.path")
    yield from each(f"{path}.port", action.get("port", 0), rules.port_errors(action.get("port")))
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        yield unsupported(f"{path}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS"))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        yield from each(f"{path}.httpHeaders", name, rules.header_errors(name))

"""Validation of Ingresses and IngressClasses. Source: API reference of both; "Ingress"."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.rules import Errors, each, forbidden, immutable, invalid, parse_ip, required, unsupported

_CLASS = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
_NOT_DNS = "must be a DNS name, not an IP address"
_SCOPES = ("Cluster", "Namespace")
_MAX_CONTROLLER = 250


def ingress(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    listed, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not listed and backend is None:
        yield invalid("spec", listed, "either `defaultBackend` or `rules` must be specified")
    if backend is not None:
        yield from _backend(backend, "spec.defaultBackend")
    for i, rule in enumerate(listed):
        yield from _rule(rule, f"spec.rules[{i}]")
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            yield from _host(host, f"spec.tls[{i}].hosts[{j}]")
        if secret := tls.get("secretName"):
            yield from each(f"spec.tls[{i}].secretName", secret, rules.subdomain_errors(secret))
    if (name := spec.get("ingressClassName")) is not None:
        yield from each("spec.ingressClassName", name, rules.subdomain_errors(name))


def ingress_create(obj: Obj) -> Errors:
    annotation = ((obj.get("metadata") or {}).get("annotations") or {}).get(_CLASS)
    name = (obj.get("spec") or {}).get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        yield invalid(f"annotations.{_CLASS}", annotation, detail)


def _host(host: str, path: str) -> Errors:
    check = values.wildcard_errors if "*" in host else rules.subdomain_errors
    yield from each(path, host, check(host))


def _rule(rule: Obj, path: str) -> Errors:
    if host := rule.get("host"):
        if parse_ip(host):
            yield invalid(f"{path}.host", host, _NOT_DNS)
        yield from _host(host, f"{path}.host")
    if (http := rule.get("http")) is None:
        return
    paths = http.get("paths") or []
    if not paths:
        yield required(f"{path}.http.paths")
    for i, entry in enumerate(paths):
        yield from _path(entry, f"{path}.http.paths[{i}]")


def _path(entry: Obj, path: str) -> Errors:
    kind, text = entry.get("pathType"), entry.get("path", "")
    at = f"{path}.path"
    if kind is None:
        yield required(f"{path}.pathType", "pathType must be specified")
        return
    if kind not in _PATH_TYPES:
        yield unsupported(f"{path}.pathType", kind, _PATH_TYPES)
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        yield invalid(at, text, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        for part in _BAD_PARTS:
            if part in text:
                yield invalid(at, text, f"must not contain '{part}'")
        for end in _BAD_ENDS:
            if text.endswith(end):
                yield invalid(at, text, f"cannot end with '{end}'")
    yield from _backend(entry.get("backend") or {}, f"{path}.backend")


def _backend(backend: Obj, path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from _reference(resource, f"{path}.resource")
    elif service is None:
        yield invalid(path, "", "resource or service backend is required")
    else:
        if not (name := service.get("name", "")):
            yield required(f"{path}.service.name")
        else:
            yield from each(f"{path}.service.name", name, rules.label_1035_errors(name))
        yield from _port(service.get("port") or {}, path)


def _port(port: Obj, path: str) -> Errors:
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        yield invalid(path, "", "cannot set both port name & port number")
    elif name:
        yield from each(f"{path}.service.port.name", name, rules.port_name_errors(name))
    elif number:
        yield from each(f"{path}.service.port.number", number, rules.port_number_errors(number))
    else:
        yield required(path, "port name or number is required")


def _reference(reference: Obj, path: str) -> Errors:
    if (group := reference.get("apiGroup")) is not None:
        yield from each(f"{path}.apiGroup", group, rules.subdomain_errors(group))
    for field in ("kind", "name"):
        if not (text := reference.get(field, "")):
            yield required(f"{path}.{field}")
        else:
            yield from each(f"{path}.{field}", text, values.path_segment_errors(text))


def ingress_status(obj: Obj, old: Obj) -> Errors:
    for i, point in enumerate(((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
        path = f"status.loadBalancer.ingress[{i}]"
        if ip := point.get("ip"):
            yield from each(f"{path}.ip", ip, rules.ip_errors(ip))
        if host := point.get("hostname"):
            yield from each(f"{path}.hostname", host, rules.subdomain_errors(host))
            if parse_ip(host):
                yield invalid(f"{path}.hostname", host, _NOT_DNS)


def ingress_class(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller", ""), spec.get("parameters")
    if len(controller) > _MAX_CONTROLLER:
        yield rules.too_long("spec.controller", _MAX_CONTROLLER)
    yield from values.domain_prefixed_path(controller, "spec.controller")
    if parameters is None:
        return
    path = "spec.parameters"
    yield from _reference(parameters, path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        yield required(f"{path}.scope")
    elif scope not in _SCOPES:
        yield unsupported(f"{path}.scope", scope, _SCOPES)
    elif scope == "Cluster":
        if namespace is not None:
            yield forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")
    elif namespace is None:
        yield required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
    else:
        yield from each(f"{path}.namespace", namespace, rules.label_errors(namespace))


def ingress_class_update(obj: Obj, old: Obj) -> Errors:
    now, was = ((o.get("spec") or {}).get("controller") for o in (obj, old))
    yield from immutable("spec.controller", now, was)

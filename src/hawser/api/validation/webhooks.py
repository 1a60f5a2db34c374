"""Validation of admission webhooks and of APIServices.

Source: API reference of the kinds; "Dynamic Admission Control"; "Configure the Aggregation Layer".
"""

from __future__ import annotations

from urllib.parse import urlsplit

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    invalid,
    label_selector,
    required,
    unsupported,
)

_VERSIONS = ("v1", "v1beta1")
_FAILURE = ("Fail", "Ignore")
_MATCH = ("Equivalent", "Exact")
_EFFECTS = ("None", "NoneOnDryRun")
_REINVOCATION = ("IfNeeded", "Never")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_FORM = "; desired format: https://host[/path]"


def configuration(obj: Obj) -> Errors:
    """A ValidatingWebhookConfiguration or MutatingWebhookConfiguration."""
    names = set()
    for i, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{i}]", hook.get("name", "")
        yield from _hook(hook, path)
        yield from _versions(hook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")
        if name and name in names:
            yield duplicate(f"{path}.name", name)
        names.add(name)


def _hook(hook: Obj, path: str) -> Errors:
    yield from values.qualified_domain(hook.get("name", ""), f"{path}.name")
    for i, rule in enumerate(hook.get("rules") or ()):
        yield from operations_rule(rule, f"{path}.rules[{i}]")
    for field, supported in (("failurePolicy", _FAILURE), ("matchPolicy", _MATCH)):
        if (value := hook.get(field)) is not None and value not in supported:
            yield unsupported(f"{path}.{field}", value, supported)
    effects, seconds = hook.get("sideEffects"), hook.get("timeoutSeconds")
    if effects is None:
        yield required(f"{path}.sideEffects", f"must specify one of {', '.join(_EFFECTS)}")
    elif effects not in _EFFECTS:
        yield unsupported(f"{path}.sideEffects", effects, _EFFECTS)
    if seconds is not None and not 1 <= seconds <= 30:
        yield invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    yield from label_selector(hook.get("namespaceSelector"), f"{path}.namespaceSelector")
    yield from label_selector(hook.get("objectSelector"), f"{path}.objectSelector")
    if (policy := hook.get("reinvocationPolicy")) is not None and policy not in _REINVOCATION:
        yield unsupported(f"{path}.reinvocationPolicy", policy, _REINVOCATION)
    yield from _client(hook.get("clientConfig") or {}, f"{path}.clientConfig")
    yield from _match_conditions(hook.get("matchConditions") or [], f"{path}.matchConditions")


def _match_conditions(entries: list[Obj], path: str) -> Errors:
    if entries:
        # Whoever has none does not load the expression language.
        from hawser.api.validation.admission_policies import conditions

        yield from conditions(entries, path)


def operations_rule(rule: Obj, path: str) -> Errors:
    """A RuleWithOperations."""
    operations = rule.get("operations") or []
    if not operations:
        yield required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        yield invalid(f"{path}.operations", operations, "if '*' is present, must not specify other operations")
    for i, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            yield unsupported(f"{path}.operations[{i}]", operation, _OPERATIONS)
    for field, words in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        listed = rule.get(field) or []
        if not listed:
            yield required(f"{path}.{field}")
        if len(listed) > 1 and "*" in listed:
            yield invalid(f"{path}.{field}", listed, f"if '*' is present, must not specify other {words}")
        if field == "apiVersions":
            for i, version in enumerate(listed):
                if not version:
                    yield required(f"{path}.{field}[{i}]")
    yield from _resources(rule.get("resources") or [], f"{path}.resources")
    if (scope := rule.get("scope")) is not None and scope not in _SCOPES:
        yield unsupported(f"{path}.scope", scope, _SCOPES)


def _resources(resources: list[str], path: str) -> Errors:
    if not resources:
        yield required(path)
    all_subresources, all_resources = set(), set()
    for i, text in enumerate(resources):
        at = f"{path}[{i}]"
        if not text:
            yield required(at)
            continue
        resource, slash, subresource = text.partition("/")
        if not slash:
            continue
        if resource in all_subresources:
            yield invalid(at, text, f"if '{resource}/*' is present, must not specify {text}")
        if subresource in all_resources:
            yield invalid(at, text, f"if '*/{subresource}' is present, must not specify {text}")
        if subresource == "*":
            all_subresources.add(resource)
        if resource == "*":
            all_resources.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        yield invalid(path, resources, "if '*/*' is present, must not specify other resources")
    plain = [text for text in resources if text and "/" not in text]
    if "*" in plain and plain[-1] != "*":
        detail = "if '*' is present, must not specify other resources without subresources"
        yield invalid(path, resources, detail)


def _versions(versions: list[str], path: str) -> Errors:
    accepted = ", ".join(_VERSIONS)
    if not versions:
        yield required(path, f"must specify one of {accepted}")
        return
    for i, version in enumerate(versions):
        if version in versions[:i]:
            yield invalid(f"{path}[{i}]", version, "duplicate version")
        else:
            yield from each(f"{path}[{i}]", version, rules.label_1035_errors(version))
    if not set(versions) & set(_VERSIONS):
        yield invalid(path, versions, f"must include at least one of {accepted}")


def _client(client: Obj, path: str) -> Errors:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url(url, f"{path}.url")
    else:
        yield from webhook_service(service or {}, f"{path}.service")


def _url(url: str, path: str) -> Errors:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield required(path, f"url must be a valid URL: {error}{_FORM}")
        return
    if parts.scheme != "https":
        yield invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}")
    if not parts.netloc:
        yield invalid(path, "", f"host must be specified{_FORM}")
    user, at, _ = parts.netloc.rpartition("@")
    if at:
        yield invalid(path, user, "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def webhook_service(service: Obj, path: str) -> Errors:
    """A reference to the Service of a webhook."""
    for field in ("name", "namespace"):
        if not service.get(field):
            yield required(f"{path}.{field}")
    port, url = service.get("port", 0), service.get("path")
    if bad := rules.port_number_errors(port):
        yield invalid(f"{path}.port", port, f"port is not valid: {', '.join(bad)}")
    if not url or url == "/":
        return
    if url == "//":
        yield invalid(f"{path}.path", url, "segment[0] may not be empty")
        return
    if not url.startswith("/"):
        yield invalid(f"{path}.path", url, "must start with a '/'")
    for i, step in enumerate(url[1:].removesuffix("/").split("/")):
        if not step:
            yield invalid(f"{path}.path", url, f"segment[{i}] may not be empty")
        for message in rules.subdomain_errors(step) if step else ():
            yield invalid(f"{path}.path", url, f"segment[{i}]: {message}")


def api_service(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    group, version = spec.get("group", ""), spec.get("version", "")
    name, wanted = (obj.get("metadata") or {}).get("name", ""), f"{version}.{group}"
    if name and not values.path_segment_errors(name) and name != wanted:
        yield invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if not group and version != "v1":
        yield required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    if group:
        yield from each("spec.group", group, rules.subdomain_errors(group))
    yield from each("spec.version", version, rules.label_1035_errors(version))
    for field, limit in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        if not 0 < spec.get(field, 0) <= limit:
            yield invalid(f"spec.{field}", spec.get(field, 0), f"must be positive and less than {limit}")
    yield from _backend(spec)


def _backend(spec: Obj) -> Errors:
    service, bundle, skips = spec.get("service"), spec.get("caBundle", ""), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            size = f"{len(bundle) // 4 * 3 - bundle.count('=', -2)} bytes"
            yield invalid("spec.caBundle", size, "local APIServices may not have a caBundle")
        if skips:
            yield invalid("spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify")
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            yield required(f"spec.service.{field}")
    port = service.get("port", 0)
    if bad := rules.port_number_errors(port):
        yield invalid("spec.service.port", port, f"port is not valid: {', '.join(bad)}")
    if skips and bundle:
        yield invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")


def api_service_status(obj: Obj, old: Obj) -> Errors:
    states = ("False", "True", "Unknown")
    for i, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        if condition.get("status") not in states:
            yield unsupported(f"status.conditions[{i}].status", condition.get("status", ""), states)

"""Validation of CustomResourceDefinitions.

Source: API reference, CustomResourceDefinition v1; Kubernetes documentation, "Extend the Kubernetes API with
CustomResourceDefinitions" and "Versions in CustomResourceDefinitions"; the sentences are apiextensions-apiserver's.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from hawser.api.crd import columns, structural
from hawser.api.crd.conversion import VERSIONS
from hawser.api.crd.conversion import version as conversion_review
from hawser.api.crd.kinds import ESTABLISHED
from hawser.api.status import is_true
from hawser.api.types import Obj
from hawser.api.validation.rules import (
    Errors,
    each,
    forbidden,
    immutable,
    invalid,
    label_1035_errors,
    one_of,
    required,
    subdomain_errors,
    too_many,
)

_APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_MOST_SELECTABLE = 8


def definition(crd: Obj) -> Errors:
    """Rules of the object itself."""
    spec: Obj = crd.get("spec") or {}
    names: Obj = spec.get("names") or {}
    group, plural = spec.get("group", ""), names.get("plural", "")
    name = (crd.get("metadata") or {}).get("name", "")
    if name != f"{plural}.{group}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield required("spec.group")
    elif bad := subdomain_errors(group):
        yield from each("spec.group", group, bad)
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    elif any(group == one or group.endswith("." + one) for one in _PROTECTED):
        yield from _approval(crd)
    yield from one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    yield from _names(names, "spec.names")
    yield from _versions(spec.get("versions") or [])
    yield from _conversion(spec)
    if spec.get("preserveUnknownFields"):
        yield invalid(
            "spec.preserveUnknownFields", True, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true "
            "in spec.versions[*].schema instead",
        )  # fmt: skip


def _approval(crd: Obj) -> Errors:
    path = f"metadata.annotations[{_APPROVAL}]"
    given = ((crd.get("metadata") or {}).get("annotations") or {}).get(_APPROVAL)
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if given is None:
        yield required(path, f'protected groups must have approval annotation "{_APPROVAL}", {see}')
    elif not given.startswith(("https://", "http://", "unapproved")):
        yield invalid(
            path, given, "protected groups must have approval annotation "
            f'"{_APPROVAL}" with either a URL or a reason starting with "unapproved", {see}',
        )  # fmt: skip


def _names(names: Obj, path: str) -> Errors:
    plural = names.get("plural", "")
    if plural:
        yield from each(f"{path}.plural", plural, label_1035_errors(plural))
    else:
        yield required(f"{path}.plural")
    if singular := names.get("singular"):
        yield from each(f"{path}.singular", singular, label_1035_errors(singular))
    for field in ("kind", "listKind"):
        if value := names.get(field):
            for message in label_1035_errors(value.lower()):
                yield invalid(f"{path}.{field}", value, f"may have mixed case, but should otherwise match: {message}")
        elif field == "kind":
            yield required(f"{path}.kind")
    for field in ("shortNames", "categories"):
        for index, value in enumerate(names.get(field) or ()):
            yield from each(f"{path}.{field}[{index}]", value, label_1035_errors(value))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid(f"{path}.listKind", names["listKind"], "kind and listKind may not be the same")


def _versions(versions: list[Obj]) -> Errors:
    names = [version.get("name", "") for version in versions]
    if len(set(names)) != len(names):
        yield invalid("spec.versions", names, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid("spec.versions", names, "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        yield from _version(version, f"spec.versions[{index}]")


def _version(version: Obj, path: str) -> Errors:
    name = version.get("name", "")
    if bad := label_1035_errors(name):
        yield from each(f"{path}.name", name, bad)
    if version.get("deprecationWarning") is not None and not version.get("deprecated"):
        yield invalid(
            f"{path}.deprecationWarning", version["deprecationWarning"], "can only be set for deprecated versions"
        )
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    else:
        yield from structural.check_root(schema, f"{path}.schema.openAPIV3Schema")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{path}.additionalPrinterColumns[{index}]")
    yield from _selectable(version.get("selectableFields") or [], schema, f"{path}.selectableFields")
    subresources = version.get("subresources") or {}
    if subresources.get("scale") is not None:
        yield from _scale(subresources["scale"], f"{path}.subresources.scale")


def _column(column: Obj, path: str) -> Errors:
    if not column.get("name"):
        yield required(f"{path}.name")
    kind = column.get("type")
    if not kind:
        yield required(f"{path}.type", f"must be one of {','.join(columns.TYPES)}")
    elif kind not in columns.TYPES:
        yield invalid(f"{path}.type", kind, f"must be one of {','.join(columns.TYPES)}")
    text = column.get("jsonPath")
    if not text:
        yield required(f"{path}.jsonPath")
    elif text[0] != ".":
        yield invalid(f"{path}.jsonPath", text, "must be a simple json path starting with .")


def _selectable(fields: list[Obj], schema: Any, path: str) -> Errors:
    if len(fields) > _MOST_SELECTABLE:
        yield too_many(path, len(fields), _MOST_SELECTABLE)
    seen = set()
    for index, field in enumerate(fields):
        text = field.get("jsonPath", "")
        at = f"{path}[{index}].jsonPath"
        if not text:
            yield required(at)
            continue
        part: Any = schema
        for name in text.removeprefix(".").split("."):
            part = (part.get("properties") or {}).get(name) if isinstance(part, dict) else None
        if text.startswith(".metadata") or not text.startswith("."):
            yield invalid(at, text, "must not point to fields in metadata" if text[0] == "." else "is an invalid path")
        elif not isinstance(part, dict):
            yield invalid(at, text, "is an invalid path: does not refer to a valid field")
        elif part.get("type") not in ("string", "integer", "boolean"):
            yield invalid(
                at, text, "must point to a field of type string, boolean or integer. Enum string fields and strings "
                "with formats are allowed.",
            )  # fmt: skip
        if text in seen:
            yield invalid(at, text, "must not be specified more than once")
        seen.add(text)


def _scale(scale: Obj, path: str) -> Errors:
    for field, roots, wanted in (
        ("specReplicasPath", (".spec.",), "should be a json path under .spec"),
        ("statusReplicasPath", (".status.",), "should be a json path under .status"),
        ("labelSelectorPath", (".status.", ".spec."), "should be a json path under either .spec or .status"),
    ):
        text = scale.get(field)
        if not text:
            if field != "labelSelectorPath":
                yield required(f"{path}.{field}")
        elif "[" in text:
            yield invalid(f"{path}.{field}", text, "should be a simple json path without array notation")
        elif not text.startswith(roots):
            yield invalid(f"{path}.{field}", text, wanted)


def _conversion(spec: Obj) -> Errors:
    conversion = spec.get("conversion") or {}
    yield from one_of("spec.conversion.strategy", conversion.get("strategy"), ("None", "Webhook"))
    webhook = conversion.get("webhook")
    if conversion.get("strategy") != "Webhook":
        if webhook is not None:
            yield forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook")
        return
    if spec.get("preserveUnknownFields"):
        yield invalid("spec.conversion.strategy", "Webhook", "must be None if spec.preserveUnknownFields is true")
    if webhook is None:
        yield required("spec.conversion.webhook.clientConfig", "required when strategy is set to Webhook")
        return
    spoken = webhook.get("conversionReviewVersions") or []
    path = "spec.conversion.webhook.conversionReviewVersions"
    if not spoken:
        yield required(path)
    elif not conversion_review(webhook):
        yield invalid(path, spoken, f"must include at least one of {', '.join(VERSIONS)}")
    yield from client_config("spec.conversion.webhook.clientConfig", webhook.get("clientConfig"))


def client_config(path: str, config: Obj | None) -> Errors:
    """Rules of a WebhookClientConfig: by URL or by Service, and TLS either way."""
    if config is None:
        yield required(path, "required when strategy is set to Webhook")
        return
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    if url is not None:
        yield from _url(f"{path}.url", url)
    if service is not None:
        for name in ("name", "namespace"):
            if not service.get(name):
                yield required(f"{path}.service.{name}")
        port = service.get("port", 443)
        if not 1 <= port <= 65535:
            yield invalid(f"{path}.service.port", port, "port is not valid: must be between 1 and 65535, inclusive")


def _url(path: str, url: str) -> Errors:
    form = "; desired format: https://host[/path]"
    parts = urlsplit(url)
    if parts.scheme != "https":
        yield invalid(path, url, f"'https' is the only allowed URL scheme{form}")
    if not parts.hostname:
        yield invalid(path, url, f"host must be specified{form}")
    if parts.username is not None:
        yield invalid(path, parts.username, "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def definition_update(crd: Obj, old: Obj) -> Errors:
    """What may not change."""
    new_spec: Obj = crd.get("spec") or {}
    old_spec: Obj = old.get("spec") or {}
    new_names: Obj = new_spec.get("names") or {}
    old_names: Obj = old_spec.get("names") or {}
    established = is_true(old, ESTABLISHED)
    yield from immutable("spec.group", new_spec.get("group"), old_spec.get("group"))
    yield from immutable("spec.names.plural", new_names.get("plural"), old_names.get("plural"))
    if established:
        yield from immutable("spec.scope", new_spec.get("scope"), old_spec.get("scope"))
        yield from immutable("spec.names.kind", new_names.get("kind"), old_names.get("kind"))
    names = {version.get("name") for version in new_spec.get("versions") or ()}
    for index, stored in enumerate((old.get("status") or {}).get("storedVersions") or ()):
        if stored not in names:
            yield invalid(
                f"status.storedVersions[{index}]",
                stored,
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{stored} and removes {stored} from status.storedVersions",
            )


def definition_status_update(crd: Obj, _old: Obj) -> Errors:
    """A status update: the version that objects are kept in now stays listed."""
    stored = (crd.get("status") or {}).get("storedVersions") or []
    if not stored:
        yield invalid("status.storedVersions", stored, "must have at least one stored version")
    versions = (crd.get("spec") or {}).get("versions") or ()
    names = {version.get("name"): version for version in versions}
    for index, name in enumerate(stored):
        if name not in names:
            yield invalid(f"status.storedVersions[{index}]", name, "must appear in spec.versions")
    storage = next((name for name, version in names.items() if version.get("storage")), "")
    if stored and storage not in stored:
        yield invalid("status.storedVersions", stored, f"must have the storage version {storage}")

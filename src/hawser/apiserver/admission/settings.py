"""``--admission-control-config-file``: what plugins are configured to do.

Source: Kubernetes documentation, "kube-apiserver Admission (v1)" configuration API; "Enforce Pod Security Standards by
Configuring the Built-in Admission Controller".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hawser.api.podsecurity.levels import PREFIX, Policy, policy_of
from hawser.api.podsecurity.workloads import Exemptions
from hawser.api.quota.limited import Limited
from hawser.api.types import Obj

_API = ("apiserver.config.k8s.io/v1", "AdmissionConfiguration")
_POD_SECURITY = "pod-security.admission.config.k8s.io/v1"
_QUOTA = "apiserver.config.k8s.io/v1"
_LIMITED = ("apiGroup", "resource", "matchContains", "matchScopes")
_MODES = ("enforce", "audit", "warn")
_EXEMPT = ("namespaces", "usernames", "runtimeClasses")


@dataclass(frozen=True, slots=True)
class Settings:
    """pod_security: of namespaces without labels. exemptions: whom pod security does not concern.

    limited: what may only be used where a quota says how much.
    """

    pod_security: Policy = field(default_factory=Policy)
    exemptions: Exemptions = field(default_factory=Exemptions)
    limited: tuple[Limited, ...] = ()


def read(path: Path | None) -> Settings:
    """The settings of a file; the defaults without one. OSError; ValueError for what it may not say."""
    if path is None:
        return Settings()
    document = _document(path)
    if (document.get("apiVersion"), document.get("kind")) != _API:
        raise ValueError(f"{path}: apiVersion {_API[0]} and kind {_API[1]} are needed")
    settings = Settings()
    for plugin in document.get("plugins") or ():
        name = plugin.get("name")
        # What is not understood must not be taken for being in force.
        if name not in _READERS:
            raise ValueError(f'{path}: the admission plugin "{name}" has no configuration in this server')
        found = plugin.get("configuration")
        if found is None and plugin.get("path"):
            found = _document(path.parent / plugin["path"])
        settings = _READERS[name](settings, found or {}, str(path))
    return settings


def _document(path: Path) -> Obj:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: an object is needed")
    return found


def _pod_security(settings: Settings, given: Obj, where: str) -> Settings:
    """A PodSecurityConfiguration, v1 (v1beta1 and v1alpha1 are the same)."""
    if given.get("kind") != "PodSecurityConfiguration" or not str(given.get("apiVersion")).startswith(_POD_SECURITY):
        raise ValueError(f"{where}: PodSecurity needs a PodSecurityConfiguration of {_POD_SECURITY}")
    defaults: Obj = given.get("defaults") or {}
    unknown = defaults.keys() - {name for mode in _MODES for name in (mode, f"{mode}-version")}
    exempt: Obj = given.get("exemptions") or {}
    unknown |= exempt.keys() - set(_EXEMPT)
    if unknown:
        raise ValueError(f"{where}: PodSecurity: unknown field {', '.join(sorted(unknown))}")
    labels = {f"{PREFIX}{mode}": "privileged" for mode in _MODES}
    labels |= {PREFIX + name: str(value) for name, value in defaults.items() if value}
    policy, errors = policy_of(labels)
    if errors:
        texts = (f"defaults.{e.field.removeprefix(f'metadata.labels[{PREFIX}')[:-1]}: {e.message}" for e in errors)
        raise ValueError(f"{where}: PodSecurity: {', '.join(texts)}")
    namespaces, users, classes = (_names(exempt.get(name), f"{where}: exemptions.{name}") for name in _EXEMPT)
    return replace(settings, pod_security=policy, exemptions=Exemptions(namespaces, users, classes))


def _quota(settings: Settings, given: Obj, where: str) -> Settings:
    """A ResourceQuotaConfiguration, v1 (v1beta1 and v1alpha1 are the same)."""
    if given.get("kind") != "ResourceQuotaConfiguration" or not str(given.get("apiVersion")).startswith(_QUOTA):
        raise ValueError(f"{where}: ResourceQuota needs a ResourceQuotaConfiguration of {_QUOTA}")
    limited: list[Limited] = []
    for one in given.get("limitedResources") or ():
        unknown = one.keys() - set(_LIMITED)
        if unknown or not one.get("resource"):
            what = f"unknown field {', '.join(sorted(unknown))}" if unknown else "resource is needed"
            raise ValueError(f"{where}: ResourceQuota: limitedResources: {what}")
        scopes = tuple(
            (scope["scopeName"], scope.get("operator", "Exists"), tuple(scope.get("values") or ()))
            for scope in one.get("matchScopes") or ()
        )
        limited.append(
            Limited(one.get("apiGroup") or "", one["resource"], tuple(one.get("matchContains") or ()), scopes)
        )
    return replace(settings, limited=tuple(limited))


def _names(value: Any, where: str) -> frozenset[str]:
    if not isinstance(value or [], list) or not all(isinstance(name, str) and name for name in value or []):
        raise ValueError(f"{where}: a list of names is needed")
    return frozenset(value or [])


_READERS: dict[str, Callable[[Settings, Obj, str], Settings]] = {
    "PodSecurity": _pod_security,
    "ResourceQuota": _quota,
}

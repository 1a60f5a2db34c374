"""The discovery documents: /api, /apis, /api/v1, /apis/GROUP, /apis/GROUP/VERSION and /version.

Source: API concepts, "Discovery API"; API reference, APIGroupList, APIResourceList and apidiscovery.k8s.io/v2
APIGroupDiscoveryList; KEP-3352 (aggregated discovery).
"""

from __future__ import annotations

import base64
import hashlib
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import NamedTuple

import orjson

from hawser.api.definitions import VERSION
from hawser.api.kinds import KINDS, Kind, RemoteVersion
from hawser.api.types import Obj

AGGREGATED_GROUP = "apidiscovery.k8s.io"
AGGREGATED_VERSIONS = ("v2", "v2beta1")
"""Versions of aggregated discovery that clients may ask for; the documents differ in nothing but apiVersion."""

_READ_WRITE = ("get", "patch", "update")
_PROXY = ("create", "delete", "get", "patch", "update")
_STREAM = ("create", "get")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Subresource(NamedTuple):
    """What a subresource speaks; what is empty is as its parent's."""

    verbs: tuple[str, ...] = _READ_WRITE
    kind: str = ""
    group: str = ""
    version: str = ""


_SUBRESOURCES: dict[str, Subresource] = {
    "pods/attach": Subresource(_STREAM, "PodAttachOptions"),
    "pods/binding": Subresource(("create",), "Binding"),
    "pods/eviction": Subresource(("create",), "Eviction", "policy", "v1"),
    "pods/exec": Subresource(_STREAM, "PodExecOptions"),
    "pods/log": Subresource(("get",)),
    "pods/portforward": Subresource(_STREAM, "PodPortForwardOptions"),
    "pods/proxy": Subresource(_PROXY, "PodProxyOptions"),
    "nodes/proxy": Subresource(_PROXY, "NodeProxyOptions"),
    "services/proxy": Subresource(_PROXY, "ServiceProxyOptions"),
    "namespaces/finalize": Subresource(("update",)),
    "serviceaccounts/token": Subresource(("create",), "TokenRequest", "authentication.k8s.io", "v1"),
    "certificatesigningrequests/approval": Subresource(),
}
_SCALE = Subresource(_READ_WRITE, "Scale", "autoscaling", "v1")


def subresource(kind: Kind, name: str) -> Subresource:
    """What kind's subresource of that name speaks, its kind filled in."""
    found = _SCALE if name == "scale" else _SUBRESOURCES.get(f"{kind.plural}/{name}", Subresource())
    return found if found.kind else found._replace(kind=kind.kind)


def api_versions(server_address: str = "") -> Obj:
    """/api: the versions of the core group. server_address is ``host:port`` as clients reach it."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def api_group_list(kinds: Iterable[Kind] = KINDS, remote: Iterable[RemoteVersion] = ()) -> Obj:
    """/apis: every named group. remote: what other servers serve, rows of ``kinds`` or not."""
    groups = [_group(name, versions) for name, versions in _versions(kinds, remote).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(group: str, kinds: Iterable[Kind] = KINDS, remote: Iterable[RemoteVersion] = ()) -> Obj | None:
    """/apis/GROUP; None when the group is not served."""
    versions = _versions(kinds, remote).get(group) if group else None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)} if versions else None


def api_resource_list(group: str, version: str, kinds: Iterable[Kind] = KINDS) -> Obj | None:
    """/api/v1 (group "") or /apis/GROUP/VERSION: resources and subresources; None when it is not served."""
    rows = _rows(group, version, kinds)
    if not rows:
        return None
    resources = []
    for kind in rows:
        resources.append(_resource(kind))
        resources += [_subresource(kind, name) for name in sorted(kind.subresources)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": rows[0].api_version,
        "resources": resources,
    }


def aggregated(
    *, core: bool, version: str = "v2", kinds: Iterable[Kind] = KINDS, remote: Sequence[RemoteVersion] = ()
) -> Obj:
    """/api (core) or /apis (every named group) as an APIGroupDiscoveryList; version is of AGGREGATED_VERSIONS.

    Whose server does not say what it has is Stale, and empty, as in kube-aggregator.
    """
    rows = tuple(kinds)
    stale = {(one.group, one.version) for one in remote if not one.fresh}
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {"version": each, "freshness": "Stale"}
                if (group, each) in stale
                else {
                    "version": each,
                    "resources": [_aggregated_resource(kind) for kind in _rows(group, each, rows)],
                    "freshness": "Current",
                }
                for each in versions
            ],
        }
        for group, versions in _versions(rows, remote).items()
        if (not group) is core
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{AGGREGATED_GROUP}/{version}",
        "metadata": {},
        "items": items,
    }


def aggregated_content_type(version: str = "v2") -> str:
    """The Content-Type of an aggregated document, which tells clients that it is one."""
    return f"application/json;g={AGGREGATED_GROUP};v={version};as=APIGroupDiscoveryList"


def accepted_aggregation(accept: str) -> str | None:
    """The version of aggregated discovery that an Accept header asks for first; None when it asks for the plain form.

    Media ranges are taken in the order written, as kube-apiserver does for ranges of equal weight.
    """
    for media_range in accept.split(","):
        media, *written = (part.strip() for part in media_range.split(";"))
        parameters = dict(item.split("=", 1) for item in written if "=" in item)
        if media not in ("application/json", "application/*", "*/*"):
            continue
        if "as" not in parameters:
            return None
        version = parameters.get("v", "")
        asked = (parameters.get("g"), parameters["as"])
        if asked == (AGGREGATED_GROUP, "APIGroupDiscoveryList") and version in AGGREGATED_VERSIONS:
            return version
    return None


def version_document() -> Obj:
    """/version: the Kubernetes version that is served; build metadata names Hawser's own."""
    major, minor, _ = VERSION.split(".")
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"v{VERSION}+hawser.{metadata.version('hawser')}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        # Not Go: clients only show these two, but some parsers want them to be there.
        "goVersion": "",
        "compiler": f"{sys.implementation.name}-{platform.python_version()}",
        "platform": f"{sys.platform}/{_ARCHITECTURES.get(machine, machine)}",
    }


def etag(document: Obj) -> str:
    """The ETag of a document: quoted, upper case, as discovery clients compare it."""
    return f'"{hashlib.sha512(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest().upper()}"'


def _versions(kinds: Iterable[Kind], remote: Iterable[RemoteVersion] = ()) -> dict[str, list[str]]:
    """Each group's versions, in table order, those of other servers in theirs."""
    elsewhere = [(one.group, one.version) for one in remote]
    own = dict.fromkeys((kind.group, kind.version) for kind in kinds)
    found: dict[str, list[str]] = {}
    for group, version in dict.fromkeys((*(each for each in own if each not in elsewhere), *elsewhere)):
        found.setdefault(group, []).append(version)
    return found


def _rows(group: str, version: str, kinds: Iterable[Kind]) -> list[Kind]:
    return sorted((k for k in kinds if (k.group, k.version) == (group, version)), key=lambda k: k.plural)


def _group(name: str, versions: Sequence[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource(kind: Kind) -> Obj:
    resource: Obj = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        resource["storageVersionHash"] = _storage_hash(kind)
    return resource


def _subresource(kind: Kind, name: str) -> Obj:
    speaks = subresource(kind, name)
    resource: Obj = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if speaks.version:
        resource |= {"group": speaks.group, "version": speaks.version}
    return resource | {"kind": speaks.kind, "verbs": list(speaks.verbs)}


def _aggregated_resource(kind: Kind) -> Obj:
    resource: Obj = {
        "resource": kind.plural,
        # An empty group and version stand for those of the list the resource is in.
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if kind.subresources:
        resource["subresources"] = [
            {
                "subresource": name,
                "responseKind": {"group": speaks.group, "version": speaks.version, "kind": speaks.kind},
                "verbs": list(speaks.verbs),
            }
            for name, speaks in ((name, subresource(kind, name)) for name in sorted(kind.subresources))
        ]
    return resource


def _storage_hash(kind: Kind) -> str:
    """The opaque hash of the stored version: the first eight bytes of SHA-256 of ``group/version/kind``."""
    return base64.b64encode(hashlib.sha256("/".join(kind.gvk).encode()).digest()[:8]).decode()

"""What is said of volumes: plugins that are gone, files that lie over one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hawser.api.types import Obj
from hawser.api.warnings.storage import claim_spec

_GONE = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
# Of single sources: the field with the name that is shown.
_MAPPED = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName"), "downwardAPI": ("DownwardAPI", "")}
_PROJECTED = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "name"), "downwardAPI": ("DownwardAPI", "")}
_CERTIFICATE = (
    ("certificateChainPath", "PodCertificate chain"),
    ("keyPath", "PodCertificate key"),
    ("credentialBundlePath", "PodCertificate credential bundle"),
)
_FILES = frozenset((*_MAPPED, "projected"))
Place = tuple[str, str]
"""A path and what puts a file there, as shown."""


def volumes(listed: Iterable[Obj], path: str) -> Iterator[str]:
    """Of a pod's volumes."""
    for i, volume in enumerate(listed):
        if gone := _GONE.keys() & volume.keys():
            yield from (f"{path}[{i}].{field}: {_GONE[field]}" for field in gone)
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is not None:
            yield from claim_spec(template.get("spec") or {}, f"{path}[{i}].ephemeral.volumeClaimTemplate.spec")
        if _FILES & volume.keys():
            yield from _overlaps(volume)


def _overlaps(volume: Obj) -> Iterator[str]:
    name = volume.get("name", "")
    for field, (kind, called) in _MAPPED.items():
        source = volume.get(field)
        if source is not None:
            what = _called(kind, source.get(called, "") if called else None)
            places = [(item.get("path", ""), "") for item in source.get("items") or ()]
            yield from (f'volume "{name}" ({what}): overlapping paths: {found}' for found in _over(places))
    projected = volume.get("projected")
    if projected is None:
        return
    placed: list[Place] = []
    for source in projected.get("sources") or ():
        if not source:
            yield f'volume "{name}" (Projected) has no sources provided'
        placed += _places(source)
    yield from (f'volume "{name}" (Projected): overlapping paths: {found}' for found in _over(placed))


def _called(kind: str, name: str | None) -> str:
    return kind if name is None else f'{kind} "{name}"'


def _places(source: Obj) -> list[Place]:
    for field, (kind, called) in _PROJECTED.items():
        if (found := source.get(field)) is not None and found.get("items"):
            what = _called(kind, found.get(called, "") if called else None)
            return [(item.get("path", ""), what) for item in found["items"]]
    if (token := source.get("serviceAccountToken")) is not None:
        return [(token.get("path", ""), "ServiceAccountToken")]
    if (bundle := source.get("clusterTrustBundle")) is not None:
        name = bundle.get("name") or bundle.get("signerName") or ""
        return [(bundle.get("path", ""), _called("ClusterTrustBundle", name))]
    certificate = source.get("podCertificate") or {}
    return [(certificate[field], what) for field, what in _CERTIFICATE if certificate.get(field)]


def _over(places: Iterable[Place]) -> Iterator[str]:
    """``"a/b" with "a"`` for each two of which one is the other, or is in it."""
    seen: list[Place] = []
    for place in places:
        path, what = place[0].rstrip("/"), place[1]
        for other, other_what in seen:
            if path and other and (f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")):
                yield f"{_shown(path, what)} with {_shown(other, other_what)}"
        seen.append((path, what))


def _shown(path: str, what: str) -> str:
    return f'"{path}" ({what})' if what else f'"{path}"'

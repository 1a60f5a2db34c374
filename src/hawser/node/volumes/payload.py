"""The files of configMap, secret, downwardAPI and projected volumes: pure, from the objects they name.

Source: API reference, Volume; Kubernetes documentation, "Projected Volumes".
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.node.pod import refs, view
from hawser.node.volumes.atomic import File
from hawser.node.volumes.errors import VolumeError

DEFAULT_MODE = 0o644
PAYLOAD_TYPES = ("configMap", "secret", "downwardAPI", "projected")


@dataclass(frozen=True, slots=True)
class Contents:
    """What volumes are filled from: objects by name (absent when they do not exist), and service account tokens.

    tokens: by (audience, expirationSeconds), for the pod's service account, or why there is none.
    """

    config_maps: Mapping[str, Obj] = field(default_factory=dict)
    secrets: Mapping[str, Obj] = field(default_factory=dict)
    tokens: Mapping[tuple[str, int], str | APIError] = field(default_factory=dict)
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    allocatable: Obj = field(default_factory=dict)


def wanted(pod: Obj) -> tuple[set[str], set[str], set[tuple[str, int]]]:
    """The ConfigMaps, Secrets and tokens that a pod's volumes are filled from."""
    maps: set[str] = set()
    secrets: set[str] = set()
    tokens: set[tuple[str, int]] = set()
    for volume in view.volumes(pod):
        for kind, source in _sources(volume):
            if kind == "configMap":
                maps.add(source.get("name") or "")
            elif kind == "secret":
                secrets.add(source.get("secretName") or source.get("name") or "")
            elif kind == "serviceAccountToken":
                tokens.add((source.get("audience") or "", int(source.get("expirationSeconds") or 3600)))
    return maps, secrets, tokens


def shows_metadata(pod: Obj) -> bool:
    """Whether a volume shows the pod's own labels or annotations, which may change while it runs."""
    sources = (kind for volume in view.volumes(pod) for kind, _ in _sources(volume))
    return "downwardAPI" in sources


def files(pod: Obj, volume: Obj, contents: Contents) -> dict[str, File]:
    """The files of one volume. Raises VolumeError when something it needs is missing."""
    kind = next(k for k in PAYLOAD_TYPES if k in volume)
    source = volume[kind]
    default = source.get("defaultMode")
    mode = DEFAULT_MODE if default is None else int(default)
    result: dict[str, File] = {}
    problems: dict[str, None] = {}
    for part, piece in _sources(volume):
        try:
            result.update(_part(pod, part, piece, mode, contents))
        except VolumeError as err:
            problems[str(err)] = None
    if problems:
        words = list(problems)
        raise VolumeError(words[0] if len(words) == 1 else f"[{', '.join(words)}]")
    return result


def _sources(volume: Obj) -> Iterator[tuple[str, Obj]]:
    for kind in PAYLOAD_TYPES:
        if kind not in volume:
            continue
        if kind != "projected":
            yield kind, volume[kind] or {}
            continue
        for source in volume[kind].get("sources") or ():
            yield from source.items()


def _part(pod: Obj, kind: str, source: Obj, mode: int, contents: Contents) -> dict[str, File]:
    match kind:
        case "configMap":
            name = source.get("name") or ""
            obj = contents.config_maps.get(name)
            if obj is None:
                if source.get("optional"):
                    return {}
                raise VolumeError(f'configmap "{name}" not found')
            data = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
            data |= {k: base64.b64decode(v) for k, v in (obj.get("binaryData") or {}).items()}
            return _items(data, source, mode, "configmap references non-existent config key: {}")
        case "secret":
            name = source.get("secretName") or source.get("name") or ""
            obj = contents.secrets.get(name)
            if obj is None:
                if source.get("optional"):
                    return {}
                raise VolumeError(f'secret "{name}" not found')
            data = {k: base64.b64decode(v or "") for k, v in (obj.get("data") or {}).items()}
            return _items(data, source, mode, "references non-existent secret key: {}")
        case "downwardAPI":
            return {i["path"]: _downward(pod, i, mode, contents) for i in source.get("items") or ()}
        case "serviceAccountToken":
            wanted_token = (source.get("audience") or "", int(source.get("expirationSeconds") or 3600))
            token = contents.tokens.get(wanted_token)
            if not isinstance(token, str):
                raise VolumeError(f"failed to fetch token: {token.message if token else 'none was asked for'}")
            # Only the pod's user may read it, unless fsGroup opens it to a group.
            shared = (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None
            uid = _single_user(pod)
            return {source["path"]: File(token.encode(), 0o600 if shared or uid >= 0 else mode, uid)}
    raise VolumeError(f"projected volumes of this node have no {kind}")


def _items(data: Mapping[str, bytes], source: Obj, mode: int, missing: str) -> dict[str, File]:
    items = source.get("items")
    if not items:
        return {name: File(value, mode) for name, value in data.items()}
    result = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise VolumeError(missing.format(item["key"]))
        own = item.get("mode")
        result[item["path"]] = File(data[item["key"]], mode if own is None else int(own))
    return result


def _downward(pod: Obj, item: Obj, mode: int, contents: Contents) -> File:
    try:
        if ref := item.get("fieldRef"):
            text = refs.field(pod, ref["fieldPath"], contents.pod_ips, contents.host_ips)
        else:
            text = refs.resource(pod, item["resourceFieldRef"], None, contents.allocatable)
    except refs.RefError as err:
        raise VolumeError(str(err)) from None
    own = item.get("mode")
    return File(text.encode(), mode if own is None else int(own))


def _single_user(pod: Obj) -> int:
    """The user that all containers run as, or -1 when they differ or the image decides."""
    shared = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = set()
    for _, container in view.every_container(pod):
        own = (container.get("securityContext") or {}).get("runAsUser")
        users.add(own if own is not None else shared)
    user = users.pop() if len(users) == 1 else None
    return -1 if user is None else int(user)

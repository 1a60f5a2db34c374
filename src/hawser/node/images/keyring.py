"""Credentials for registries from pull secrets, found by the kubelet's rules.

Source: Kubernetes documentation, "Images", "Interpretation of config.json": keys may have a port, a path and ``*`` in
parts of the host; of several that match the longer names come first.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hawser.api.types import Obj
from hawser.node.images.names import repository

_DEFAULT = "index.docker.io"


@dataclass(frozen=True, slots=True)
class Secret:
    """The Secret that credentials come from, as pull records name it."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry is shown. auth: fields of CRI's AuthConfig."""

    auth: tuple[tuple[str, str], ...]
    secret: Secret = field(compare=False)

    @property
    def digest(self) -> str:
        """Tells credentials apart without telling them."""
        return hashlib.sha256(json.dumps(self.auth).encode()).hexdigest()


def credentials(image: str, secrets: Iterable[Obj]) -> list[Credentials]:
    """Those of pull secrets that fit an image, in the order in which they are tried; each only once."""
    known: dict[str, list[Credentials]] = {}
    for secret in secrets:
        for key, found in _entries(secret):
            known.setdefault(key, []).append(found)
    wanted = repository(image)
    matching = [found for key in sorted(known, reverse=True) if _matches(key, wanted) for found in known[key]]
    if not matching and wanted.startswith("docker.io/"):
        matching = known.get(_DEFAULT, [])
    return list(dict.fromkeys(matching))


def _entries(secret: Obj) -> Iterable[tuple[str, Credentials]]:
    """A secret's credentials by the registry they are for; what cannot be read is nobody's."""
    metadata = secret.get("metadata") or {}
    where = Secret(metadata.get("namespace") or "", metadata.get("name") or "", metadata.get("uid") or "")
    data = secret.get("data") or {}
    for name, inner in ((".dockerconfigjson", "auths"), (".dockercfg", "")):
        if name not in data:
            continue
        try:
            loaded = json.loads(base64.b64decode(data[name]))
            for registry, entry in ((loaded.get(inner) or {}) if inner else loaded).items():
                yield _key(registry), Credentials(_auth(entry), where)
        except (ValueError, AttributeError):
            continue


def _key(registry: str) -> str:
    """A registry's host and path; versions of the registry's API and the scheme are no part of it."""
    place = registry.removeprefix("https://").removeprefix("http://")
    host, _, path = place.partition("/")
    if f"{path}/".startswith(("v1/", "v2/")):
        path = path[3:]
    return f"{host}/{path}".rstrip("/")


def _matches(key: str, wanted: str) -> bool:
    """Whether credentials for a key are for a repository: host by its parts, port, and the beginning of the path."""
    host, _, path = key.partition("/")
    other, _, rest = wanted.partition("/")
    name, _, port = host.partition(":")
    other_name, _, other_port = other.partition(":")
    parts, others = name.split("."), other_name.split(".")
    if port != other_port or len(parts) != len(others) or not rest.startswith(path):
        return False
    return all(fnmatchcase(theirs, ours) for ours, theirs in zip(parts, others, strict=True))


def _auth(entry: Obj) -> tuple[tuple[str, str], ...]:
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode().strip("\0").partition(":")
    auth = {"username": user, "password": password}
    if entry.get("identitytoken"):
        auth["identity_token"] = entry["identitytoken"]
    if entry.get("registrytoken"):
        auth["registry_token"] = entry["registrytoken"]
    return tuple(auth.items())

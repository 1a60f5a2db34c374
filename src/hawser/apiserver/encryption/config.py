"""Which resources are encrypted at rest, and with which keys: apiserver.config.k8s.io/v1 EncryptionConfiguration.

Source: Kubernetes documentation, "Encrypting Confidential Data at Rest". New values are written with the first key of
the first provider; all of them can be read. A resource is the first entry's that names it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from hawser.apiserver.encryption.providers import AESCBCKey, AESGCMKey, Identity, Provider, SecretBoxKey, Wrong
from hawser.store.base import StoreRefused
from hawser.store.sealing import PREFIX, NoSeal, said

_AES = (16, 24, 32)
_KEYED: dict[str, tuple[Callable[[str, bytes], Provider], tuple[int, ...]]] = {
    "aescbc": (AESCBCKey, _AES),
    "aesgcm": (AESGCMKey, _AES),
    "secretbox": (SecretBoxKey, (32,)),
}

Entries = list[tuple[tuple[str, ...], tuple[Provider, ...]]]
"""Patterns of resources and their providers, the first to write with."""


class ConfigurationError(ValueError):
    """An encryption configuration that cannot be followed; the message says where and why."""


class Encryption:
    """The seal of a store by a configuration."""

    def __init__(self, entries: Entries) -> None:
        # Entries and what was found in them change together: the commit thread may be reading.
        self._rules: tuple[Entries, dict[str, tuple[Provider, ...]]] = (entries, {})
        self._without = NoSeal()

    def follow(self, other: Encryption) -> Callable[[str], bool]:
        """Go by another configuration from now on; answers which keys' values are stored otherwise now."""
        before = Encryption(self._rules[0])
        self._rules = (other._rules[0], {})
        return lambda key: before._written(key) != self._written(key)

    def _written(self, key: str) -> tuple[bytes, bytes]:
        """What tells the key that values of a place are written with from others."""
        providers = self._providers(key)
        return (providers[0].prefix, providers[0].secret) if providers else (b"", b"")

    def seal(self, key: str, value: bytes) -> bytes:
        """See ``store.sealing.Seal``."""
        providers = self._providers(key)
        if not providers:
            return value
        return providers[0].prefix + providers[0].encrypt(value, key.encode())

    def unseal(self, key: str, value: bytes) -> tuple[bytes, bool]:
        """See ``store.sealing.Seal``."""
        providers = self._providers(key)
        if not providers:
            return self._without.unseal(key, value)
        sealed = value.startswith(PREFIX)
        problem = ""
        for number, provider in enumerate(providers):
            if value.startswith(provider.prefix) and bool(provider.prefix) is sealed:
                try:
                    return provider.decrypt(value[len(provider.prefix) :], key.encode()), number > 0
                except Wrong as error:
                    # Keys may share a name: the next one may be it.
                    problem = str(error)
        if problem:
            raise StoreRefused(f"{key} cannot be decrypted with any key of that name ({said(value)}): {problem}")
        if sealed:
            raise StoreRefused(
                f"{key} is encrypted ({said(value)}), and the encryption configuration has no such key for it: add the "
                "key after those that are there"
            )
        raise StoreRefused(
            f"{key} is not encrypted, and the encryption configuration does not allow that: add the provider "
            "identity: {} after the others until everything is encrypted"
        )

    def _providers(self, key: str) -> tuple[Provider, ...]:
        group, resource, _ = key.split("/", 2)
        name = f"{resource}." if group == "core" else f"{resource}.{group}"
        entries, known = self._rules
        found = known.get(name)
        if found is None:
            found = known[name] = next((providers for names, providers in entries if _named(name, names)), ())
        return found


def _named(name: str, patterns: tuple[str, ...]) -> bool:
    """name: RESOURCE.GROUP, with nothing after the dot for the core group."""
    resource, _, group = name.partition(".")
    wanted = {name, f"*.{group}", "*.*"}
    if not group:
        wanted.add(resource)
    return not wanted.isdisjoint(patterns)


def read(path: Path) -> Encryption:
    """Read a configuration file. Raises OSError, ConfigurationError."""
    try:
        return parse(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ConfigurationError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def parse(document: Any) -> Encryption:
    """Understand a configuration. Raises ConfigurationError."""
    if not isinstance(document, dict):
        raise ConfigurationError("the configuration must be an object")
    if (document.get("apiVersion"), document.get("kind")) != (
        "apiserver.config.k8s.io/v1",
        "EncryptionConfiguration",
    ):
        raise ConfigurationError("an EncryptionConfiguration of apiserver.config.k8s.io/v1 is needed")
    listed = document.get("resources")
    if not isinstance(listed, list) or not listed:
        raise ConfigurationError("resources: Required value: at least one resource is needed")
    return Encryption([_entry(f"resources[{number}]", entry) for number, entry in enumerate(listed)])


def _entry(path: str, entry: Any) -> tuple[tuple[str, ...], tuple[Provider, ...]]:
    if not isinstance(entry, dict) or not entry.get("resources"):
        raise ConfigurationError(f"{path}.resources: Required value: at least one resource is needed")
    if not isinstance(entry.get("providers"), list) or not entry["providers"]:
        raise ConfigurationError(f"{path}.providers: Required value: at least one provider is needed")
    providers: list[Provider] = []
    for number, provider in enumerate(entry["providers"]):
        providers += _provider(f"{path}.providers[{number}]", provider)
    return tuple(map(str, entry["resources"])), tuple(providers)


def _provider(path: str, provider: Any) -> Iterator[Provider]:
    if not isinstance(provider, dict) or len(provider) != 1:
        raise ConfigurationError(f"{path}: more or less than one provider specified in a single element")
    ((name, settings),) = provider.items()
    if name == "identity":
        yield Identity()
        return
    if name == "kms":
        raise ConfigurationError(f"{path}.kms: key management services are not supported; use a key in this file")
    if name not in _KEYED:
        raise ConfigurationError(f"{path}: unknown provider {name!r}; there are identity, {', '.join(_KEYED)}")
    make, sizes = _KEYED[name]
    keys = settings.get("keys") if isinstance(settings, dict) else None
    if not isinstance(keys, list) or not keys:
        raise ConfigurationError(f"{path}.{name}.keys: Required value: at least one key is needed")
    for number, key in enumerate(keys):
        yield _key(f"{path}.{name}.keys[{number}]", key, make, sizes)


def _key(path: str, key: Any, make: Callable[[str, bytes], Provider], sizes: tuple[int, ...]) -> Provider:
    if not isinstance(key, dict) or not key.get("name") or not key.get("secret"):
        raise ConfigurationError(f"{path}: a name and a secret are required")
    if ":" in str(key["name"]):
        raise ConfigurationError(f"{path}.name: must not contain a colon")
    try:
        secret = b64decode(str(key["secret"]), validate=True)
    except binascii.Error:
        raise ConfigurationError(f"{path}.secret: secrets must be base64 encoded") from None
    if len(secret) not in sizes:
        raise ConfigurationError(
            f"{path}.secret: secret is not of the expected length, got {len(secret)}, expected one of {list(sizes)}"
        )
    return make(str(key["name"]), secret)

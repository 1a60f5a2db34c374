"""Encryption configurations: which key writes, which read, and what is refused."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.apiserver.encryption.config import ConfigurationError, Encryption, parse
from hawser.store.base import StoreRefused
from hawser.store.sealing import NoSeal

SECRET = "core/secrets/default/password"
VALUE = orjson.dumps({"data": {"password": "aHVudGVyMg=="}})


def keyed(provider: str, *names: str, size: int = 32) -> dict[str, Any]:
    keys = [{"name": name, "secret": b64encode(name.encode().ljust(size, b"."))} for name in names]
    return {provider: {"keys": [{**key, "secret": key["secret"].decode()} for key in keys]}}


def configuration(*providers: dict[str, Any], resources: tuple[str, ...] = ("secrets",)) -> Encryption:
    return parse(document({"resources": list(resources), "providers": list(providers)}))


def document(*entries: Any) -> dict[str, Any]:
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
    return {**head, "resources": list(entries)}


@pytest.mark.parametrize("provider", ["aescbc", "aesgcm", "secretbox"])
@given(value=st.binary(max_size=200))
def test_every_provider_gives_back_what_it_was_given(provider: str, value: bytes) -> None:
    seal = configuration(keyed(provider, "k1"))
    stored = seal.seal(SECRET, value)
    assert stored.startswith(f"k8s:enc:{provider}:v1:k1:".encode())
    assert stored != seal.seal(SECRET, value)
    assert seal.unseal(SECRET, stored) == (value, False)


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("provider", ["aescbc", "aesgcm"])
def test_aes_has_keys_of_three_sizes(provider: str, size: int) -> None:
    seal = configuration(keyed(provider, "k", size=size))
    assert seal.unseal(SECRET, seal.seal(SECRET, VALUE)) == (VALUE, False)


def test_keys_are_rotated_by_their_order() -> None:
    plain = VALUE
    old = configuration(keyed("aescbc", "k1"), {"identity": {}})
    stored = old.seal(SECRET, VALUE)
    assert old.unseal(SECRET, plain) == (VALUE, True)
    both = configuration(keyed("aesgcm", "k2"), keyed("aescbc", "k1"), {"identity": {}})
    assert both.unseal(SECRET, stored) == (VALUE, True)
    assert both.unseal(SECRET, both.seal(SECRET, VALUE)) == (VALUE, False)
    decrypting = configuration({"identity": {}}, keyed("aescbc", "k1"))
    assert decrypting.seal(SECRET, VALUE) == VALUE
    assert decrypting.unseal(SECRET, stored) == (VALUE, True)


def test_a_new_secret_under_an_old_name_is_told_apart() -> None:
    stored = configuration(keyed("aesgcm", "k", size=16)).seal(SECRET, VALUE)
    both = configuration(keyed("aesgcm", "k", size=32), keyed("aesgcm", "k", size=16))
    assert both.unseal(SECRET, stored) == (VALUE, True)


def test_a_value_in_another_place_or_changed_is_refused() -> None:
    seal = configuration(keyed("aesgcm", "k1"))
    stored = seal.seal(SECRET, VALUE)
    for key, value in (("core/secrets/default/other", stored), (SECRET, stored[:-1] + bytes([stored[-1] ^ 1]))):
        with pytest.raises(StoreRefused, match=r'cannot be decrypted with any key of that name .*key "k1"'):
            seal.unseal(key, value)


def test_a_missing_key_is_named() -> None:
    stored = configuration(keyed("aescbc", "k1")).seal(SECRET, VALUE)
    for seal in (configuration(keyed("aescbc", "k2"), {"identity": {}}), configuration({"identity": {}}), NoSeal()):
        with pytest.raises(StoreRefused, match=f'{SECRET} is encrypted .provider aescbc, key "k1"'):
            seal.unseal(SECRET, stored)
    with pytest.raises(StoreRefused, match="is not encrypted"):
        configuration(keyed("aescbc", "k1")).unseal(SECRET, VALUE)


@pytest.mark.parametrize(
    ("resources", "key", "encrypted"),
    [
        (("secrets",), SECRET, True),
        (("secrets",), "core/configmaps/a/b", False),
        (("secrets.",), SECRET, True),
        (("*.",), "core/configmaps/a/b", True),
        (("*.",), "apps/deployments/a/b", False),
        (("deployments.apps",), "apps/deployments/a/b", True),
        (("deployments",), "apps/deployments/a/b", False),
        (("*.example.com",), "example.com/widgets/a", True),
        (("*.*",), "apps/deployments/a/b", True),
    ],
)
def test_resources_are_named_or_meant_by_wildcards(resources: tuple[str, ...], key: str, encrypted: bool) -> None:
    stored = configuration(keyed("secretbox", "k"), resources=resources).seal(key, VALUE)
    assert (stored != VALUE) is encrypted


def test_the_first_entry_that_names_a_resource_is_its() -> None:
    first = {"resources": ["secrets"], "providers": [{"identity": {}}]}
    seal = parse(document(first, {"resources": ["*.*"], "providers": [keyed("aesgcm", "k")]}))
    assert seal.seal(SECRET, VALUE) == VALUE
    assert seal.seal("core/configmaps/a/b", VALUE) != VALUE


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"providers": [{"identity": {}}]}, "resources[0].resources: Required value"),
        ({"resources": ["secrets"]}, "resources[0].providers: Required value"),
        ({"resources": ["secrets"], "providers": [{}]}, "more or less than one provider"),
        ({"resources": ["secrets"], "providers": [{"kms": {}}]}, "key management services are not supported"),
        ({"resources": ["secrets"], "providers": [{"rot13": {}}]}, "unknown provider 'rot13'"),
        ({"resources": ["secrets"], "providers": [{"aescbc": {}}]}, "aescbc.keys: Required value"),
        (
            {"resources": ["secrets"], "providers": [keyed("secretbox", "k", size=16)]},
            "secret is not of the expected length, got 16, expected one of [32]",
        ),
        (
            {"resources": ["secrets"], "providers": [{"aescbc": {"keys": [{"name": "k", "secret": "?"}]}}]},
            "secrets must be base64 encoded",
        ),
        (
            {"resources": ["secrets"], "providers": [{"aescbc": {"keys": [{"secret": "eA=="}]}}]},
            "a name and a secret are required",
        ),
    ],
)
def test_what_cannot_be_followed_says_why(entry: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(document(entry))
    assert message in str(caught.value)

"""Signatures of tokens."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import jws
from hawser.api.jws import KeyFileError, SigningKey


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


KEYS = {
    "RS256": _pem(rsa.generate_private_key(65537, 2048)),
    "ES256": _pem(ec.generate_private_key(ec.SECP256R1())),
    "ES384": _pem(ec.generate_private_key(ec.SECP384R1())),
    "ES512": _pem(ec.generate_private_key(ec.SECP521R1())),
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_a_key_signs_its_public_part_verifies(algorithm: str) -> None:
    key = SigningKey(KEYS[algorithm], "test")
    parts = jws.parse(key.sign({"iss": "me"}))
    assert parts is not None
    assert parts.header == {"alg": algorithm, "kid": key.public.id}
    assert parts.claims == {"iss": "me"}
    (public,) = jws.verifying_keys(KEYS[algorithm], "test")
    assert public.id == key.public.id
    assert public.verify(parts)
    assert public.jwk()["alg"] == algorithm


@pytest.mark.parametrize("algorithm", KEYS)
def test_another_key_or_other_claims_do_not_verify(algorithm: str) -> None:
    key = SigningKey(KEYS[algorithm], "test")
    token = key.sign({"iss": "me"})
    head, _, signature = token.split(".")
    forged = jws.parse(f"{head}.{jws.encode(b'{}')}.{signature}")
    assert forged is not None
    assert not key.public.verify(forged)
    other = SigningKey(jws.new_signing_key(), "test")
    parts = jws.parse(token)
    assert parts is not None
    assert not other.public.verify(parts)


def test_a_token_that_names_no_algorithm_is_never_good() -> None:
    key = SigningKey(KEYS["ES256"], "test")
    head = jws.encode(b'{"alg":"none"}')
    parts = jws.parse(f"{head}.{jws.encode(b'{}')}.")
    assert parts is not None
    assert not key.public.verify(parts)


@given(st.text())
def test_any_text_is_looked_at_without_failing(text: str) -> None:
    assert jws.parse(text) is None or text.count(".") == 2


@given(st.binary())
def test_base64url_goes_there_and_back(data: bytes) -> None:
    assert jws.decode(jws.encode(data)) == data
    assert jws.encode(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_file_may_hold_several_keys_and_one_without_keys_is_refused() -> None:
    assert len(jws.verifying_keys(KEYS["RS256"] + KEYS["ES256"], "test")) == 2
    with pytest.raises(KeyFileError):
        jws.verifying_keys(b"nothing", "test")
    with pytest.raises(KeyFileError):
        SigningKey(b"-----BEGIN nothing-----", "test")

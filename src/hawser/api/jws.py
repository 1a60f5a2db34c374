"""JSON Web Signatures as service account tokens need them: compact form, RS256 and ES256/384/512 (RFC 7515, 7518).

Written here because the server has ``cryptography`` anyway and needs four algorithms of one form; a JWT library would
be one more import for every start. ``cryptography`` itself is imported by the first token that is made or looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from hawser.api.types import Obj

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# Bits of the curve: algorithm, name in a JWK, hash, bytes of one coordinate (RFC 7518, section 3.4).
_CURVES = {
    256: ("ES256", "P-256", "SHA256", 32),
    384: ("ES384", "P-384", "SHA384", 48),
    521: ("ES512", "P-521", "SHA512", 66),
}


class KeyFileError(ValueError):
    """A key file that holds no key of a kind that tokens are signed with."""


class TokenError(Exception):
    """A token that is not what it says to be; the text is for the one who asks about it."""


def encode(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


@dataclass(frozen=True, slots=True)
class Parts:
    """A compact token, taken apart but not verified. signed: what the signature is over."""

    header: Obj
    claims: Obj
    signed: bytes
    signature: bytes


def parse(token: str) -> Parts | None:
    """None when this is no compact token of JSON claims."""
    pieces = token.split(".")
    if len(pieces) != 3:
        return None
    try:
        header, claims = (orjson.loads(decode(piece)) for piece in pieces[:2])
        signature = decode(pieces[2])
    except (ValueError, binascii.Error):
        return None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        return None
    return Parts(header, claims, f"{pieces[0]}.{pieces[1]}".encode(), signature)


class VerifyingKey:
    """One public key. id: base64url of the SHA-256 of its DER form, as Kubernetes derives it."""

    def __init__(self, key: RSAPublicKey | EllipticCurvePublicKey) -> None:
        from cryptography.hazmat.primitives import serialization

        self._key = key
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = encode(hashlib.sha256(der).digest())
        self.algorithm = _algorithm(key)

    def verify(self, parts: Parts) -> bool:
        """Whether this key signed it, by its own algorithm whatever the header says."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        if parts.header.get("alg") != self.algorithm:
            return False
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                _, _, digest, size = _CURVES[self._key.curve.key_size]
                if len(parts.signature) != 2 * size:
                    return False
                r, s = (int.from_bytes(half) for half in (parts.signature[:size], parts.signature[size:]))
                algorithm = ec.ECDSA(getattr(hashes, digest)())
                self._key.verify(utils.encode_dss_signature(r, s), parts.signed, algorithm)
            else:
                self._key.verify(parts.signature, parts.signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> Obj:
        """The key as a JSON Web Key (RFC 7517)."""
        from cryptography.hazmat.primitives.asymmetric import ec

        common = {"use": "sig", "kid": self.id, "alg": self.algorithm}
        if isinstance(self._key, ec.EllipticCurvePublicKey):
            _, curve, _, size = _CURVES[self._key.curve.key_size]
            point = self._key.public_numbers()
            return {
                **common,
                "kty": "EC",
                "crv": curve,
                "x": encode(point.x.to_bytes(size)),
                "y": encode(point.y.to_bytes(size)),
            }
        numbers = self._key.public_numbers()
        n, e = (encode(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        return {**common, "kty": "RSA", "n": n, "e": e}


class SigningKey:
    """The private key that new tokens are signed with."""

    def __init__(self, pem: bytes, source: str) -> None:
        """source: what an error names. KeyFileError."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"{source}: {error}") from error
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise KeyFileError(f"{source}: neither an RSA nor an elliptic curve key")
        self._key = key
        self.public = VerifyingKey(key.public_key())

    def sign(self, claims: Obj) -> str:
        """A compact token."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        header = {"alg": self.public.algorithm, "kid": self.public.id}
        signed = f"{encode(orjson.dumps(header))}.{encode(orjson.dumps(claims))}"
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            _, _, digest, size = _CURVES[self._key.curve.key_size]
            der = self._key.sign(signed.encode(), ec.ECDSA(getattr(hashes, digest)()))
            r, s = utils.decode_dss_signature(der)
            signature = r.to_bytes(size) + s.to_bytes(size)
        else:
            signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encode(signature)}"


def verifying_keys(pem: bytes, source: str) -> list[VerifyingKey]:
    """Every key of a PEM file: public keys, private keys (their public part) and certificates. KeyFileError."""
    found = []
    for block in _blocks(pem):
        try:
            found.append(VerifyingKey(_public(block)))
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"{source}: {error}") from error
    if not found:
        raise KeyFileError(f"{source}: data does not contain any valid RSA or ECDSA public keys")
    return found


def new_signing_key() -> bytes:
    """A new P-256 key, PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _blocks(pem: bytes) -> list[bytes]:
    end = b"-----END "
    pieces = pem.split(b"-----BEGIN ")[1:]
    return [b"-----BEGIN " + piece for piece in pieces if end in piece and not piece.startswith(b"EC PARAMETERS")]


def _public(block: bytes) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if b"PRIVATE KEY-----" in block:
        return serialization.load_pem_private_key(block, None).public_key()
    if block.startswith(b"-----BEGIN CERTIFICATE"):
        return x509.load_pem_x509_certificate(block).public_key()
    return serialization.load_pem_public_key(block)


def _algorithm(key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPublicKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size in _CURVES:
        return _CURVES[key.curve.key_size][0]
    raise TypeError("neither an RSA key nor one of the curves P-256, P-384 and P-521")

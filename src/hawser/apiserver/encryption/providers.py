"""Ways to encrypt a value, in the forms in which kube-apiserver stores them.

Source: Kubernetes documentation, "Encrypting Confidential Data at Rest", providers. Stored is
``k8s:enc:PROVIDER:v1:KEYNAME:`` and then: aescbc an IV and AES-CBC with PKCS #7 padding; aesgcm a nonce and AES-GCM,
which binds the value to its key in the store; secretbox a nonce and XSalsa20 with Poly1305.
"""

from __future__ import annotations

from os import urandom
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_BLOCK = 16
_NONCE = 12
_BOX_NONCE = 24


class Wrong(Exception):
    """A value was not encrypted with this key, or not for this place, or is damaged."""


class Provider(Protocol):
    """One key.

    prefix: what values of it begin with; empty for values that are not encrypted. secret: the key itself.
    """

    prefix: bytes
    secret: bytes

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        """What follows the prefix. place: the value's key in the store."""
        ...

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        """The value. Raises Wrong."""
        ...


class Identity:
    """Not encrypted."""

    prefix = b""
    secret = b""

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        """The value."""
        return value

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        """The value."""
        return data


class AESCBCKey:
    """Confidential, but not protected against change: kept for values that were written so."""

    def __init__(self, name: str, secret: bytes) -> None:
        self.prefix = f"k8s:enc:aescbc:v1:{name}:".encode()
        self.secret = secret
        self._key = algorithms.AES(secret)

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        """A random IV, and the padded value."""
        iv = urandom(_BLOCK)
        padder = padding.PKCS7(_BLOCK * 8).padder()
        encryptor = Cipher(self._key, modes.CBC(iv)).encryptor()
        return iv + encryptor.update(padder.update(value) + padder.finalize()) + encryptor.finalize()

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        """The value. Raises Wrong."""
        unpadder = padding.PKCS7(_BLOCK * 8).unpadder()
        try:
            decryptor = Cipher(self._key, modes.CBC(data[:_BLOCK])).decryptor()
            plain = decryptor.update(data[_BLOCK:]) + decryptor.finalize()
            return unpadder.update(plain) + unpadder.finalize()
        except ValueError as error:
            raise Wrong(str(error)) from error


class AESGCMKey:
    """Fast; a key must not encrypt more than 200,000 values."""

    def __init__(self, name: str, secret: bytes) -> None:
        self.prefix = f"k8s:enc:aesgcm:v1:{name}:".encode()
        self.secret = secret
        self._key = AESGCM(secret)

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        """A random nonce, the value and its tag."""
        nonce = urandom(_NONCE)
        return nonce + self._key.encrypt(nonce, value, place)

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        """The value. Raises Wrong."""
        try:
            return self._key.decrypt(data[:_NONCE], data[_NONCE:], place)
        except (InvalidTag, ValueError) as error:
            raise Wrong("the tag does not fit") from error


class SecretBoxKey:
    """Strong, for as many values as there are."""

    def __init__(self, name: str, secret: bytes) -> None:
        from nacl.secret import SecretBox

        self.prefix = f"k8s:enc:secretbox:v1:{name}:".encode()
        self.secret = secret
        self._box = SecretBox(secret)

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        """A random nonce, the tag and the value."""
        return bytes(self._box.encrypt(value, urandom(_BOX_NONCE)))

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        """The value. Raises Wrong."""
        from nacl.exceptions import CryptoError

        try:
            return bytes(self._box.decrypt(data))
        except (CryptoError, ValueError) as error:
            raise Wrong("the tag does not fit") from error

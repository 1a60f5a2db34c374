"""Values that are encrypted on disk: what the log asks of whoever knows the keys. Memory has them plain."""

from __future__ import annotations

from typing import Protocol

from hawser.store.base import StoreRefused

PREFIX = b"k8s:enc:"
"""Every encrypted value begins like this, as Kubernetes stores them; JSON never does."""


class Seal(Protocol):
    """Encrypts and decrypts the values of some keys. It is used from one thread at a time."""

    def seal(self, key: str, value: bytes) -> bytes:
        """What is stored for a value."""
        ...

    def unseal(self, key: str, value: bytes) -> tuple[bytes, bool]:
        """The value that was stored, and whether it would be stored otherwise today.

        Raises StoreRefused when it cannot be decrypted.
        """
        ...


class NoSeal:
    """Without keys: values that are encrypted cannot be read."""

    def seal(self, key: str, value: bytes) -> bytes:
        """The value."""
        return value

    def unseal(self, key: str, value: bytes) -> tuple[bytes, bool]:
        """The value. Raises StoreRefused when it is encrypted."""
        if value.startswith(PREFIX):
            raise StoreRefused(
                f"{key} is encrypted ({said(value)}), and there is no configuration with its key: start with the "
                "--encryption-provider-config that it was written with"
            )
        return value, False


def said(value: bytes) -> str:
    """What an encrypted value says of itself: ``provider aescbc, key "key1"``."""
    parts = value.split(b":", 5)
    if len(parts) < 6:
        return "its prefix cannot be read"
    return f'provider {parts[2].decode("utf-8", "replace")}, key "{parts[4].decode("utf-8", "replace")}"'

"""What a controller has written itself is no reason for it to look again."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.client.informer import Informer


class OwnWrites:
    """Takes answers to own writes into an informer, and knows the last of them again.

    Of several at once the others are looked at once too often.
    """

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._version = ""

    def observe(self, written: Obj) -> None:
        """See ``Informer.observe``."""
        self._version = written["metadata"]["resourceVersion"]
        self._informer.observe(written)

    def has(self, obj: Obj | None) -> bool:
        """Whether this is what the last write has made."""
        return obj is not None and obj["metadata"].get("resourceVersion") == self._version

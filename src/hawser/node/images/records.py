"""Which image was pulled with what: a pod whose secrets did not get an image must show that it may have it.

Files are the kubelet's own (``image_manager/{pulling,pulled}``), so that the two can follow each other. What was not
pulled here (imported, preloaded) is everybody's: policy NeverVerifyPreloadedImages, the default. Source: KEP-2535.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hawser.api.types import Obj
from hawser.node.images.keyring import Credentials, Secret
from hawser.node.images.names import repository

_VERSION = "kubelet.config.k8s.io/v1beta1"


class PullRecords:
    """The records in a folder; read once, when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self._pulling = folder / "pulling"
        self._pulled = folder / "pulled"
        self._known: dict[str, Obj] | None = None
        self._intents: set[str] = set()

    def intend(self, image: str) -> None:
        """A pull begins: should the agent die, the image counts as pulled by whoever."""
        self._load()
        self._intents.add(image)
        _write(self._pulling / _name(image), {"kind": "ImagePullIntent", "apiVersion": _VERSION, "image": image})

    def failed(self, image: str) -> None:
        """The pull came to nothing."""
        self._intents.discard(image)
        (self._pulling / _name(image)).unlink(missing_ok=True)

    def pulled(self, image: str, reference: str, used: Credentials | None) -> None:
        """The image is here. reference: the runtime's id of it; used: None when the registry asked for nothing."""
        self._note(image, reference, used)
        self.failed(image)

    def must_pull(self, image: str, reference: str, shown: Iterable[Credentials]) -> bool:
        """Whether somebody with these credentials must pull an image that is here to be allowed to use it."""
        record = self._load().get(reference)
        if record is None:
            return image in self._intents
        known = record.get("credentialMapping", {}).get(repository(image))
        if known is None:
            return True
        if known.get("nodePodsAccessible"):
            return False
        rows = [(row["credentialHash"], _secret(row)) for row in known.get("kubernetesSecrets") or ()]
        for one in shown:
            for digest, secret in rows:
                if digest == one.digest or secret == one.secret:
                    # So that the other one of the two may change, too.
                    self._note(image, reference, one)
                    return False
        return True

    def prune(self, references: Iterable[str]) -> None:
        """Drops what is known of images that are gone. references: of all images that are here."""
        here = set(references)
        for reference in [r for r in self._load() if r not in here]:
            self._load().pop(reference)
            (self._pulled / _name(reference)).unlink(missing_ok=True)

    def references(self) -> set[str]:
        """Every image that was pulled here."""
        return set(self._load())

    def _note(self, image: str, reference: str, used: Credentials | None) -> None:
        known = self._load()
        mapping = dict((known.get(reference) or {}).get("credentialMapping") or {})
        row = _row(mapping.get(repository(image)) or {}, used)
        if mapping.get(repository(image)) == row:
            return
        mapping[repository(image)] = row
        record = known[reference] = {
            "kind": "ImagePulledRecord",
            "apiVersion": _VERSION,
            "lastUpdatedTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "imageRef": reference,
            "credentialMapping": mapping,
        }
        _write(self._pulled / _name(reference), record)

    def _load(self) -> dict[str, Obj]:
        if self._known is None:
            self._known = {}
            for folder in (self._pulling, self._pulled):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for record in _read(self._pulled):
                self._known[record.get("imageRef") or ""] = record
            self._intents = {record.get("image") or "" for record in _read(self._pulling)}
        return self._known


def _row(before: Obj, used: Credentials | None) -> Obj:
    """What is known of a repository's credentials with those of one more pull."""
    if used is None or before.get("nodePodsAccessible"):
        return {"nodePodsAccessible": True}
    secret = used.secret
    rows: list[dict[str, Any]] = [r for r in before.get("kubernetesSecrets") or () if _secret(r) != secret]
    fresh = {"uid": secret.uid, "namespace": secret.namespace, "name": secret.name, "credentialHash": used.digest}
    return {"kubernetesSecrets": sorted([*rows, fresh], key=lambda r: (r["namespace"], r["name"], r["uid"]))}


def _secret(row: Obj) -> Secret:
    return Secret(row["namespace"], row["name"], row["uid"])


def _name(text: str) -> str:
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()}"


def _read(folder: Path) -> list[Obj]:
    found = []
    for path in folder.iterdir():
        try:
            found.append(json.loads(path.read_text()))
        except (ValueError, OSError):
            path.unlink(missing_ok=True)
    return found


def _write(path: Path, record: Obj) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(record))
    fresh.chmod(0o600)
    fresh.replace(path)

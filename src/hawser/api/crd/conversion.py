"""ConversionReview: objects of a definition in one version made into another by a webhook.

Source: Kubernetes documentation, "Versions in CustomResourceDefinitions", webhook request and response; API reference,
apiextensions.k8s.io/v1 ConversionReview. The texts are apiextensions-apiserver's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hawser.api.types import Obj

VERSIONS = ("v1", "v1beta1")
"""Versions of ConversionReview that are spoken, the preferred one first."""
_GROUP = "apiextensions.k8s.io"
_MUTABLE = ("labels", "annotations")


class Garbage(Exception):
    """The answer is none that can be used; the text says why."""


def version(webhook: Obj) -> str:
    """The version of ConversionReview to speak with a (validated) webhook; empty when there is none."""
    return next((v for v in webhook.get("conversionReviewVersions") or () if v in VERSIONS), "")


def build(spoken: str, uid: str, objects: Sequence[Obj], wanted: str) -> Obj:
    """The review to send. wanted: the apiVersion to convert to."""
    asked = {"uid": uid, "desiredAPIVersion": wanted, "objects": list(objects)}
    return {"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{spoken}", "request": asked}


def read(review: Any, spoken: str, uid: str, objects: Sequence[Obj], wanted: str) -> list[Obj]:
    """The converted objects, their metadata kept but for labels and annotations. Garbage for an unusable answer."""
    if not isinstance(review, dict):
        raise Garbage("the answer is not an object")
    found = (review.get("apiVersion"), review.get("kind"))
    if found != (f"{_GROUP}/{spoken}", "ConversionReview"):
        raise Garbage(
            f"expected webhook response of {_GROUP}/{spoken}, Kind=ConversionReview, "
            f"got {found[0] or ''}, Kind={found[1] or ''}"
        )
    response = review.get("response")
    if not isinstance(response, dict):
        raise Garbage("no response provided")
    if response.get("uid") != uid and (spoken == "v1" or response.get("uid")):
        raise Garbage(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        raise Garbage(result.get("message") or "the webhook did not say why")
    converted = response.get("convertedObjects")
    if not isinstance(converted, list) or len(converted) != len(objects):
        count = len(converted) if isinstance(converted, list) else 0
        raise Garbage(f"webhook returned {count} objects, expected {len(objects)}")
    return [
        _checked(index, made, was, wanted) for index, (made, was) in enumerate(zip(converted, objects, strict=True))
    ]


def _checked(index: int, made: Any, was: Obj, wanted: str) -> Obj:
    if not isinstance(made, dict):
        raise Garbage(f"invalid converted object at index {index}: not an object")
    if made.get("apiVersion") != wanted:
        raise Garbage(
            f"invalid converted object at index {index}: invalid groupVersion (expected {wanted}, "
            f"received {made.get('apiVersion') or ''})"
        )
    if made.get("kind") != was.get("kind"):
        raise Garbage(
            f"invalid converted object at index {index}: invalid kind (expected {was.get('kind')}, "
            f"received {made.get('kind') or ''})"
        )
    metadata, kept = made.get("metadata"), was["metadata"]
    if not isinstance(metadata, dict):
        raise Garbage(f"invalid metadata of object at index {index}: missing metadata")
    for name in ("name", "namespace", "uid"):
        if metadata.get(name) != kept.get(name):
            raise Garbage(
                f'invalid metadata of object at index {index}: metadata.{name}: mutated "{kept.get(name) or ""}" to '
                f'"{metadata.get(name) or ""}"'
            )
    settled = {key: value for key, value in kept.items() if key not in _MUTABLE}
    settled |= {key: metadata[key] for key in _MUTABLE if metadata.get(key)}
    return {**made, "metadata": settled}

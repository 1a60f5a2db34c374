"""Validation of ObjectMeta. Source: API reference, ObjectMeta; "Object Names and IDs"; "Finalizers"; "Owners"."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation.rules import (
    IMMUTABLE,
    Errors,
    NameRule,
    each,
    forbidden,
    immutable,
    invalid,
    labels,
    qualified_name_errors,
    required,
    too_long,
)

MAX_ANNOTATIONS = 256 * 1024
_PLAIN = frozenset(("name", "namespace", "generateName", "uid", "creationTimestamp", "resourceVersion"))
"""Most new objects have no other metadata."""
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def metadata(meta: Obj, namespaced: bool, name_rule: NameRule, any_finalizer: bool = False) -> Errors:
    """metadata of an object that is created or written; its name has been generated where it is to be.

    any_finalizer: finalizers need not be of a domain, as with kinds that are not Kubernetes' core's.
    """
    if prefix := meta.get("generateName"):
        # What follows the prefix makes a trailing dash legal.
        tried = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        yield from each("metadata.generateName", prefix, name_rule(tried))
    if name := meta.get("name"):
        if bad := name_rule(name):
            yield from each("metadata.name", name, bad)
    else:
        yield required("metadata.name", "name or generateName is required")
    if namespaced:
        if not meta.get("namespace"):
            yield required("metadata.namespace")
    elif meta.get("namespace"):
        yield forbidden("metadata.namespace", "not allowed on this type")
    if meta.keys() <= _PLAIN:
        return
    if meta.get("generation", 0) < 0:
        yield invalid("metadata.generation", meta["generation"], "must be greater than or equal to 0")
    if meta.get("labels"):
        yield from labels(meta["labels"], "metadata.labels")
    if meta.get("annotations"):
        yield from annotation_map(meta["annotations"], "metadata.annotations")
    if meta.get("ownerReferences"):
        yield from _owners(meta["ownerReferences"])
    for i, finalizer in enumerate(meta.get("finalizers") or ()):
        yield from each("metadata.finalizers", finalizer, qualified_name_errors(finalizer))
        if "/" not in finalizer and not any_finalizer and finalizer not in _STANDARD_FINALIZERS:
            yield invalid(
                f"metadata.finalizers[{i}]",
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            )
    if {"orphan", "foregroundDeletion"} <= set(meta.get("finalizers") or ()):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        yield invalid("metadata.finalizers", meta["finalizers"], text)


def annotation_map(value: dict[str, str] | None, path: str) -> Errors:
    """Keys are qualified names in any case; all together are at most 256 KiB."""
    total = 0
    for key, text in (value or {}).items():
        total += len(key) + len(text)
        yield from each(path, key, qualified_name_errors(key.lower()))
    # Counted in bytes only where characters come near the limit.
    if total > MAX_ANNOTATIONS // 4 and sum(
        len(key.encode()) + len(text.encode("utf-8", "replace")) for key, text in (value or {}).items()
    ) > (MAX_ANNOTATIONS):
        yield too_long(path, MAX_ANNOTATIONS)


def _owners(references: list[Obj]) -> Errors:
    path = "metadata.ownerReferences"
    controller = ""
    for reference in references:
        version = reference.get("apiVersion", "")
        if not version:
            yield invalid(f"{path}.apiVersion", version, "version must not be empty")
        for field in ("kind", "name", "uid"):
            if not reference.get(field):
                yield invalid(f"{path}.{field}", reference.get(field, ""), "must not be empty")
        if reference.get("kind") == "Event" and version == "v1":
            yield invalid(path, reference, "/v1, Kind=Event is disallowed from being an owner")
        if reference.get("controller"):
            if controller:
                yield invalid(
                    path,
                    references,
                    "Only one reference can have Controller set to true. Found "
                    f'"true" in references for {controller} and {reference.get("name", "")}',
                )
            controller = reference.get("name", "") or controller


def metadata_update(meta: Obj, old: Obj) -> Errors:
    """What an update may not change. Fields that the new metadata leaves out are the server's to carry over."""
    for field in ("name", "namespace", "uid", "creationTimestamp"):
        # Without a generator for each: every update passes here.
        if (value := meta.get(field)) and value != old.get(field):
            yield invalid(f"metadata.{field}", value, IMMUTABLE)
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if meta.get(field) is not None:
            yield from immutable(f"metadata.{field}", meta[field], old.get(field))
    if "generation" in meta and meta["generation"] < old.get("generation", 0):
        yield invalid("metadata.generation", meta["generation"], "must not be decremented")
    if old.get("deletionTimestamp"):
        added = sorted(set(meta.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            listed = ", ".join(f'"{name}"' for name in added)
            yield forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}",
            )

"""One served resource: a row of the kind table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One served resource.

    subresources: names below an object, as in ``pods/NAME/log``.
    selectable: field selector keys beyond metadata.name and metadata.namespace (dotted paths).
    generation: the server counts ``metadata.generation`` up when something outside metadata and status changes.
    form_of: the row in whose form objects are kept, where this one is another version of theirs. field_names: what
    a selectable field is called there, where that differs. deprecated: the warning that clients get.
    api_version: ``v1`` or ``apps/v1``. gvk: group, version and kind.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    selectable: tuple[str, ...] = ()
    generation: bool = False
    form_of: Kind | None = None
    field_names: tuple[tuple[str, str], ...] = ()
    deprecated: str = ""
    # Asked several times by every request, so they are made once.
    api_version: str = field(init=False, compare=False, repr=False)
    gvk: tuple[str, str, str] = field(init=False, compare=False, repr=False)
    has_status: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        made = {
            "api_version": f"{self.group}/{self.version}" if self.group else self.version,
            "gvk": (self.group, self.version, self.kind),
            "has_status": "status" in self.subresources,
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        # Of all requests: a string knows its hash.
        return hash(self.plural)

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The URL path of the collection, of an object or of its subresource (API concepts, "Resource URIs")."""
        parts = ["/api/v1" if not self.group else f"/apis/{self.group}/{self.version}"]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: v10, v2, v1, v11beta2, v1beta1, v1alpha1, others by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)

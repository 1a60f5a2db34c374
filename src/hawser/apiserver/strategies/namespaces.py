"""Namespaces: their phase, the ``kubernetes`` finalizer, and what may be created in them.

Source: Namespaces walkthrough ("Deletion"), admission controllers reference (NamespaceLifecycle), the
``kubernetes.io/metadata.name`` label.
"""

from __future__ import annotations

from hawser.api.errors import forbidden, not_found
from hawser.api.kinds import NAMESPACE, Kind
from hawser.api.types import Obj
from hawser.apiserver.strategies.base import Lookup, Strategy

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease")
_PROTECTED = ("default", "kube-system", "kube-public")


class NamespaceStrategy(Strategy):
    """See the module."""

    returns_deleted = True

    def prepare_create(self, obj: Obj) -> None:
        """Active, to be finalized by the namespace controller, labelled by name."""
        finalizers = [f for f in (obj.get("spec") or {}).get("finalizers") or [] if f != FINALIZER]
        obj["spec"] = {"finalizers": [*finalizers, FINALIZER]}
        obj["status"] = {"phase": "Active"}
        _label(obj)

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """Finalizers change only through the finalize subresource."""
        obj["spec"] = old["spec"]
        _label(obj)

    def grace_seconds(self, obj: Obj, asked: int | None) -> None:
        """A namespace may not be deleted when the system needs it; its end is the namespace controller's."""
        name = obj["metadata"]["name"]
        if name in _PROTECTED:
            raise forbidden("", NAMESPACE.plural, name, "this namespace may not be deleted")

    def begin_deletion(self, obj: Obj) -> None:
        """Terminating."""
        obj.setdefault("status", {})["phase"] = "Terminating"

    def may_remove(self, obj: Obj) -> bool:
        """Once everybody in spec.finalizers is done."""
        return not (obj.get("spec") or {}).get("finalizers")


def _label(obj: Obj) -> None:
    metadata = obj["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}


class Lifecycle:
    """NamespaceLifecycle: nothing is created in namespaces that do not exist or are being terminated."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def admit(self, kind: Kind, namespace: str) -> None:
        """APIError 404 or 403 unless objects of a kind may be created in the namespace."""
        found = self._lookup.phase(namespace)
        if found is None:
            raise not_found("", NAMESPACE.plural, namespace)
        if found == "Terminating":
            error = forbidden(
                kind.group,
                kind.plural,
                "",
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )
            error.details = {
                **(error.details or {}),
                "causes": [
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            }
            raise error

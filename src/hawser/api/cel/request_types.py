"""The types of what admission expressions see: ``request``, ``namespaceObject``, ``authorizer``.

Source: Kubernetes documentation, "Validating Admission Policy"; ValidatingAdmissionPolicy API reference, field
``spec.validations[].expression``.
"""

from __future__ import annotations

from hawser.api.cel.library.authorizer import AUTHORIZER
from hawser.api.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Field, Shape, Type, list_of, map_of

_TEXTS = list_of(STRING)
_LABELS = map_of(STRING, STRING)


def _object(title: str, /, **fields: Type) -> Type:
    coded = any(one.kind == "timestamp" or one.shape.coded for one in fields.values())
    shape = Shape(fields={key: Field(key, one) for key, one in fields.items()}, coded=coded)
    return Type("object", title, shape=shape)


_KIND = _object("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _object("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _object(
    "kubernetes.UserInfo", username=STRING, uid=STRING, groups=_TEXTS, extra=map_of(STRING, _TEXTS)
)  # fmt: skip
REQUEST = _object(
    "kubernetes.AdmissionRequest",
    kind=_KIND, resource=_RESOURCE, subResource=STRING, requestKind=_KIND, requestResource=_RESOURCE,
    requestSubResource=STRING, name=STRING, namespace=STRING, operation=STRING, userInfo=_USER, dryRun=BOOL,
    options=DYN,
)  # fmt: skip
NAMESPACE = _object(
    "kubernetes.Namespace",
    metadata=_object(
        "kubernetes.NamespaceMetadata",
        name=STRING, generateName=STRING, namespace=STRING, labels=_LABELS, annotations=_LABELS, UID=STRING,
        creationTimestamp=TIMESTAMP, deletionGracePeriodSeconds=INT, deletionTimestamp=TIMESTAMP,
        generation=INT, resourceVersion=STRING, finalizers=_TEXTS,
    ),
    spec=_object("kubernetes.NamespaceSpec", finalizers=_TEXTS),
    status=_object("kubernetes.NamespaceStatus", phase=STRING),
)  # fmt: skip
VARIABLES: dict[str, Type] = {
    "object": DYN,
    "oldObject": DYN,
    "namespaceObject": NAMESPACE,
    "request": REQUEST,
    "authorizer": Type("opaque", AUTHORIZER),
    "authorizer.requestResource": Type("opaque", "kubernetes.authorization.ResourceCheck"),
}
"""What every admission expression sees, in the order of its values."""

"""Rows of the kind table that a CustomResourceDefinition makes: one a served version."""

from __future__ import annotations

from dataclasses import dataclass, field

from hawser.api.crd import columns
from hawser.api.crd.schema import Schema
from hawser.api.kinds import Kind, version_order
from hawser.api.printers.base import Printer
from hawser.api.status import is_true
from hawser.api.types import Obj

TERMINATING = "Terminating"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
ESTABLISHED = "Established"


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale subresource: dotted paths, each as the names of its fields; selector: empty without one."""

    replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of the objects of one version.

    source: the version as its CRD has it. stored: the apiVersion that objects are kept in. indexed: selectable fields
    of every version. warning: shown to whoever uses a deprecated version; empty otherwise. webhook: who converts
    between versions (a WebhookConversion); None when they do not differ.
    """

    definition: str
    source: Obj
    schema: Schema
    printer: Printer
    stored: str
    indexed: tuple[str, ...]
    scale: Scale | None = None
    warning: str = ""
    terminating: bool = False
    webhook: Obj | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CustomKind(Kind):
    """A row with names that a CRD chose, and the model of its version."""

    singular_name: str = ""
    listed_as: str = ""
    model: Model = field(default=None, compare=False, repr=False)  # type: ignore[assignment]

    @property
    def singular(self) -> str:
        return self.singular_name

    @property
    def list_kind(self) -> str:
        return self.listed_as


def rows(crd: Obj) -> list[CustomKind]:
    """The rows of a CRD's served versions, the preferred one first; none unless it is established."""
    if not is_true(crd, ESTABLISHED):
        return []
    return [_row(crd, version) for version in versions(crd) if version.get("served")]


def storage_row(crd: Obj) -> CustomKind:
    """The row of the version that objects are kept in, served or not."""
    return next(_row(crd, version) for version in crd["spec"]["versions"] if version.get("storage"))


def versions(crd: Obj) -> list[Obj]:
    """The versions in order of preference: stable ones first, newer before older."""
    return sorted(crd["spec"]["versions"], key=lambda v: version_order(v["name"]))


def _row(crd: Obj, version: Obj) -> CustomKind:
    spec = crd["spec"]
    names: Obj = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    subresources = version.get("subresources") or {}
    return CustomKind(
        spec["group"],
        version["name"],
        names["kind"],
        names["plural"],
        spec["scope"] == "Namespaced",
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        tuple(name for name in ("scale", "status") if name in subresources),
        selectable=_selectable(version),
        generation=True,
        singular_name=names.get("singular") or names["kind"].lower(),
        listed_as=names.get("listKind") or f"{names['kind']}List",
        model=_model(crd, version),
    )


def _selectable(version: Obj) -> tuple[str, ...]:
    return tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ())


def _model(crd: Obj, version: Obj) -> Model:
    spec = crd["spec"]
    storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
    warning = ""
    if version.get("deprecated"):
        warning = version.get("deprecationWarning") or (
            f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
        )
    scale = (version.get("subresources") or {}).get("scale")
    return Model(
        crd["metadata"]["name"],
        version,
        Schema((version.get("schema") or {}).get("openAPIV3Schema") or {}),
        columns.printer(version),
        f"{spec['group']}/{storage}",
        tuple(dict.fromkeys(path for v in spec["versions"] for path in _selectable(v))),
        _scale(scale) if scale is not None else None,
        warning,
        is_true(crd, TERMINATING) or "deletionTimestamp" in crd["metadata"],
        _webhook(spec),
    )


def _webhook(spec: Obj) -> Obj | None:
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy") != "Webhook" or len(spec["versions"]) == 1:
        return None
    webhook: Obj = conversion["webhook"]
    return webhook


def _scale(scale: Obj) -> Scale:
    return Scale(
        _names(scale["specReplicasPath"]), _names(scale["statusReplicasPath"]), _names(scale.get("labelSelectorPath"))
    )


def _names(path: str | None) -> tuple[str, ...]:
    return tuple((path or "").split("."))[1:]

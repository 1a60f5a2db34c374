"""What writers of a CustomResourceDefinition are warned of: what this server is asked for but does not do."""

from __future__ import annotations

from hawser.api.crd import columns
from hawser.api.types import Obj


def warnings(crd: Obj) -> list[str]:
    """What this server does not do although the CRD asks for it."""
    return [
        f"spec.versions[{i}].additionalPrinterColumns[{j}].jsonPath: {column['jsonPath']} is not supported by this "
        "version of Hawser: the column stays empty"
        for i, version in enumerate((crd.get("spec") or {}).get("versions") or ())
        for j, column in enumerate(version.get("additionalPrinterColumns") or ())
        if column.get("jsonPath") and columns.path_or_none(column["jsonPath"]) is None
    ]

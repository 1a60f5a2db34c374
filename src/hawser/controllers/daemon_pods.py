"""The pods that a DaemonSet makes for its nodes. Pure."""

from __future__ import annotations

from hawser.api.daemons import spec_on
from hawser.api.types import Obj
from hawser.controllers import history, pods

GENERATION_LABEL = "pod-template-generation"
_GENERATION = "deprecated.daemonset.template.generation"


def generation(ds: Obj) -> str:
    """How often its template has changed, as the server counts it; "" when unknown."""
    return str((ds["metadata"].get("annotations") or {}).get(_GENERATION, ""))


def new_pod(ds: Obj, digest: str, node: str) -> Obj:
    """The pod for a node. digest: of the template's revision."""
    template = ds["spec"]["template"]
    made = pods.from_template(ds, template)
    labels = {**(made["metadata"].get("labels") or {}), history.LABEL: digest}
    if generation(ds):
        labels[GENERATION_LABEL] = generation(ds)
    made["metadata"]["labels"] = labels
    made["spec"] = spec_on(ds, node)
    return made


def is_updated(ds: Obj, pod: Obj, digest: str) -> bool:
    """Whether a pod is of the current template."""
    labels = pod["metadata"].get("labels") or {}
    current = generation(ds)
    return labels.get(history.LABEL) == digest or bool(current and labels.get(GENERATION_LABEL) == current)

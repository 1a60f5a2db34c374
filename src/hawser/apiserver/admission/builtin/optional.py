"""Plugins that are off unless ``--enable-admission-plugins`` names them.

Source: Kubernetes documentation, "Admission Control in Kubernetes".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hawser.api.errors import Cause, FieldError, not_found
from hawser.api.extended_resources import is_native
from hawser.api.kind import Kind
from hawser.api.kinds import BY_GVK, NAMESPACE, POD, SERVICE
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused, together
from hawser.apiserver.authorization.base import Attributes, Decision
from hawser.apiserver.committed import Committed

if TYPE_CHECKING:
    from hawser.apiserver.resources import Resources

_WRITES = (Operation.CREATE, Operation.UPDATE)
_PARTS = ("initContainers", "containers", "ephemeralContainers")
_HOSTNAME = "kubernetes.io/hostname"


def _containers(spec: Obj) -> Iterator[tuple[str, Obj]]:
    for part in _PARTS:
        for number, container in enumerate(spec.get(part) or ()):
            yield f"spec.{part}[{number}]", container


class AlwaysAdmit(Plugin):
    """Does nothing."""

    name = "AlwaysAdmit"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Nothing."""
        return False


class AlwaysDeny(Plugin):
    """Refuses everything."""

    name = "AlwaysDeny"

    def validate(self, request: Request) -> None:
        """APIError 403. What the server itself needs is not asked about."""
        if request.user.name != "system:apiserver":
            raise refused(request, "admission control is denying all modifications")


class AlwaysPullImages(Plugin):
    """Nobody runs an image that only another one's credentials have brought to the node."""

    name = "AlwaysPullImages"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Pods."""
        return kind is POD and subresource in ("", "ephemeralcontainers") and operation in _WRITES

    def mutate(self, request: Request) -> None:
        """Every image is asked for at the registry each time."""
        if request.old is not None and not self._has_new_image(request):
            return
        for _, container in _containers(request.new.get("spec") or {}):
            container["imagePullPolicy"] = "Always"

    def validate(self, request: Request) -> None:
        """Nothing has taken that back. APIError 403."""
        if request.old is not None and not self._has_new_image(request):
            return
        wrong = [
            FieldError(
                Cause.NOT_SUPPORTED,
                f"{path}.imagePullPolicy",
                'supported values: "Always"',
                container.get("imagePullPolicy"),
            )
            for path, container in _containers(request.new.get("spec") or {})
            if container.get("imagePullPolicy") != "Always"
        ]
        if wrong:
            raise refused(request, together([str(error) for error in wrong]))

    def _has_new_image(self, request: Request) -> bool:
        old = {container.get("image") for _, container in _containers((request.old or {}).get("spec") or {})}
        return any(container.get("image") not in old for _, container in _containers(request.new.get("spec") or {}))


class DenyServiceExternalIPs(Plugin):
    """No Service takes addresses that are not the cluster's to give."""

    name = "DenyServiceExternalIPs"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Services."""
        return kind is SERVICE and not subresource and operation in _WRITES

    def validate(self, request: Request) -> None:
        """Those that are there already may stay. APIError 403."""
        given = set((request.new.get("spec") or {}).get("externalIPs") or ())
        had = set(((request.old or {}).get("spec") or {}).get("externalIPs") or ())
        if given - had:
            raise refused(request, "Use of external IPs is denied by admission control")


class ExtendedResourceToleration(Plugin):
    """Pods that ask for an extended resource tolerate the nodes that are set aside for it."""

    name = "ExtendedResourceToleration"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Pods."""
        return kind is POD and not subresource and operation in _WRITES

    def mutate(self, request: Request) -> None:
        """One toleration a resource."""
        spec = request.new.get("spec") or {}
        asked = {
            name
            for path, container in _containers(spec)
            if "ephemeral" not in path
            for name in (container.get("resources") or {}).get("requests") or {}
            if not is_native(name)
        }
        have = spec.get("tolerations") or []
        added = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in sorted(asked)]
        missing = [toleration for toleration in added if toleration not in have]
        if missing:
            spec["tolerations"] = [*have, *missing]


class LimitPodHardAntiAffinityTopology(Plugin):
    """Nobody keeps others off more than a node."""

    name = "LimitPodHardAntiAffinityTopology"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Pods."""
        return kind is POD and not subresource and operation in _WRITES

    def validate(self, request: Request) -> None:
        """APIError 403."""
        affinity = (request.new.get("spec") or {}).get("affinity") or {}
        required = (affinity.get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        for term in required or ():
            if term.get("topologyKey") != _HOSTNAME:
                raise refused(
                    request,
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey "
                    f"{term.get('topologyKey')} but only key {_HOSTNAME} is allowed",
                )


class OwnerReferencesPermissionEnforcement(Plugin):
    """Who makes an object depend on another must be allowed to delete it; who blocks an owner, to finalize that."""

    name = "OwnerReferencesPermissionEnforcement"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Objects of every kind."""
        return subresource in ("", "status") and operation in _WRITES and kind is not NAMESPACE

    def validate(self, request: Request) -> None:
        """APIError 403."""
        new = request.new["metadata"].get("ownerReferences") or []
        old = (request.old or {"metadata": {}})["metadata"].get("ownerReferences") or []
        if new == old:
            return
        if request.old is not None:
            said = self._ask(request, "delete", request.kind, request.name, "")
            if not said:
                raise refused(request, f"cannot set an ownerRef on a resource you can't delete: {said.reason}, <nil>")
        blocking = {one["uid"] for one in old if one.get("blockOwnerDeletion")}
        for one in new:
            if one.get("blockOwnerDeletion") and one["uid"] not in blocking:
                self._check_owner(request, one)

    def _check_owner(self, request: Request, reference: Obj) -> None:
        group, _, version = reference["apiVersion"].rpartition("/")
        kind = BY_GVK.get((group, version, reference["kind"]))
        start = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
        if kind is None:
            raise refused(request, f"{start}{reference['apiVersion']} Kind {reference['kind']}")
        said = self._ask(request, "update", kind, reference["name"], "finalizers")
        if not said:
            raise refused(
                request,
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "
                f"{said.reason}, <nil>",
            )

    def _ask(self, request: Request, verb: str, kind: Kind, name: str, subresource: str) -> Decision:
        asked = Attributes(
            verb,
            group=kind.group,
            resource=kind.plural,
            subresource=subresource,
            namespace=request.namespace if kind.namespaced else "",
            name=name,
        )
        return self._resources.access.authorizer.allows(request.user, asked)


class NamespaceExists(Plugin):
    """Nothing is done in namespaces that do not exist."""

    name = "NamespaceExists"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """What is in namespaces."""
        return kind.namespaced

    def validate(self, request: Request) -> None:
        """APIError 404."""
        if self._committed.get(NAMESPACE, "", request.namespace) is None:
            raise not_found("", NAMESPACE.plural, request.namespace)


_PLUGINS = (
    AlwaysAdmit,
    AlwaysDeny,
    AlwaysPullImages,
    DenyServiceExternalIPs,
    ExtendedResourceToleration,
    LimitPodHardAntiAffinityTopology,
)


def make(name: str, resources: Resources, committed: Committed) -> Plugin:
    """The plugin of a name. KeyError when there is none."""
    if name == OwnerReferencesPermissionEnforcement.name:
        return OwnerReferencesPermissionEnforcement(resources)
    if name == NamespaceExists.name:
        return NamespaceExists(committed)
    return {plugin.name: plugin for plugin in _PLUGINS}[name]()

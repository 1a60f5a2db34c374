"""What a pod and a volume refer to: the objects that the pod's node may therefore read.

Source: Kubernetes documentation, "Using Node Authorization"; the fields are those of the v1.36 API reference.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.pod_claims import claims_of
from hawser.api.types import Obj

Reference = tuple[str, str, str]
"""(plural, namespace, name)."""

MIRROR = "kubernetes.io/config.mirror"
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_VOLUME_SECRETS = ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos")
_CSI_SECRETS = (
    "controllerPublishSecretRef",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "controllerExpandSecretRef",
    "nodeExpandSecretRef",
)


def of_pod(pod: Obj) -> set[Reference]:
    """What a pod refers to, in its own namespace. A mirror pod refers to nothing: its node made it."""
    metadata, spec = pod["metadata"], pod["spec"]
    if MIRROR in (metadata.get("annotations") or {}):
        return set()
    namespace = metadata["namespace"]
    found = {("secrets", name) for name in secrets(spec)}
    found |= {("configmaps", name) for name in config_maps(spec)}
    found |= {("persistentvolumeclaims", name) for name in claims_of(pod)}
    found |= {("resourceclaims", name) for name in _resource_claims(spec, pod.get("status") or {})}
    found.add(("serviceaccounts", spec.get("serviceAccountName") or ""))
    return {(plural, namespace, name) for plural, name in found if name}


def secrets(spec: Obj) -> Iterator[str]:
    """Names of the Secrets that a pod's spec refers to."""
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name") or ""
    yield from _of_containers(spec, "secretRef", "secretKeyRef")
    for volume in spec.get("volumes") or ():
        yield (volume.get("secret") or {}).get("secretName") or ""
        yield (volume.get("azureFile") or {}).get("secretName") or ""
        yield ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""
        for source in _VOLUME_SECRETS:
            yield ((volume.get(source) or {}).get("secretRef") or {}).get("name") or ""
        for projection in (volume.get("projected") or {}).get("sources") or ():
            yield (projection.get("secret") or {}).get("name") or ""


def config_maps(spec: Obj) -> Iterator[str]:
    """Names of the ConfigMaps that a pod's spec refers to."""
    yield from _of_containers(spec, "configMapRef", "configMapKeyRef")
    for volume in spec.get("volumes") or ():
        yield (volume.get("configMap") or {}).get("name") or ""
        for projection in (volume.get("projected") or {}).get("sources") or ():
            yield (projection.get("configMap") or {}).get("name") or ""


def _of_containers(spec: Obj, whole: str, key: str) -> Iterator[str]:
    for field in _CONTAINERS:
        for container in spec.get(field) or ():
            for source in container.get("envFrom") or ():
                yield (source.get(whole) or {}).get("name") or ""
            for variable in container.get("env") or ():
                yield ((variable.get("valueFrom") or {}).get(key) or {}).get("name") or ""


def _resource_claims(spec: Obj, status: Obj) -> Iterator[str]:
    made = {one["name"]: one.get("resourceClaimName") for one in status.get("resourceClaimStatuses") or ()}
    for claim in spec.get("resourceClaims") or ():
        yield claim.get("resourceClaimName") or made.get(claim["name"]) or ""
    yield (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName") or ""


def of_volume(volume: Obj) -> set[Reference]:
    """The Secrets that a PersistentVolume refers to; those without a namespace are in its claim's."""
    spec = volume.get("spec") or {}
    home = (spec.get("claimRef") or {}).get("namespace") or ""
    csi = spec.get("csi") or {}
    found = [csi.get(field) for field in _CSI_SECRETS]
    found += [(spec.get(source) or {}).get("secretRef") for source in _VOLUME_SECRETS]
    azure = spec.get("azureFile") or {}
    found.append({"name": azure.get("secretName"), "namespace": azure.get("secretNamespace")})
    return {
        ("secrets", reference.get("namespace") or home, reference["name"])
        for reference in found
        if reference and reference.get("name")
    }

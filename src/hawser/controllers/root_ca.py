"""Every namespace has the ConfigMap kube-root-ca.crt: what pods verify the API server with.

Source: Kubernetes documentation, "Managing Service Accounts", bound service account token volume; KEP-1205.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, NAMESPACE
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.series import Counters

NAME = "kube-root-ca.crt"
FILE = "ca.crt"
_ANNOTATIONS = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
}


def wanted(found: Obj | None, namespace: str, certificate: str) -> Obj | None:
    """The ConfigMap as it should be; None when it is."""
    if found is None:
        metadata: Obj = {"name": NAME, "namespace": namespace, "annotations": dict(_ANNOTATIONS)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {FILE: certificate}}
    annotations = found["metadata"].get("annotations") or {}
    if found.get("data") == {FILE: certificate} and all(annotations.get(k) == v for k, v in _ANNOTATIONS.items()):
        return None
    metadata = {**found["metadata"], "annotations": {**annotations, **_ANNOTATIONS}}
    return {**found, "metadata": metadata, "data": {FILE: certificate}}


class RootCaController(Controller):
    """Publishes the certificate that this process itself verifies the API server with."""

    name = "root-ca-certificate-publisher-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        text = "Number of namespace syncs happened in root ca cert publisher."
        self._syncs = Counters("root_ca_cert_publisher_sync_total", text, ("code",))
        self._certificate = manager.client.ca.decode("ascii", "replace")
        self._namespaces = manager.informer(NAMESPACE)
        self._maps = manager.informer(CONFIG_MAP, field_selector=f"metadata.name={NAME}")
        self._namespaces.on_change(self.enqueue)
        self._maps.on_change(self._enqueue_namespace)

    def exposed(self) -> Iterable[str]:
        return self._syncs.lines()

    def _enqueue_namespace(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is not None:
            self.queue.add(obj["metadata"]["namespace"])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get_key(key)
        if not self._certificate or namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        found = self._maps.get(key, NAME)
        made = wanted(found, key, self._certificate)
        if made is None:
            return None
        write = self._client.create if found is None else self._client.update
        try:
            self._maps.observe(await write(CONFIG_MAP, made))
        except APIError as error:
            self._syncs.add(str(error.code))
            # A namespace that ends takes nothing new.
            if error.reason != "AlreadyExists" and error.code not in (403, 404):
                raise
        else:
            self._syncs.add("200")
        return None

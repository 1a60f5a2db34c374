"""Every namespace has a ServiceAccount named default (Kubernetes: "Configure Service Accounts for Pods")."""

from __future__ import annotations

from hawser.api.errors import APIError
from hawser.api.kinds import NAMESPACE, SERVICE_ACCOUNT
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager

NAME = "default"


class ServiceAccountController(Controller):
    """See the module."""

    name = "serviceaccount-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._namespaces = manager.informer(NAMESPACE)
        self._accounts = manager.informer(SERVICE_ACCOUNT)
        self._namespaces.on_change(self.enqueue)
        self._accounts.on_change(self._enqueue_namespace)

    def _enqueue_namespace(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None and old["metadata"]["name"] == NAME:
            self.queue.add(old["metadata"]["namespace"])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get_key(key)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        if self._accounts.get(key, NAME) is not None:
            return None
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": key}}
        try:
            self._accounts.observe(await self._client.create(SERVICE_ACCOUNT, account))
        except APIError as e:
            if e.reason != "AlreadyExists" and e.code not in (403, 404):
                raise
        return None

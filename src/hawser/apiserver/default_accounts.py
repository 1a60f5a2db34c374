"""The account ``default`` of a namespace, made when the first pod asks for it.

A controller makes it for every namespace soon after the namespace. Whoever creates a pod in between would be refused;
kube-apiserver lets such requests wait for the controller, here nobody has to.
"""

from __future__ import annotations

from hawser.api.errors import ignoring
from hawser.api.types import Obj
from hawser.apiserver.registry import Resource
from hawser.apiserver.writes import Options

_NAME = "default"


class DefaultAccounts:
    """``ensure`` is a hook before the creation of pods. accounts: the resource of service accounts."""

    def __init__(self, accounts: Resource) -> None:
        self._accounts = accounts

    async def ensure(self, namespace: str, pod: Obj) -> None:
        """Make the account when the pod wants it and it is not there."""
        wanted = (pod.get("spec") or {}).get("serviceAccountName") or _NAME
        accounts = self._accounts
        if wanted != _NAME or accounts.store.get(accounts.key(namespace, _NAME)) is not None:
            return
        # A namespace that ends says so to the pod itself.
        with ignoring(403, 404, 409):
            await accounts.create(namespace, {"metadata": {"name": _NAME}}, Options())

"""ClusterRoles with an aggregationRule hold the rules of those they select.

Source: Kubernetes documentation, "Using RBAC Authorization", aggregated ClusterRoles.
"""

from __future__ import annotations

from hawser.api import rbac
from hawser.api.kinds import CLUSTER_ROLE
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager


class ClusterRoleAggregationController(Controller):
    """See the module. Any change of a ClusterRole may concern every one that aggregates; there are few of those."""

    name = "clusterrole-aggregation-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._roles = manager.informer(CLUSTER_ROLE)
        self._roles.on_change(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        for role in self._roles.list():
            if "aggregationRule" in role:
                self.queue.add(role["metadata"]["name"])

    async def reconcile(self, key: str) -> float | None:
        """Write the rules that the role should have, unless it has them."""
        role = self._roles.get_key(key)
        if role is None or "aggregationRule" not in role or role["metadata"].get("deletionTimestamp"):
            return None
        rules = rbac.aggregate(role, self._roles.list())
        if rules != (role.get("rules") or []):
            self._roles.observe(await self._client.update(CLUSTER_ROLE, {**role, "rules": rules}))
        return None

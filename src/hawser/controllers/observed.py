"""What can be seen of the process from outside: which controllers run, which Leases it holds, how it is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from hawser.api import durations
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.controller import Controller, Manager
from hawser.controllers.serving import Endpoint
from hawser.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from hawser.health import Check


class Observed:
    """One process. managers: those that run; leases: whether each Lease that it is a candidate for is held."""

    def __init__(self, client: Client, names: Sequence[str], options: Mapping[str, Any]) -> None:
        self.managers: list[Manager] = []
        self.leases: dict[str, bool] = {}
        self._client = client
        self._names = names
        self._options = options

    def endpoint(self) -> Endpoint:
        """What answers for the process."""
        pages = {"/metrics": (CONTENT_TYPE, self._metrics), "/configz": ("application/json", self._configz)}
        return Endpoint(self._client, self._options, self._checks, pages)

    def _controllers(self) -> list[Controller]:
        return [controller for manager in self.managers for controller in manager.controllers]

    def _metrics(self) -> bytes:
        from hawser.controllers import metrics

        lines = metrics.lines(self._client, self._controllers(), self.leases)
        return ("\n".join(lines) + "\n").encode()

    def _checks(self, root: str) -> Mapping[str, Check]:
        checks: dict[str, Check] = {"ping": lambda: True}
        if self._options["leader_elect"]:
            # Who cannot renew its Lease in time is gone by the time that one could ask.
            checks["leaderElection"] = lambda: True
        if root == "readyz":
            checks["informer-sync"] = lambda: all(manager.has_synced for manager in self.managers)
        return checks

    def _configz(self) -> bytes:
        elects = _leader_election(self._options)
        found: Obj = {}
        if "scheduler" in self._names:
            found["kubescheduler.config.k8s.io"] = {"leaderElection": elects}
        if controllers := [name for name in self._names if name != "scheduler"]:
            generic = {
                "Port": self._options["secure_port"],
                "Address": self._options["bind_address"],
                "LeaderElection": elects,
                "Controllers": controllers,
            }
            found["kubecontrollermanager.config.k8s.io"] = {"Generic": generic}
        return orjson.dumps(found)


def _leader_election(options: Mapping[str, Any]) -> Obj:
    return {
        "leaderElect": options["leader_elect"],
        "leaseDuration": durations.text(options["leader_elect_lease_duration"]),
        "renewDeadline": durations.text(options["leader_elect_renew_deadline"]),
        "retryPeriod": durations.text(options["leader_elect_retry_period"]),
        "resourceLock": options["leader_elect_resource_lock"],
        "resourceName": options["leader_elect_resource_name"],
        "resourceNamespace": options["leader_elect_resource_namespace"],
    }

"""ReplicationControllers: ReplicaSets of the first days, with a plain map of labels as their selector.

Source: ReplicationController documentation and API reference.
"""

from __future__ import annotations

from hawser.api.kinds import REPLICATION_CONTROLLER
from hawser.controllers.replicaset import ReplicaSetController


class ReplicationControllerController(ReplicaSetController):
    """See the module."""

    name = "replicationcontroller-controller"
    kind = REPLICATION_CONTROLLER
    component = "replication-controller"

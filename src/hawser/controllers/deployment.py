"""Deployments: a ReplicaSet a template, rolled from one to the next.

Source: Deployment documentation and API reference. The decisions are in ``deployment_plan``, ``rollout`` and
``deployment_status``.
"""

from __future__ import annotations

from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import DEPLOYMENT, POD, REPLICA_SET
from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager, controller_of
from hawser.controllers import deployment_status, pods, rollout
from hawser.controllers.deployment_plan import REVISION, Plan, Scale, find_new, plan, same_template


class DeploymentController(Controller):
    """See the module."""

    name = "deployment-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("deployment-controller")
        self._deployments = manager.informer(DEPLOYMENT)
        self._sets = manager.informer(REPLICA_SET)
        self._pods = manager.informer(POD)
        self._sets.add_index("owner", pods.owner_uids)
        self._sets.add_index("orphan", lambda rs: [] if controller_of(rs) else [rs["metadata"]["namespace"]])
        self._pods.add_index("owner", pods.owner_uids)
        self._deployments.on_change(self.enqueue)
        self._sets.on_change(self.enqueue_owner("Deployment"))
        self._sets.on_change(self._enqueue_adopters)
        self._pods.on_change(self._enqueue_recreate)

    def _enqueue_adopters(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or controller_of(new) is not None:
            return
        for deployment in self._deployments.list(new["metadata"]["namespace"]):
            if _selects(deployment, new):
                self.enqueue(None, deployment)

    def _enqueue_recreate(self, old: Obj | None, new: Obj | None) -> None:
        """Strategy Recreate waits for the last old pod to be gone."""
        if new is not None or old is None:
            return
        owner = controller_of(old)
        rs = self._sets.get(old["metadata"]["namespace"], owner["name"]) if owner else None
        if rs is not None:
            self.enqueue_owner("Deployment")(None, rs)

    async def reconcile(self, key: str) -> float | None:
        deployment = self._deployments.get_key(key)
        if deployment is None:
            return None
        if not deployment["metadata"].get("deletionTimestamp"):
            await self._claim(deployment)
        owned = self._sets.by_index("owner", deployment["metadata"]["uid"])
        todo = plan(deployment, owned, self._old_pods(deployment, owned))
        if todo.collision:
            await self._count_collision(deployment)
            return None
        created, failure = await self._create(deployment, todo)
        if todo.new is not None and todo.update is not None:
            await self._patch(todo.new, todo.update)
        for scale in todo.scale:
            await self._scale(deployment, scale)
        for rs in todo.delete:
            await self._delete(rs)
        if todo.create is None or created:
            await self._write_revision(deployment, todo.revision)
        await self._write_status(deployment, todo, created, failure)
        if failure:
            raise APIError(500, "FailedCreate", failure)
        return deployment_status.deadline_in(deployment, self._clock.now())

    def _old_pods(self, deployment: Obj, owned: list[Obj]) -> int:
        if (deployment["spec"].get("strategy") or {}).get("type") != "Recreate":
            return 0
        new = find_new(deployment, owned)
        return sum(
            not has_ended(pod)
            for rs in owned
            if rs is not new
            for pod in self._pods.by_index("owner", rs["metadata"]["uid"])
        )

    async def _claim(self, deployment: Obj) -> None:
        """Adopts matching ReplicaSets without a controller and releases those that match no longer."""
        metadata = deployment["metadata"]
        selector = LabelSelector.from_object(deployment["spec"]["selector"])
        for rs in self._sets.by_index("owner", metadata["uid"]):
            if not selector.matches(rs["metadata"].get("labels")):
                await self._set_owner(rs, {"$patch": "delete", "uid": metadata["uid"]})
        orphans = [
            rs
            for rs in self._sets.by_index("orphan", metadata["namespace"])
            if selector.matches(rs["metadata"].get("labels")) and not pods.is_terminating(rs)
        ]
        if orphans and await pods.may_adopt(self._client, DEPLOYMENT, deployment):
            for rs in orphans:
                await self._set_owner(rs, pods.owner_reference(deployment))

    async def _set_owner(self, rs: Obj, reference: Obj) -> None:
        body = {"metadata": {"ownerReferences": [reference]}}
        await self._patch(rs, body, "application/strategic-merge-patch+json")

    async def _patch(self, rs: Obj, body: Obj, content_type: str = "application/merge-patch+json") -> None:
        metadata = rs["metadata"]
        # Only this very ReplicaSet, not another one that has its name by now.
        body = {**body, "metadata": {**body.get("metadata", {}), "uid": metadata["uid"]}}
        try:
            changed = await self._client.patch(
                REPLICA_SET, metadata["name"], metadata["namespace"], body, type=content_type
            )
        except APIError as e:
            if e.code != 404:
                raise
            return
        self._sets.observe(changed)

    async def _create(self, deployment: Obj, todo: Plan) -> tuple[str, str]:
        """(name of the ReplicaSet made now, why it could not be made)."""
        if todo.create is None:
            return "", ""
        name = todo.create["metadata"]["name"]
        try:
            made = await self._client.create(REPLICA_SET, todo.create)
        except APIError as e:
            if e.reason == "AlreadyExists":
                if not await self._is_made_already(deployment, name):
                    await self._count_collision(deployment)
                return "", ""
            if any(c.get("reason") == "NamespaceTerminating" for c in (e.details or {}).get("causes") or ()):
                return "", ""
            message = f'Failed to create new replica set "{name}": {e.message}'
            self._recorder.event(deployment, "Warning", "ReplicaSetCreateError", message)
            return "", message
        self._sets.observe(made)
        size = rollout.asked(made)
        if size:
            self._say_scaled(deployment, made, 0, size)
        return name, ""

    async def _is_made_already(self, deployment: Obj, name: str) -> bool:
        """Whether the ReplicaSet of a name is ours and right: made by a request whose answer was lost."""
        found = await self._client.get(REPLICA_SET, name, deployment["metadata"]["namespace"])
        owner = controller_of(found)
        if owner is None or owner["uid"] != deployment["metadata"]["uid"] or not same_template(deployment, found):
            return False
        self._sets.observe(found)
        return True

    async def _count_collision(self, deployment: Obj) -> None:
        """Another object has the name: the next try hashes to another one."""
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
        self._deployments.observe(
            await self._client.update(DEPLOYMENT, {**deployment, "status": status}, subresource="status")
        )

    async def _scale(self, deployment: Obj, scale: Scale) -> None:
        before = rollout.asked(scale.rs)
        annotations = dict(rollout.sizes_annotations(rollout.limits(deployment)))
        body = {"metadata": {"annotations": annotations}, "spec": {"replicas": scale.replicas}}
        await self._patch(scale.rs, body)
        if before != scale.replicas:
            self._say_scaled(deployment, scale.rs, before, scale.replicas)

    def _say_scaled(self, deployment: Obj, rs: Obj, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {rs['metadata']['name']} from {before} to {after}"
        self._recorder.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _delete(self, rs: Obj) -> None:
        metadata = rs["metadata"]
        with ignoring(404, 409):
            await self._client.delete(
                REPLICA_SET, metadata["name"], metadata["namespace"], propagation="Background", uid=metadata["uid"]
            )

    async def _write_revision(self, deployment: Obj, revision: str) -> None:
        metadata = deployment["metadata"]
        if not revision or (metadata.get("annotations") or {}).get(REVISION) == revision:
            return
        body = {"metadata": {"annotations": {REVISION: revision}}}
        self._deployments.observe(await self._client.patch(DEPLOYMENT, metadata["name"], metadata["namespace"], body))

    async def _write_status(self, deployment: Obj, todo: Plan, created: str, failure: str) -> None:
        metadata = deployment["metadata"]
        current = self._deployments.get(metadata["namespace"], metadata["name"])
        if current is None or current["metadata"]["uid"] != metadata["uid"]:
            return
        # Counts from the ReplicaSets as they are now, after this plan's own writes.
        sets = {rs["metadata"]["name"]: rs for rs in self._sets.by_index("owner", metadata["uid"])}
        new = sets.pop(created or (todo.new["metadata"]["name"] if todo.new else ""), None)
        wanted = deployment_status.status(
            {**deployment, "status": current.get("status") or {}},
            new,
            [*sets.values()],
            self._clock.now(),
            created=created,
            failure=failure,
        )
        if wanted == current.get("status"):
            return
        self._deployments.observe(
            await self._client.update(DEPLOYMENT, {**current, "status": wanted}, subresource="status")
        )


def _selects(deployment: Obj, rs: Obj) -> bool:
    return LabelSelector.from_object(deployment["spec"]["selector"]).matches(rs["metadata"].get("labels"))

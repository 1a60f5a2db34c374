"""Aggregated ClusterRoles, against Hawser's own API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hawser.api.kinds import CLUSTER_ROLE
from hawser.client.client import Client
from hawser.client.controller import Manager
from hawser.controllers.clusterrole_aggregation import ClusterRoleAggregationController

GROUP = "rbac.authorization.k8s.io/v1"


def role(name: str, labels: dict[str, str], **fields: Any) -> dict[str, Any]:
    return {"apiVersion": GROUP, "kind": "ClusterRole", "metadata": {"name": name, "labels": labels}, **fields}


def rule(*resources: str) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": list(resources), "verbs": ["get"]}


async def until(client: Client, name: str, right: Callable[[list[Any]], bool]) -> None:
    """Waits until a role has the right rules; fails after a while."""
    async with asyncio.timeout(60):
        while not right((await client.get(CLUSTER_ROLE, name)).get("rules") or []):  # noqa: ASYNC110 - over the network
            await asyncio.sleep(0.01)


async def until_rules(client: Client, name: str, wanted: list[Any]) -> None:
    await until(client, name, lambda rules: rules == wanted)


async def test_an_aggregated_role_follows_the_roles_that_it_selects(api_server: Any) -> None:
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        manager = Manager(client)
        manager.add(ClusterRoleAggregationController())
        task = asyncio.create_task(manager.run())
        try:
            selectors = [{"matchLabels": {"to": "wide"}}]
            await client.create(CLUSTER_ROLE, role("wide", {}, aggregationRule={"clusterRoleSelectors": selectors}))
            await client.create(CLUSTER_ROLE, role("b", {"to": "wide"}, rules=[rule("b"), rule("both")]))
            await until_rules(client, "wide", [rule("b"), rule("both")])
            await client.create(CLUSTER_ROLE, role("a", {"to": "wide"}, rules=[rule("a"), rule("both")]))
            await until_rules(client, "wide", [rule("a"), rule("both"), rule("b")])
            await client.delete(CLUSTER_ROLE, "b")
            await until_rules(client, "wide", [rule("a"), rule("both")])
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_custom_resources_join_the_default_roles_and_users_change_nothing(api_server: Any) -> None:
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        before = (await client.get(CLUSTER_ROLE, "admin"))["rules"]
        manager = Manager(client)
        manager.add(ClusterRoleAggregationController())
        task = asyncio.create_task(manager.run())
        label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
        try:
            own = {"apiGroups": ["example.com"], "resources": ["things"], "verbs": ["get"]}
            await client.create(CLUSTER_ROLE, role("a-things-viewer", label, rules=[own]))
            # From view to edit to admin.
            await until(client, "admin", lambda rules: own in rules)
            await client.delete(CLUSTER_ROLE, "a-things-viewer")
            await until_rules(client, "admin", before)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

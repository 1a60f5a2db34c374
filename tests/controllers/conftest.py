"""What tests of controllers against a real API server share."""

from __future__ import annotations

import pytest

from hawser.api.kinds import NAMESPACE
from hawser.client.client import Client


@pytest.fixture
async def namespace(client: Client, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, by its name. client: the module's fixture, which runs the controllers."""
    name = str(request.node.name).replace("_", "-")[:60].strip("-")
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name

"""The class of a pod follows from what it asks for."""

from typing import Any

import pytest

from hawser.api.qos import qos_class

BOTH = {"cpu": "1", "memory": "1Gi"}


def spec(*resources: dict[str, Any], own: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"containers": [{"resources": found} for found in resources], **({"resources": own} if own else {})}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (spec({}), "BestEffort"),
        (spec({"requests": {"cpu": "0"}}), "BestEffort"),
        (spec({"requests": {"example.com/x": "1"}}), "BestEffort"),
        (spec({"requests": {"cpu": "1"}}), "Burstable"),
        (spec({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}), "Burstable"),
        (spec({"limits": BOTH, "requests": BOTH}), "Guaranteed"),
        (spec({"limits": BOTH, "requests": {"cpu": "1000m", "memory": "1Gi"}}), "Guaranteed"),
        (spec({"limits": BOTH, "requests": BOTH}, {}), "Burstable"),
        (spec({"limits": BOTH, "requests": {"cpu": "1", "memory": "1Mi"}}), "Burstable"),
        (spec({}, own={"limits": BOTH, "requests": BOTH}), "Guaranteed"),
        (spec({"requests": {"cpu": "1"}}, own={"limits": BOTH, "requests": BOTH}), "Guaranteed"),
        (spec({}, own={"requests": {"cpu": "1"}}), "Burstable"),
    ],
)
def test_classes(pod: dict[str, Any], expected: str) -> None:
    assert qos_class(pod) == expected

"""What Deployments and their rollouts count with."""

from __future__ import annotations

import pytest

from hawser.controllers import rollout
from hawser.controllers.deployment_plan import REVISION

from .objects import Obj, deployment


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "want"),
    [
        (10, "25%", "25%", (13, 8)),
        (1, "25%", "25%", (2, 1)),
        (3, 0, 1, (3, 2)),
        (3, "0%", "0%", (3, 2)),
        (4, 1, 10, (5, 0)),
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_limits_round_up_surge_and_down_unavailable(
    replicas: int, surge: int | str, unavailable: int | str, want: tuple[int, int]
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    bounds = rollout.limits(deployment(replicas, strategy=strategy))
    assert (bounds.most, bounds.least) == want


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("+3", 3),
        ("-3", 0),
        ("", 0),
        ("x", 0),
        ("²", 0),
        ("٣", 0),
        ("9" * 5000, 0),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_what_is_no_number_of_an_annotation_counts_as_none(text: str, number: int) -> None:
    replicas: Obj = {"metadata": {"annotations": {rollout.DESIRED: text, REVISION: text}}}
    assert (rollout.annotated(replicas, rollout.DESIRED), rollout.revision(replicas)) == (number, number)

"""What selects the pods that a pod is one of."""

from __future__ import annotations

import pytest

from hawser.scheduler.siblings import selector_for

WEB = {"spec": {"selector": {"app": "web"}}}
OTHER = {"spec": {"selector": {"app": "db"}}}
HEADLESS = {"spec": {}}


@pytest.mark.parametrize(
    ("services", "owner", "selected", "left"),
    [
        ([WEB], None, [{"app": "web"}, {"app": "web", "rev": "2"}], [{"app": "db"}]),
        ([OTHER, HEADLESS], {"spec": {"selector": {"matchLabels": {"rev": "1"}}}}, [{"rev": "1"}], [{"rev": "2"}]),
        ([WEB], {"spec": {"selector": {"rev": "1"}}}, [{"app": "web", "rev": "1"}], [{"app": "web"}, {"rev": "1"}]),
        (
            [],
            {"spec": {"selector": {"matchExpressions": [{"key": "rev", "operator": "In", "values": ["1"]}]}}},
            [{"rev": "1"}],
            [{"rev": "2"}],
        ),
    ],
)
def test_services_and_owners_add_up(shapes, pod, services, owner, selected, left):
    selector = selector_for(shapes.pod(pod(labels={"app": "web", "rev": "1"})), services, owner)
    assert all(map(selector.matches, selected))
    assert not any(map(selector.matches, left))


def test_without_any_there_is_none(shapes, pod):
    assert selector_for(shapes.pod(pod(labels={"app": "web"})), [OTHER, HEADLESS], None) is None

"""What users of an autoscaler are told when something goes wrong that seldom does, word for word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    HORIZONTAL_POD_AUTOSCALER,
    REPLICA_SET,
)
from hawser.client.client import Client
from hawser.controllers.autoscaler.controller import AutoscalerController
from hawser.controllers.autoscaler.metrics import Metrics
from hawser.controllers.autoscaler.proposals import Proposer, Target, Unproposed
from hawser.controllers.autoscaler.usage import Patience, Tolerance
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.scales import Scales

from ..living import FakeClock
from ..objects import Obj, pod
from ..test_rare_words import REFUSED, conditions, lived
from ..test_words import told, workload
from ..world import Fault, World


def autoscaled(*metrics: Obj) -> Callable[[World], None]:
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    spec = {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 4, "metrics": list(metrics)}

    def begin(world: World) -> None:
        world.create(REPLICA_SET, workload(replicas=2 if metrics else 1))
        world.create(HORIZONTAL_POD_AUTOSCALER, {"metadata": {"name": "web"}, "spec": spec})

    return begin


def test_an_autoscaler_that_may_not_scale_says_so() -> None:
    world = lived(autoscaled(), AutoscalerController, faults=[Fault.REFUSED], settles=False)
    why = "Current number of replicas below Spec.MinReplicas"
    assert told(world, "FailedRescale") == [f"New size: 2; reason: {why}; error: {REFUSED}"]
    text = f"the HPA controller was unable to update the target scale: {REFUSED}"
    assert conditions(world, HORIZONTAL_POD_AUTOSCALER) == {"AbleToScale": ("False", "FailedUpdateScale", text)}


def test_an_autoscaler_that_cannot_say_anything_says_at_least_that() -> None:
    world = lived(autoscaled(), AutoscalerController, faults=[Fault.NONE, Fault.REFUSED], settles=False)
    assert told(world, "FailedUpdateStatus") == [REFUSED]


def test_an_autoscaler_without_metrics_says_which_it_misses() -> None:
    target = {"type": "Utilization", "averageUtilization": 5}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    world = lived(autoscaled(metric), AutoscalerController, ReplicaSetController)
    status, said, message = conditions(world, HORIZONTAL_POD_AUTOSCALER)["ScalingActive"]
    assert (status, said) == ("False", "FailedGetResourceMetric")
    (cause,) = set(told(world, "FailedGetResourceMetric"))
    assert message == f"the HPA was unable to compute the replica count: {cause}"
    first = f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {cause}"
    assert set(told(world, "FailedComputeMetricsReplicas")) == {first}


def test_an_autoscaler_needs_the_selector_of_what_it_scales() -> None:
    def begin(world: World) -> None:
        autoscaled({"type": "Resource", "resource": {"name": "cpu"}})(world)
        world.change(REPLICA_SET, "web", lambda new: new["spec"].update(selector={}))

    world = lived(begin, AutoscalerController, settles=False)
    assert told(world, "SelectorRequired") == told(world, "FailedComputeMetricsReplicas") == ["selector is required"]
    text = "the HPA target's scale is missing a selector"
    assert conditions(world, HORIZONTAL_POD_AUTOSCALER)["ScalingActive"] == ("False", "InvalidSelector", text)


def test_an_autoscaler_of_what_is_switched_off_says_so() -> None:
    def begin(world: World) -> None:
        autoscaled()(world)
        world.change(REPLICA_SET, "web", lambda new: new["spec"].update(replicas=0))

    world = lived(begin, AutoscalerController, settles=False)
    assert conditions(world, HORIZONTAL_POD_AUTOSCALER) == {
        "AbleToScale": (
            "True",
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        ),
        "ScalingActive": (
            "False",
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        ),
    }


class MetricsServer(Client):
    """Answers every question alike."""

    def __init__(self, *items: Obj, problem: str = "") -> None:
        super().__init__("http://metrics.invalid")
        self._items, self._problem = items, problem

    async def raw(self, method: str, path: str, *_: Any, **__: Any) -> bytes:
        if self._problem and path.count("/") > 2:
            raise APIError(503, "ServiceUnavailable", self._problem)
        return orjson.dumps({"items": self._items, "metadata": {}})


SERVED = {"name": "main", "usage": {"memory": "5Mi"}}
OF_POD = {"metadata": {"name": "web-0", "namespace": "default"}, "timestamp": "2026-01-01T00:00:00Z"}
FRONT = {"apiVersion": "v1", "kind": "Service", "name": "front"}
VALUE, AVERAGE = {"type": "Value", "value": "5"}, {"type": "AverageValue", "averageValue": "5"}
NO_CUSTOM = "no metrics returned from custom metrics API"
NO_EXTERNAL = "no metrics returned from external metrics API"


def named(kind: str, target: Obj, **more: Any) -> Obj:
    return {"type": kind, kind.lower(): {"metric": {"name": "m"}, "target": target, **more}}


def resource(target: Obj) -> Obj:
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


@pytest.mark.parametrize(
    ("metric", "server", "reason", "cause", "outer"),
    [
        (
            resource(AVERAGE),
            MetricsServer(),
            "FailedGetResourceMetric",
            (
                "failed to get cpu usage: unable to get metrics for resource cpu: no metrics returned from resource "
                "metrics API"
            ),
            "failed to get cpu resource metric value: ",
        ),
        (
            resource({"type": "Utilization", "averageUtilization": 5}),
            MetricsServer(problem="down"),
            "FailedGetResourceMetric",
            (
                "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
                "resource metrics API: down"
            ),
            "failed to get cpu resource metric value: ",
        ),
        (
            resource(VALUE),
            MetricsServer(),
            "FailedGetResourceMetric",
            (
                "invalid resource metric source: neither an average utilization target nor an average value (usage) "
                "target was set"
            ),
            "failed to get cpu resource metric value: ",
        ),
        (
            {
                "type": "ContainerResource",
                "containerResource": {"name": "memory", "container": "side", "target": AVERAGE},
            },
            MetricsServer({**OF_POD, "containers": [SERVED]}),
            "FailedGetContainerResourceMetric",
            (
                "failed to get memory usage: unable to get metrics for resource memory: failed to get container "
                "metrics: container side not present in metrics for pod default/web-0"
            ),
            "failed to get side container metric value: ",
        ),
        (
            named("Pods", AVERAGE),
            MetricsServer(),
            "FailedGetPodsMetric",
            f"unable to get metric m: {NO_CUSTOM}",
            "failed to get pods metric value: ",
        ),
        (
            named("Object", VALUE, describedObject=FRONT),
            MetricsServer(),
            "FailedGetObjectMetric",
            f"unable to get metric m: Service on default front/{NO_CUSTOM}",
            "failed to get object metric value: ",
        ),
        (
            named("Object", AVERAGE, describedObject=FRONT),
            MetricsServer(problem="down"),
            "FailedGetObjectMetric",
            "unable to get metric m: Service on default front/unable to fetch metrics from custom metrics API: down",
            "failed to get object metric value: failed to get m object metric: ",
        ),
        (
            named("External", VALUE),
            MetricsServer(),
            "FailedGetExternalMetric",
            f"unable to get external metric default/m/nil: {NO_EXTERNAL}",
            "failed to get m external metric value: failed to get external metric m: ",
        ),
        (
            named("External", AVERAGE),
            MetricsServer(),
            "FailedGetExternalMetric",
            f"unable to get external metric default/m/nil: {NO_EXTERNAL}",
            "failed to get m external metric value: failed to get m external metric: ",
        ),
        (
            named("External", {"type": "Utilization"}),
            MetricsServer({"value": "1"}),
            "FailedGetExternalMetric",
            "invalid external metric source: neither a value target nor an average value target was set",
            "failed to get m external metric value: ",
        ),
        ({"type": "Moon"}, MetricsServer(), "InvalidMetricSourceType", 'unknown metric source type "Moon"', ""),
    ],
)
def test_each_source_of_metrics_says_why_it_has_none(
    metric: Obj, server: MetricsServer, reason: str, cause: str, outer: str
) -> None:
    clock = FakeClock()
    patience = Patience(0, 0)
    pods = [pod("web-0")]
    target = Target("default", 1, 1, "app=web", pods, Tolerance(0.1, 0.1), patience, clock.now())
    proposer = Proposer(Metrics(server), Scales(server, clock))
    with pytest.raises(Unproposed) as caught:
        asyncio.run(proposer.propose(metric, target))
    assert (caught.value.reason, caught.value.cause) == (reason, cause)
    assert caught.value.message == f"{outer}{cause}"


# Workloads

"""What Kubernetes' users are told when something goes wrong that seldom does: reasons and texts of events and
conditions, word for word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
    ENDPOINTS,
    HORIZONTAL_POD_AUTOSCALER,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SERVICE,
    STATEFUL_SET,
)
from hawser.client.client import Client
from hawser.client.clock import timestamp
from hawser.client.controller import Controller
from hawser.controllers import zones
from hawser.controllers.autoscaler.controller import AutoscalerController
from hawser.controllers.autoscaler.metrics import Metrics
from hawser.controllers.autoscaler.proposals import Proposer, Target, Unproposed
from hawser.controllers.autoscaler.usage import Patience, Tolerance
from hawser.controllers.cronjob import CronJobController
from hawser.controllers.deployment import DeploymentController
from hawser.controllers.disruption import DisruptionController
from hawser.controllers.endpointslice import EndpointSliceController
from hawser.controllers.endpointslice_mirroring import MirroringController
from hawser.controllers.garbagecollector import GarbageCollector
from hawser.controllers.job.status import events
from hawser.controllers.legacy_endpoints import EndpointsController
from hawser.controllers.node_lifecycle import NodeLifecycleController
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.scales import Scales
from hawser.controllers.statefulset import StatefulSetController
from hawser.controllers.storage import decisions
from hawser.controllers.storage.attachments import in_use
from hawser.controllers.storage.expansion import ExpansionController
from hawser.controllers.storage.local import PROVISIONER

from .living import FakeClock, Living
from .objects import Obj, pod
from .test_words import LABELS, told, workload
from .world import Fault, World

REFUSED = "the answer is refused"
Make = Callable[[], Controller]


def conditions(world: World, kind: Any, name: str = "web") -> dict[str, tuple[str, str, str]]:
    found = world.find(kind, name)
    assert found is not None
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found["status"].get("conditions") or ()}


def lived(
    begin: Callable[[World], None],
    *makes: Make,
    faults: Sequence[Fault] = (),
    then: Callable[[Living], None] | None = None,
    settles: bool = True,
    nodes: int = 1,
) -> World:
    """A world after a life. then: what happens once all is settled. settles: whether pods run and time goes by."""
    world = World(FakeClock(), faults)

    async def run() -> None:
        living = Living(world, *makes, nodes=nodes)
        begin(world)
        await living.start()
        for step in (lambda living: None, then):
            if step is not None:
                step(living)
                await living.turn()
                if settles:
                    await living.settle()
        await living.stop()

    asyncio.run(run())
    return world


# Autoscalers


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


def test_a_cron_job_says_what_it_could_not_do() -> None:
    def begin(world: World) -> None:
        template = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a"}]}}}}
        spec = {"schedule": "* * * * *", "concurrencyPolicy": "Replace", "jobTemplate": template}
        world.create(CRON_JOB, {"metadata": {"name": "tick"}, "spec": spec})

    def pass_by(living: Living) -> None:
        living.clock.advance(61)
        living.world.faults = iter([Fault.REFUSED])

    world = lived(begin, CronJobController, then=pass_by, settles=False)
    assert told(world, "FailedCreate")[0] == f"Error creating job: {REFUSED}"


def test_a_job_says_that_more_pods_have_succeeded_than_were_wanted() -> None:
    job = {"spec": {"completions": 2}}
    ended = {"succeeded": 3, "conditions": [{"type": "Complete", "status": "True", "reason": "CompletionsReached"}]}
    assert events(job, ended) == [
        ("Warning", "TooManySucceededPods", "Too many succeeded pods running after completion count reached"),
        ("Normal", "Completed", "Job completed"),
    ]


def test_a_deployment_says_that_its_replica_set_cannot_be_made() -> None:
    begin = lambda world: world.create(DEPLOYMENT, workload(replicas=1))  # noqa: E731
    world = lived(begin, DeploymentController, faults=[Fault.REFUSED], settles=False)
    (text,) = told(world, "ReplicaSetCreateError")
    assert re.fullmatch(rf'Failed to create new replica set "web-[0-9a-z]+": {REFUSED}', text)
    assert ("False", "ReplicaSetCreateError", text) in [
        (c["status"], c["reason"], c["message"])
        for one in world.states(DEPLOYMENT)
        for c in one["status"].get("conditions", ())
    ]


def test_a_deployment_that_has_lost_its_conditions_finds_its_replica_set() -> None:
    def forget(living: Living) -> None:
        living.change(DEPLOYMENT, "web", lambda new: new["status"].pop("conditions"))

    begin = lambda world: world.create(DEPLOYMENT, workload(replicas=1))  # noqa: E731
    world = lived(begin, DeploymentController, ReplicaSetController, then=forget, settles=False)
    (rs,) = world.objects(REPLICA_SET)
    text = f'Found new replica set "{rs["metadata"]["name"]}"'
    assert conditions(world, DEPLOYMENT)["Progressing"] == ("True", "FoundNewReplicaSet", text)


def test_owners_of_pods_say_what_cannot_be_deleted() -> None:
    def shrink(living: Living) -> None:
        living.world.faults = iter([Fault.REFUSED])
        for kind in (REPLICA_SET, STATEFUL_SET):
            living.change(kind, "web", lambda new: new["spec"].update(replicas=0))

    made = lived(lambda world: world.create(REPLICA_SET, workload(replicas=1)), ReplicaSetController, then=shrink)
    assert told(made, "FailedDelete") == [f"Error deleting: {REFUSED}"]
    made = lived(lambda world: world.create(STATEFUL_SET, workload(replicas=1)), StatefulSetController, then=shrink)
    assert told(made, "FailedDelete") == [f"delete Pod web-0 in StatefulSet web failed error: {REFUSED}"]


def test_a_stateful_set_says_what_it_has_mended() -> None:
    def spoil(living: Living) -> None:
        living.world.faults = iter([Fault.REFUSED])
        living.change(POD, "web-0", lambda new: new["metadata"]["labels"].pop("statefulset.kubernetes.io/pod-name"))

    world = lived(lambda world: world.create(STATEFUL_SET, workload(replicas=1)), StatefulSetController, then=spoil)
    assert told(world, "FailedUpdate") == [f"update Pod web-0 in StatefulSet web failed error: {REFUSED}"]
    assert told(world, "SuccessfulUpdate") == ["update Pod web-0 in StatefulSet web successful"]


# Services


def test_a_mirror_says_how_many_addresses_it_leaves_out() -> None:
    addresses = [{"ip": f"10.1.{number // 250}.{number % 250}"} for number in range(1002)]

    def begin(world: World) -> None:
        world.create(SERVICE, {"metadata": {"name": "web"}, "spec": {}})
        subsets = [{"addresses": addresses, "ports": [{"port": 80}]}]
        world.create(ENDPOINTS, {"metadata": {"name": "web"}, "subsets": subsets})

    world = lived(begin, MirroringController)
    text = "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 2 addresses were skipped"
    assert set(told(world, "TooManyAddressesToMirror")) == {text}


def test_a_service_says_that_its_endpoints_cannot_be_written() -> None:
    def fall_ill(living: Living) -> None:
        living.world.faults = iter([Fault.REFUSED])
        living.world.change(SERVICE, "web", lambda new: new["metadata"].update(labels={"a": "b"}))

    begin = lambda world: world.create(SERVICE, {"metadata": {"name": "web"}, "spec": {"selector": LABELS}})  # noqa: E731
    world = lived(begin, EndpointsController, faults=[Fault.REFUSED], then=fall_ill)
    assert told(world, "FailedToCreateEndpoint") == [f"Failed to create endpoint for service default/web: {REFUSED}"]
    assert told(world, "FailedToUpdateEndpoint") == [f"Failed to update endpoint default/web: {REFUSED}"]


def test_a_service_says_why_its_endpoints_have_no_hints() -> None:
    annotations = {"service.kubernetes.io/topology-mode": "Auto"}

    def begin(world: World) -> None:
        world.create(SERVICE, {"metadata": {"name": "web", "annotations": annotations}, "spec": {"selector": LABELS}})

    world = lived(begin, EndpointSliceController)
    text = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
    assert told(world, "TopologyAwareHintsDisabled") == [f"{text}, addressType: IPv4"]


# Nodes


def test_nodes_are_told_of_when_they_come_and_go() -> None:
    world = lived(lambda world: None, NodeLifecycleController, then=lambda living: living.world.remove(NODE, "n0"))
    assert told(world, "RegisteredNode") == ["Node n0 event: Registered Node n0 in Controller"]
    assert told(world, "RemovingNode") == ["Node n0 event: Removing Node n0 from Controller"]


def test_states_of_zones_have_kubernetes_names() -> None:
    assert [*zones.State] == ["Normal", "PartialDisruption", "FullDisruption"]


# Storage


def named_pod(name: str, namespace: str = "default") -> Obj:
    return {"metadata": {"name": name, "namespace": namespace}}


@pytest.mark.parametrize(
    ("users", "text"),
    [
        ([], "Volume is already exclusively attached to one node and can't be attached to another"),
        ([named_pod("a"), named_pod("b")], "Volume is already used by pod(s) a, b"),
        ([named_pod("a", "secret")], "Volume is already used by 1 pod(s) in different namespaces"),
        (
            [named_pod("a"), named_pod("x", "secret"), named_pod("y", "secret")],
            "Volume is already used by pod(s) a and 2 pod(s) in different namespaces",
        ),
    ],
)
def test_a_pod_hears_who_has_its_volume(users: list[Obj], text: str) -> None:
    assert in_use(named_pod("p"), users) == text


def bound_volume(**spec: Any) -> Obj:
    reference = {"namespace": "default", "name": "data", "uid": "u"}
    return {"metadata": {"name": "v"}, "spec": {"claimRef": reference, **spec}, "status": {"phase": "Bound"}}


def test_volumes_that_nobody_can_reclaim_say_so() -> None:
    step = decisions.of_volume(bound_volume(persistentVolumeReclaimPolicy="Recycle"), None)
    assert step.event == ("Warning", "VolumeFailedRecycle", "No recycler plugin found for the volume!")
    step = decisions.of_volume(bound_volume(persistentVolumeReclaimPolicy="Delete"), None)
    text = 'error getting deleter volume plugin for volume "v": no deletable volume plugin matched'
    assert step.event == ("Warning", "VolumeFailedDelete", text)
    assert (step.phase, step.message) == ("Failed", text)


def test_a_volume_and_its_claim_hear_that_they_are_of_different_modes() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"volumeMode": "Block"}}
    step = decisions.of_volume(bound_volume(), claim)
    text = 'Cannot bind PersistentVolume to requested PersistentVolumeClaim "data" due to incompatible volumeMode.'
    assert step.event == ("Warning", "VolumeMismatch", text)
    text = 'Cannot bind PersistentVolume "v" to requested PersistentVolumeClaim due to incompatible volumeMode.'
    assert step.of_claim == ("Warning", "VolumeMismatch", text)
    assert decisions.of_volume(bound_volume(volumeMode="Block"), claim) == decisions.VolumeStep(claim=True)


@pytest.mark.parametrize(
    ("source", "provisioner", "says"),
    [
        ({"csi": {"driver": "d"}}, "d", True),
        ({"nfs": {}}, "", True),
        ({"hostPath": {}}, "rancher.io/local-path", True),
        ({"hostPath": {}}, PROVISIONER, False),
    ],
)
def test_who_is_to_expand_a_volume_is_said(source: Obj, provisioner: str, says: bool) -> None:
    def begin(world: World) -> None:
        notes = {"pv.kubernetes.io/provisioned-by": provisioner} if provisioner else {}
        world.create(PERSISTENT_VOLUME, {"metadata": {"name": "v", "annotations": notes}, "spec": source})
        spec = {"volumeName": "v", "resources": {"requests": {"storage": "2Gi"}}}
        world.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data"}, "spec": spec})
        status = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
        world.change(PERSISTENT_VOLUME_CLAIM, "data", lambda new: new.update(status=status))

    world = lived(begin, ExpansionController, settles=False)
    text = "waiting for an external controller to expand this PVC"
    assert set(told(world, "ExternalExpanding")) == ({text} if says else set())


# Budgets and owners


def test_budgets_say_whom_they_miss_and_who_is_in_two() -> None:
    def begin(world: World) -> None:
        for name in ("a", "b"):
            spec = {"minAvailable": 1, "selector": {"matchLabels": LABELS}}
            world.create(POD_DISRUPTION_BUDGET, {"metadata": {"name": name}, "spec": spec})

    def meddle(living: Living) -> None:
        spec = {"containers": [{"name": "main", "image": "a"}]}
        living.world.create(POD, {"metadata": {"name": "p", "labels": LABELS}, "spec": spec})
        since = {"p": timestamp(living.clock.now())}
        living.change(POD_DISRUPTION_BUDGET, "a", lambda new: new["status"].update(disruptedPods=since))

    world = lived(begin, DisruptionController, then=meddle)
    assert set(told(world, "NoPods")) == {"No matching pods found"}
    many = 'Pod "default"/"p" matches multiple PodDisruptionBudgets.  Chose "a" arbitrarily.'
    assert told(world, "MultiplePodDisruptionBudgets") == [many]
    assert told(world, "NotDeleted") == ["Pod was expected by PDB default/a to be deleted but it wasn't"]


def test_an_owner_in_another_namespace_is_told_of() -> None:
    def begin(world: World) -> None:
        owner = world.create(CONFIG_MAP, {"metadata": {"name": "owner", "namespace": "other"}})
        references.append({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]})
        world.create(CONFIG_MAP, {"metadata": {"name": "dependent", "ownerReferences": references}})

    references: list[Obj] = []
    world = lived(begin, GarbageCollector)
    shown = f"[v1/ConfigMap, namespace: default, name: owner, uid: {references[0]['uid']}]"
    assert set(told(world, "OwnerRefInvalidNamespace")) == {f'ownerRef {shown} does not exist in namespace "default"'}
    assert world.find(CONFIG_MAP, "dependent") is None

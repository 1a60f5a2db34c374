"""What Kubernetes' users are told when something goes wrong that seldom does: reasons and texts of events and
conditions, word for word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hawser.api.kinds import (
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
    ENDPOINTS,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SERVICE,
    STATEFUL_SET,
)
from hawser.client.clock import timestamp
from hawser.client.controller import Controller
from hawser.controllers import zones
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
from hawser.controllers.statefulset import StatefulSetController
from hawser.controllers.storage import decisions
from hawser.controllers.storage.attachments import in_use
from hawser.controllers.storage.expansion import ExpansionController
from hawser.controllers.storage.local import PROVISIONER

from .living import FakeClock, Living
from .objects import Obj
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

"""What objects count for in ResourceQuotas, and what refuses them, in kube-apiserver's words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.kind import Kind
from hawser.api.quantity import Quantity
from hawser.api.quota.limited import Limited, uncovered
from hawser.api.quota.names import concerning, counted
from hawser.api.quota.scopes import matches, selectors
from hawser.api.quota.usage import Around, exceeded, increase, missing, usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WIDGET = Kind("x.io", "v1", "Widget", "widgets", True)


def container(name: str = "c", **resources: Any) -> dict[str, Any]:
    return {"name": name, "resources": resources}


def pod(*containers: dict[str, Any], meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": meta or {}, "spec": {"containers": list(containers) or [container()], **spec}}


def counts(kind: Kind, obj: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in usage(kind, obj, NOW).items()}


def test_a_pod_counts_for_what_it_asks_for() -> None:
    asked = {"cpu": "500m", "memory": "1Gi", "hugepages-2Mi": "4Mi", "nvidia.com/gpu": "2", "ephemeral-storage": "1Gi"}
    mine = pod(container(requests=asked, limits={"cpu": "1"}), container("d", requests={"cpu": "1"}))
    mine["spec"]["overhead"] = {"cpu": "100m"}
    assert counts(kinds.POD, mine) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "1600m",
        "requests.cpu": "1600m",
        "limits.cpu": "1100m",
        "memory": "1Gi",
        "requests.memory": "1Gi",
        "ephemeral-storage": "1Gi",
        "requests.ephemeral-storage": "1Gi",
        "hugepages-2Mi": "4Mi",
        "requests.hugepages-2Mi": "4Mi",
        "requests.nvidia.com/gpu": "2",
    }


def test_a_container_that_still_has_more_than_it_asks_for_counts_for_that() -> None:
    mine = pod(container(requests={"cpu": "1"}, limits={"cpu": "1"}))
    given = {"name": "c", "allocatedResources": {"cpu": "2"}, "resources": {"limits": {"cpu": "3"}}}
    found = counts(kinds.POD, {**mine, "status": {"containerStatuses": [given]}})
    assert (found["requests.cpu"], found["limits.cpu"]) == ("2", "3")
    given = {"name": "c", "resources": {"requests": {"cpu": "500m"}}}
    assert counts(kinds.POD, {**mine, "status": {"containerStatuses": [given]}})["requests.cpu"] == "1"


@pytest.mark.parametrize(
    "fields",
    [
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30}},
    ],
)
def test_a_pod_that_has_ended_is_only_counted(fields: dict[str, Any]) -> None:
    assert counts(kinds.POD, {**pod(container(requests={"cpu": "1"})), **fields}) == {"count/pods": "1"}


@pytest.mark.parametrize(
    ("kind", "obj", "wanted"),
    [
        (kinds.CONFIG_MAP, {}, {"count/configmaps": "1", "configmaps": "1"}),
        (WIDGET, {}, {"count/widgets.x.io": "1"}),
        (
            kinds.SERVICE,
            {"spec": {"type": "NodePort", "ports": [{}, {}]}},
            {"services": "1", "services.nodeports": "2"},
        ),
        (
            kinds.SERVICE,
            {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"nodePort": 3}, {}]}},
            {"services.loadbalancers": "1", "services.nodeports": "1"},
        ),
        (kinds.SERVICE, {"spec": {"type": "ClusterIP", "ports": [{}]}}, {"services": "1", "services.nodeports": "0"}),
        (
            kinds.PERSISTENT_VOLUME_CLAIM,
            {"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "2Gi"}}}},
            {
                "persistentvolumeclaims": "1",
                "requests.storage": "2Gi",
                "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
                "gold.storageclass.storage.k8s.io/requests.storage": "2Gi",
            },
        ),
        (
            kinds.RESOURCE_CLAIM,
            {
                "spec": {
                    "devices": {
                        "requests": [
                            {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
                            {
                                "firstAvailable": [
                                    {"deviceClassName": "gpu", "count": 1},
                                    {"deviceClassName": "gpu", "count": 3},
                                    {"deviceClassName": "npu", "allocationMode": "All"},
                                ]
                            },
                        ]
                    }
                }
            },
            {
                "count/resourceclaims.resource.k8s.io": "1",
                "gpu.deviceclass.resource.k8s.io/devices": "5",
                "npu.deviceclass.resource.k8s.io/devices": "32",
            },
        ),
    ],
)
def test_other_objects_count_by_their_kind(kind: Kind, obj: dict[str, Any], wanted: dict[str, str]) -> None:
    found = counts(kind, {"metadata": {}, **obj})
    assert {name: found.get(name) for name in wanted} == wanted


DEVICES = "gpu.deviceclass.resource.k8s.io/devices"
IMPLICIT = "requests.deviceclass.resource.kubernetes.io/gpu"
EXPLICIT = "requests.example.com/gpu"


def asked(resource: str, **status: Any) -> dict[str, Any]:
    return pod(container(requests={resource: "2"})) | {"metadata": {"uid": "1"}, "status": status}


def devices_of(claim: dict[str, Any], around: Around) -> dict[str, str]:
    found = {name: str(value) for name, value in usage(kinds.RESOURCE_CLAIM, claim, NOW, around).items()}
    assert found.pop("count/resourceclaims.resource.k8s.io") == "1"
    return found


@pytest.mark.parametrize(
    ("owner", "wanted"),
    [
        pytest.param(None, {DEVICES: "2", IMPLICIT: "2", EXPLICIT: "2"}, id="anybody's claim"),
        pytest.param(asked("example.com/gpu"), {DEVICES: "2", IMPLICIT: "2"}, id="the pod counts for its resource"),
        pytest.param(
            asked("deviceclass.resource.kubernetes.io/gpu"), {DEVICES: "2", EXPLICIT: "2"}, id="by the class's name"
        ),
        pytest.param(
            asked("example.com/gpu", extendedResourceClaimStatus={"resourceClaimName": "other"}),
            {DEVICES: "2", IMPLICIT: "2", EXPLICIT: "2"},
            id="another claim is the pod's",
        ),
    ],
)
def test_devices_count_as_the_extended_resources_that_they_are_once(
    owner: dict[str, Any] | None, wanted: dict[str, str]
) -> None:
    metadata: dict[str, Any] = {"name": "c", "namespace": "n"}
    if owner is not None:
        metadata["annotations"] = {"resource.kubernetes.io/extended-resource-claim": "true"}
        metadata["ownerReferences"] = [{"kind": "Pod", "name": "p", "uid": "1", "controller": True}]
    asks = {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}}
    claim = {"metadata": metadata, "spec": {"devices": {"requests": [asks]}}}
    around = Around({"gpu": "example.com/gpu"}.__getitem__, lambda namespace, name: owner, lambda namespace: [claim])
    assert devices_of(claim, around) == wanted
    # Another claim for the same pod counts in full.
    second = {**claim, "metadata": {**metadata, "name": "d"}}
    assert devices_of(second, around) == {DEVICES: "2", IMPLICIT: "2", EXPLICIT: "2"}


def test_names_concern_the_kinds_that_they_are_counted_from() -> None:
    names = ["pods", "count/pods", "requests.nvidia.com/gpu", "services.nodeports", "count/widgets.x.io"]
    names += ["gold.storageclass.storage.k8s.io/requests.storage", "gpu.deviceclass.resource.k8s.io/devices"]
    names += ["hugepages-2Mi", "secrets", "requests.storage"]
    assert concerning(kinds.POD, names) == ["pods", "count/pods", "requests.nvidia.com/gpu", "hugepages-2Mi"]
    assert concerning(kinds.SERVICE, names) == ["services.nodeports"]
    assert concerning(kinds.SECRET, names) == ["secrets"]
    assert concerning(WIDGET, names) == ["count/widgets.x.io"]
    assert concerning(kinds.PERSISTENT_VOLUME_CLAIM, names) == [
        "gold.storageclass.storage.k8s.io/requests.storage",
        "requests.storage",
    ]
    assert concerning(kinds.RESOURCE_CLAIM, names) == [
        "requests.nvidia.com/gpu",
        "gpu.deviceclass.resource.k8s.io/devices",
    ]
    assert concerning(kinds.POD, ["requests.deviceclass.resource.kubernetes.io/gpu", "requests.storage"]) == [
        "requests.deviceclass.resource.kubernetes.io/gpu"
    ]
    assert not counted(kinds.EVENT)
    assert not counted(kinds.NODE)


def scoped(*scopes: str, **expression: Any) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"scopes": list(scopes)}
    if expression:
        spec["scopeSelector"] = {"matchExpressions": [expression]}
    return selectors({"spec": spec})


PLAIN = pod()
BUSY = pod(container(requests={"cpu": "1"}), activeDeadlineSeconds=5, priorityClassName="high")
ACROSS = pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["other"]}]}})


@pytest.mark.parametrize(
    ("scopes", "plain", "busy", "across"),
    [
        (scoped(), True, True, True),
        (scoped("BestEffort"), True, False, True),
        (scoped("NotBestEffort"), False, True, False),
        (scoped("Terminating"), False, True, False),
        (scoped("NotTerminating", "BestEffort"), True, False, True),
        (scoped("CrossNamespacePodAffinity"), False, False, True),
        (scoped(scopeName="PriorityClass", operator="Exists"), False, True, False),
        (scoped(scopeName="PriorityClass", operator="DoesNotExist"), True, False, True),
        (scoped(scopeName="PriorityClass", operator="In", values=["high"]), False, True, False),
        (scoped(scopeName="PriorityClass", operator="NotIn", values=["high"]), True, False, True),
    ],
)
def test_scopes_say_which_pods_a_quota_is_about(
    scopes: list[dict[str, Any]], plain: bool, busy: bool, across: bool
) -> None:
    assert [matches(kinds.POD, scopes, one) for one in (PLAIN, BUSY, ACROSS)] == [plain, busy, across]
    assert matches(kinds.SERVICE, scopes, {}) is not bool(scopes)


def test_claims_have_the_scope_of_their_attributes_class() -> None:
    claim = {"spec": {"volumeAttributesClassName": "gold"}}
    chosen = scoped(scopeName="VolumeAttributesClass", operator="In", values=["gold"])
    assert matches(kinds.PERSISTENT_VOLUME_CLAIM, chosen, claim)
    assert not matches(kinds.PERSISTENT_VOLUME_CLAIM, chosen, {"spec": {}})
    moved = {"spec": {}, "status": {"currentVolumeAttributesClassName": "gold"}}
    assert matches(kinds.PERSISTENT_VOLUME_CLAIM, chosen, moved)


def test_too_much_is_said_with_what_is_asked_used_and_allowed() -> None:
    hard = {"pods": "1", "requests.cpu": "2", "services": "5"}
    one = {"pods": Quantity.parse("1"), "requests.cpu": Quantity.parse("500m")}
    assert exceeded("q", hard, {}, one) == ""
    assert exceeded("q", hard, one, one) == "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    used = {"pods": Quantity.parse("1"), "requests.cpu": Quantity.parse("1700m")}
    assert exceeded("q", hard, used, one) == (
        "exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=1,requests.cpu=1700m, "
        "limited: pods=1,requests.cpu=2"
    )


def test_only_more_counts() -> None:
    small, large = {"cpu": Quantity.parse("1")}, {"cpu": Quantity.parse("1500m")}
    assert {name: str(value) for name, value in increase(large, small).items()} == {"cpu": "500m"}
    assert increase(small, large) == {}


def test_containers_have_to_say_what_is_bounded() -> None:
    mine = pod(container("a"), container("b", limits={"cpu": "1"}), initContainers=[container("i")])
    assert missing(mine, ["limits.cpu", "requests.memory", "pods"]) == (
        "must specify limits.cpu for: a,i; requests.memory for: a,b,i"
    )
    assert missing(mine, ["pods", "requests.nvidia.com/gpu"]) == ""
    mine["spec"]["resources"] = {"requests": {"cpu": "1"}}
    assert missing(mine, ["limits.cpu", "requests.memory"]) == ""


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        ([], "insufficient quota to consume: requests.gpu.io/a"),
        (
            [{"hard": {"requests.gpu.io/a": "1"}}],
            "insufficient quota to match these scopes: [{PriorityClass In [high]}]",
        ),
        (
            [
                {"hard": {"requests.gpu.io/a": "1"}},
                {"hard": {"pods": "1"}, "scopes": ["PriorityClass"]},
            ],
            "",
        ),
    ],
)
def test_what_is_limited_has_to_be_covered(quotas: list[dict[str, Any]], said: str) -> None:
    limited = [Limited("", "pods", ("gpu.io/",), (("PriorityClass", "In", ("high",)),))]
    mine = pod(container(requests={"gpu.io/a": "1"}), priorityClassName="high")
    used = usage(kinds.POD, mine, NOW)
    assert uncovered(limited, kinds.POD, used, mine, [{"spec": spec} for spec in quotas]) == said
    plain = pod()
    assert uncovered(limited, kinds.POD, usage(kinds.POD, plain, NOW), plain, []) == ""

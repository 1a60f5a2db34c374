"""LimitRanges, in kube-apiserver's words."""

from typing import Any

import pytest

from hawser.api.limits import ANNOTATION, claim_violations, pod_violations, set_defaults


def ranged(kind: str = "Container", **limit: Any) -> dict[str, Any]:
    return {"spec": {"limits": [{"type": kind, **limit}]}}


def container(name: str = "c", **resources: Any) -> dict[str, Any]:
    return {"name": name, "resources": resources}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {}, "spec": {"containers": list(containers), **spec}}


def test_containers_get_what_they_do_not_ask_for_and_an_annotation_says_what() -> None:
    mine = pod(container(), container("d", limits={"cpu": "2"}), initContainers=[container("i")])
    set_defaults(ranged(default={"cpu": "1", "memory": "1Gi"}, defaultRequest={"cpu": "100m"}), mine)
    assert mine["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    assert mine["spec"]["containers"][1]["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert mine["metadata"]["annotations"][ANNOTATION] == (
        "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c; "
        "cpu request for container d; memory limit for container d; "
        "cpu request for init container i; cpu, memory limit for init container i"
    )


def test_what_lacks_nothing_is_left_alone() -> None:
    mine = pod(container(limits={"cpu": "2"}))
    set_defaults(ranged(default={"cpu": "1"}), mine)
    set_defaults(ranged("Pod", default={"memory": "1"}), mine)
    assert mine == pod(container(limits={"cpu": "2"}))


@pytest.mark.parametrize(
    ("limit_range", "mine", "said"),
    [
        (ranged(min={"cpu": "100m"}), container(requests={"cpu": "100m"}), []),
        (
            ranged(min={"cpu": "100m"}),
            container(),
            ["minimum cpu usage per Container is 100m.  No request is specified"],
        ),
        (
            ranged(min={"cpu": "100m"}),
            container(requests={"cpu": "40m"}),
            ["minimum cpu usage per Container is 100m, but request is 40m"],
        ),
        (
            ranged(min={"memory": "1Gi"}),
            container(requests={"memory": "1Gi"}, limits={"memory": "1Mi"}),
            ["minimum memory usage per Container is 1Gi, but limit is 1Mi"],
        ),
        (
            ranged(max={"cpu": "800m"}),
            container(),
            ["maximum cpu usage per Container is 800m.  No limit is specified"],
        ),
        (
            ranged(max={"cpu": "800m"}),
            container(limits={"cpu": "1"}),
            ["maximum cpu usage per Container is 800m, but limit is 1"],
        ),
        (
            ranged(max={"cpu": "800m"}),
            container(requests={"cpu": "900m"}, limits={"cpu": "800m"}),
            ["maximum cpu usage per Container is 800m, but request is 900m"],
        ),
        (ranged(maxLimitRequestRatio={"cpu": "2"}), container(requests={"cpu": "1"}, limits={"cpu": "2"}), []),
        (
            ranged(maxLimitRequestRatio={"cpu": "2"}),
            container(requests={"cpu": "300m"}, limits={"cpu": "1"}),
            ["cpu max limit to request ratio per Container is 2, but provided ratio is 3.333333"],
        ),
        (
            ranged(maxLimitRequestRatio={"cpu": "2"}),
            container(limits={"cpu": "1"}),
            ["cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"],
        ),
        (
            ranged(maxLimitRequestRatio={"cpu": "2"}),
            container(requests={"cpu": "1"}),
            ["cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0"],
        ),
    ],
)
def test_containers_stay_within_bounds(limit_range: dict[str, Any], mine: dict[str, Any], said: list[str]) -> None:
    assert pod_violations(limit_range, pod(mine)) == said


def test_a_pod_is_the_sum_of_its_containers_or_its_largest_init_container() -> None:
    two = [container("a", limits={"memory": "300Mi"}), container("b", limits={"memory": "300Mi"})]
    limit_range = ranged("Pod", max={"memory": "500Mi"})
    assert pod_violations(limit_range, pod(*two)) == ["maximum memory usage per Pod is 500Mi, but limit is 600Mi"]
    init = container("i", limits={"memory": "2Gi"})
    small = container("a", limits={"memory": "1Mi"})
    assert pod_violations(limit_range, pod(small, initContainers=[init])) == [
        "maximum memory usage per Pod is 500Mi, but limit is 2Gi"
    ]
    sidecar = {**container("s", limits={"memory": "400Mi"}), "restartPolicy": "Always"}
    assert pod_violations(limit_range, pod(two[0], initContainers=[sidecar])) == [
        "maximum memory usage per Pod is 500Mi, but limit is 700Mi"
    ]
    level = pod(*two, resources={"limits": {"memory": "100Mi"}})
    assert pod_violations(limit_range, level) == []


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("2Gi", []),
        ("1Mi", ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]),
        ("4Gi", ["maximum storage usage per PersistentVolumeClaim is 3Gi, but request is 4Gi"]),
    ],
)
def test_claims_stay_within_bounds(storage: str, said: list[str]) -> None:
    limit_range = ranged("PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "3Gi"})
    assert claim_violations(limit_range, {"spec": {"resources": {"requests": {"storage": storage}}}}) == said

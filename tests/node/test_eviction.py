"""What the node does when it runs short: thresholds, conditions, whom it evicts and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.allocatable import allocatable
from hawser.node.cri.model import Container, ContainerState
from hawser.node.eviction import ranking
from hawser.node.eviction.pressure import Observation, State, judge, met
from hawser.node.eviction.thresholds import HARD, Amount, Signal, Threshold, parse
from hawser.node.limits import Limits
from hawser.node.stats.cgroup import Memory, Usage
from hawser.node.stats.disk import Disk
from hawser.node.stats.model import ContainerUse, Group, PodUse, Subject, VolumeUse

Obj = dict[str, Any]
MI = 1 << 20


def test_the_defaults_are_the_kubelets() -> None:
    found = {t.signal: t.value for t in parse(HARD, "", "", "")}
    assert found[Signal.MEMORY] == Amount(100 * MI)
    assert {s: a.share for s, a in found.items() if a.share} == {
        Signal.NODE_DISK: 0.1,
        Signal.NODE_INODES: 0.05,
        Signal.IMAGE_DISK: 0.15,
        Signal.IMAGE_INODES: 0.05,
    }


def test_soft_thresholds_have_grace_and_reclaim() -> None:
    found = parse(
        "nodefs.available<0%",
        "memory.available<1Gi",
        "memory.available=1m30s",
        "memory.available=10%",
    )
    assert found == (Threshold(Signal.MEMORY, Amount(1 << 30), 90.0, Amount(share=0.1)),)


@pytest.mark.parametrize(
    ("hard", "soft", "message"),
    [
        ("memory.free<1Mi", "", "unsupported eviction signal memory.free"),
        ("memory.available>1Mi", "", "invalid eviction threshold syntax memory.available>1Mi"),
        ("memory.available<1,memory.available<2", "", "found duplicate eviction threshold for signal memory.available"),
        ("memory.available<101%", "", "eviction percentage 101%"),
        ("", "memory.available<1Mi", "grace period must be specified for the soft eviction threshold memory.available"),
    ],
)
def test_nonsense_is_refused(hard: str, soft: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(hard, soft, "", "")


MEMORY = Threshold(Signal.MEMORY, Amount(100), None, Amount(50))
SOFT = Threshold(Signal.NODE_DISK, Amount(share=0.5), 60.0)
BOTH = (SOFT, MEMORY)


def left(memory: int, disk: int = 1000) -> dict[Signal, Observation]:
    return {Signal.MEMORY: Observation(memory, 1000), Signal.NODE_DISK: Observation(disk, 1000)}


def test_a_hard_threshold_acts_at_once_and_until_more_is_free() -> None:
    verdict = judge(BOTH, left(99), State(), 0, 300)
    assert (verdict.due, verdict.conditions) == ((MEMORY,), {"MemoryPressure"})
    verdict = judge(BOTH, left(149), verdict.state, 10, 300)
    assert verdict.due == (MEMORY,), "what is to be reclaimed beyond it is missing"
    verdict = judge(BOTH, left(150), verdict.state, 20, 300)
    assert (verdict.due, verdict.conditions) == ((), {"MemoryPressure"})
    assert judge(BOTH, left(149), verdict.state, 309, 300).conditions == {"MemoryPressure"}, "the period is not over"
    assert judge(BOTH, left(149), verdict.state, 310, 300).conditions == frozenset()


def test_a_soft_threshold_waits() -> None:
    verdict = judge(BOTH, left(500, 499), State(), 0, 300)
    assert (verdict.due, verdict.conditions) == ((), {"DiskPressure"})
    verdict = judge(BOTH, left(500, 499), verdict.state, 59, 300)
    assert verdict.due == ()
    verdict = judge(BOTH, left(50, 499), verdict.state, 60, 300)
    assert verdict.due == (MEMORY, SOFT), "memory is the most urgent"
    verdict = judge(BOTH, left(500, 500), verdict.state, 70, 300)
    assert verdict.due == ()
    assert judge(BOTH, left(500, 499), verdict.state, 80, 300).due == (), "it counts from the beginning"


@given(available=st.integers(0, 2000), limit=st.integers(0, 2000))
def test_a_threshold_is_met_below_its_value(available: int, limit: int) -> None:
    threshold = Threshold(Signal.MEMORY, Amount(limit))
    assert bool(met((threshold,), left(available))) == (available < limit)


def pod(name: str, priority: int = 0, request: str = "", **spec: Any) -> Obj:
    resources = {"requests": {"memory": request, "ephemeral-storage": request}} if request else {}
    container = {"name": "main", "resources": resources}
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"priority": priority, "containers": [container], **spec},
    }


def use(of: Obj, memory: int = 0, rootfs: int = 0, processes: int = 0, **volumes: int) -> PodUse:
    place = Disk(1000, 500, 0, 0, 0, 0)
    group = Group("/p", Usage(None, Memory(memory, memory, 0), processes), 0)
    container = ContainerUse(
        "main", Container("c", "main", 0, "s", ContainerState.RUNNING, 0), group, place.holding(rootfs, 1), place
    )
    held = tuple(VolumeUse(name, place.holding(size, 1)) for name, size in volumes.items())
    return PodUse(Subject(of, "/p", None, {}), group, (container,), volumes=held)


@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage"])
def test_who_uses_more_than_asked_goes_first(resource: str) -> None:
    pods = [pod("within", 0, "10Mi"), pod("above", 0, "1Mi"), pod("important", 9, "1Mi"), pod("none"), pod("unknown")]
    uses = {p["metadata"]["name"]: use(p, 5 * MI, 5 * MI) for p in pods[:-1]}
    found = [p["metadata"]["name"] for p in ranking.ranked(pods, uses, resource)]
    assert found == ["unknown", "none", "above", "important", "within"]


def test_for_processes_priority_counts_then_their_number() -> None:
    pods = [pod("few"), pod("many"), pod("important", 9)]
    uses = {
        "few": use(pods[0], processes=1),
        "many": use(pods[1], processes=50),
        "important": use(pods[2], processes=99),
    }
    assert [p["metadata"]["name"] for p in ranking.ranked(pods, uses, "pids")] == ["many", "few", "important"]


def test_the_message_is_the_kubelets() -> None:
    greedy = pod("greedy", 0, "1Mi")
    threshold = Threshold(Signal.MEMORY, Amount(100 * MI))
    seen = {Signal.MEMORY: Observation(90 * MI, 1000 * MI)}
    assert ranking.message(greedy, use(greedy, 5 * MI), threshold, seen) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. "
        "Container main was using 5Mi, request is 1Mi, has larger consumption of memory. "
    )


@pytest.mark.parametrize(
    ("spec", "held", "message"),
    [
        pytest.param(
            {"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]},
            {"scratch": 2 * MI},
            'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ',
            id="a volume",
        ),
        pytest.param(
            {"containers": [{"name": "main", "resources": {"limits": {"ephemeral-storage": "1Mi"}}}]},
            {"scratch": 2 * MI},
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
            id="the pod",
        ),
        pytest.param(
            {
                "containers": [
                    {"name": "main", "resources": {"limits": {"ephemeral-storage": "1Mi"}}},
                    {"name": "side", "resources": {"limits": {"ephemeral-storage": "9Mi"}}},
                ]
            },
            {"rootfs": 2 * MI},
            'Container main exceeded its local ephemeral storage limit "1Mi". ',
            id="a container",
        ),
        pytest.param({"volumes": [{"name": "scratch", "emptyDir": {}}]}, {"scratch": 2 * MI}, "", id="no limit"),
    ],
)
def test_a_pods_own_limits_on_the_disk(spec: Obj, held: dict[str, int], message: str) -> None:
    one = pod("p", **spec)
    assert ranking.limited(one) == bool(message)
    assert ranking.excess(use(one, 0, held.pop("rootfs", 0), **held)) == message


@pytest.mark.parametrize(
    ("conditions", "qos", "more", "refused"),
    [
        ((), "BestEffort", {}, ""),
        (("MemoryPressure",), "BestEffort", {}, "The node had condition: [MemoryPressure]. "),
        (("MemoryPressure",), "Burstable", {}, ""),
        (("DiskPressure", "PIDPressure"), "Guaranteed", {}, "The node had condition: [DiskPressure PIDPressure]. "),
        (("DiskPressure",), "BestEffort", {"priority": 2_000_000_000}, ""),
        (
            ("MemoryPressure",),
            "BestEffort",
            {"tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]},
            "",
        ),
    ],
)
def test_a_node_under_pressure_takes_few_pods(conditions: tuple[str, ...], qos: str, more: Obj, refused: str) -> None:
    assert ranking.refusal(pod("p", **more), frozenset(conditions), qos) == refused


def test_pods_may_use_what_is_not_reserved() -> None:
    limits = Limits(reserved={"cpu": "500m", "memory": "200Mi"})
    capacity = {"cpu": "2", "memory": "1000Mi", "ephemeral-storage": "1000Mi", "pods": "9", "hugepages-2Mi": "100Mi"}
    assert allocatable(capacity, limits) == {
        "cpu": "1500m",
        "memory": "600Mi",
        "ephemeral-storage": "900Mi",
        "pods": "9",
        "hugepages-2Mi": "100Mi",
    }

"""Two versions of one object: what goes there and comes back is what went."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hawser.api import conversion, kinds
from hawser.api.conversion import autoscaling
from hawser.api.kinds import EVENTS_EVENT, HORIZONTAL_POD_AUTOSCALER_V1
from hawser.api.tables import table_columns
from hawser.api.validation import validate_create, validate_update

Obj = dict[str, Any]
amounts = st.sampled_from(["1", "500m", "2Gi"])
names = st.sampled_from(["cpu", "memory", "requests"])
selectors = st.sampled_from([{}, {"selector": {"matchLabels": {"a": "b"}}}])
percents = st.integers(1, 200)


def metric(kind: str, field: str, source: st.SearchStrategy[Obj]) -> st.SearchStrategy[Obj]:
    return source.map(lambda found: {"type": kind, field: found})


def target(*ways: str) -> st.SearchStrategy[Obj]:
    made = {
        "Utilization": percents.map(lambda n: {"type": "Utilization", "averageUtilization": n}),
        "AverageValue": amounts.map(lambda n: {"type": "AverageValue", "averageValue": n}),
        "Value": amounts.map(lambda n: {"type": "Value", "value": n}),
    }
    return st.one_of(*(made[way] for way in ways))


named = st.builds(lambda name, selector: {"name": name, **selector}, names, selectors)
metrics = st.one_of(
    metric(
        "Resource", "resource", st.fixed_dictionaries({"name": names, "target": target("Utilization", "AverageValue")})
    ),
    metric(
        "ContainerResource",
        "containerResource",
        st.fixed_dictionaries(
            {"name": names, "container": st.just("c"), "target": target("Utilization", "AverageValue")}
        ),
    ),
    metric("Pods", "pods", st.fixed_dictionaries({"metric": named, "target": target("AverageValue")})),
    metric("External", "external", st.fixed_dictionaries({"metric": named, "target": target("Value", "AverageValue")})),
    metric(
        "Object",
        "object",
        st.fixed_dictionaries(
            {
                "metric": named,
                "describedObject": st.just({"kind": "Service", "name": "s", "apiVersion": "v1"}),
                "target": target("Value", "AverageValue"),
            }
        ),
    ),
)


def cpu_last(found: list[Obj]) -> list[Obj]:
    """v1 has room for one utilization of CPU, which comes back as the last metric."""
    is_cpu = [m for m in found if autoscaling._cpu(m, "target") is not None]
    return [m for m in found if m not in is_cpu] + is_cpu[:1]


@given(
    st.lists(metrics, max_size=4).map(cpu_last),
    st.sampled_from([None, {"scaleDown": {"selectPolicy": "Disabled"}}]),
    st.sampled_from([[], [{"type": "AbleToScale", "status": "True", "reason": "r", "message": "m"}]]),
    st.sampled_from([{}, {"mine": "kept"}]),
)
def test_an_autoscaler_goes_to_v1_and_back(
    found: list[Obj], behavior: Obj | None, conditions: list[Obj], annotations: dict[str, str]
) -> None:
    spec: Obj = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3}
    if found:
        spec["metrics"] = found
    if behavior:
        spec["behavior"] = behavior
    status: Obj = {"currentReplicas": 1, "desiredReplicas": 1}
    if conditions:
        status["conditions"] = conditions
    metadata: Obj = {"name": "x", "namespace": "default"}
    if annotations:
        metadata["annotations"] = annotations
    kept = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }
    before = copy.deepcopy(kept)
    shown = conversion.shown(HORIZONTAL_POD_AUTOSCALER_V1, kept)
    assert shown["apiVersion"] == "autoscaling/v1"
    assert not {"metrics", "behavior"} & shown["spec"].keys()
    assert conversion.kept(HORIZONTAL_POD_AUTOSCALER_V1, shown) == kept
    assert kept == before


def test_v1_shows_the_utilization_of_cpu_as_a_field_and_the_rest_in_annotations() -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    }
    current = {
        "type": "Resource",
        "resource": {"name": "cpu", "current": {"averageUtilization": 5, "averageValue": "1m"}},
    }
    shown = autoscaling.to_v1(
        {"metadata": {}, "spec": {"metrics": [cpu, memory]}, "status": {"currentMetrics": [current]}}
    )
    assert shown["spec"] == {"targetCPUUtilizationPercentage": 60}
    assert shown["status"] == {"currentCPUUtilizationPercentage": 5}
    assert shown["metadata"]["annotations"] == {
        autoscaling.METRICS: '[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}}]',
        autoscaling.CURRENT_METRICS: (
            '[{"type":"Resource","resource":{"name":"cpu","currentAverageValue":"1m","currentAverageUtilization":5}}]'
        ),
    }


def test_annotations_that_cannot_be_read_are_dropped() -> None:
    annotations = {autoscaling.METRICS: "{", autoscaling.BEHAVIOR: "[]", "mine": "kept"}
    made = autoscaling.to_v2({"metadata": {"annotations": annotations}, "spec": {"maxReplicas": 1}})
    assert made == {"metadata": {"annotations": {"mine": "kept"}}, "spec": {"maxReplicas": 1}}


fields = ["involvedObject", "message", "source", "firstTimestamp", "count", "reportingComponent", "type", "series"]


@given(st.dictionaries(st.sampled_from(fields), st.text(max_size=3)))
def test_an_event_goes_to_the_new_group_and_back(values: dict[str, Any]) -> None:
    kept = {"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, **values}
    shown = conversion.shown(EVENTS_EVENT, kept)
    assert shown["apiVersion"] == "events.k8s.io/v1"
    assert conversion.kept(EVENTS_EVENT, shown) == kept


def new_event(**fields: Any) -> Obj:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "regarding": {"namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/c",
        "reportingInstance": "i",
        "action": "a",
        "reason": "r",
        "type": "Normal",
        **fields,
    }


def test_new_events_say_nothing_of_the_old() -> None:
    assert validate_create(EVENTS_EVENT, new_event()) == []
    wrong = new_event(deprecatedCount=3, series={"count": 1}, type="Odd", eventTime="")
    assert [str(e) for e in validate_create(EVENTS_EVENT, wrong)] == [
        'series.count: Invalid value: "": should be at least 2',
        "series.lastObservedTime: Required value",
        "eventTime: Required value",
        'type: Invalid value: "": has invalid value: Odd',
        'count: Invalid value: "": needs to be unset',
    ]


def test_of_a_new_event_only_the_series_changes() -> None:
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}
    assert validate_update(EVENTS_EVENT, new_event(series=series), new_event()) == []
    assert [str(e) for e in validate_update(EVENTS_EVENT, new_event(note="n"), new_event())] == [
        'message: Invalid value: "n": field is immutable'
    ]


def test_an_autoscaler_of_v1_is_asked_what_one_of_v2_is() -> None:
    obj = {
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"maxReplicas": 0},
    }
    errors = [str(e) for e in validate_create(HORIZONTAL_POD_AUTOSCALER_V1, obj)]
    assert "spec.maxReplicas: Invalid value: 0: must be greater than 0" in errors


def test_both_forms_have_the_same_columns() -> None:
    assert table_columns(EVENTS_EVENT) == table_columns(kinds.EVENT)
    assert table_columns(HORIZONTAL_POD_AUTOSCALER_V1) == table_columns(kinds.HORIZONTAL_POD_AUTOSCALER)

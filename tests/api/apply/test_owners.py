"""Merging, comparing and owning, on Kubernetes' own types; the cases are those of its documentation and of KEP-555."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hawser.api.apply import extract, owners, types
from hawser.api.apply.merge import merge
from hawser.api.apply.ownable import ownable
from hawser.api.errors import APIError
from hawser.api.kinds import POD, SERVICE

from .cluster import DEPLOY, MAP, Cluster, Obj, config_map, containers, deployment, items, spoken


def test_an_applier_owns_leaves_and_items_of_what_it_applies() -> None:
    ports = [{"containerPort": 80}]
    config = containers({"name": "c", "image": "i", "ports": ports, "args": ["a"], "resources": {}})
    config["metadata"]["labels"] = {"app": "web"}
    item = '.spec.template.spec.containers[name="c"]'
    assert spoken(ownable(extract.applied(DEPLOY, config))) == [
        ".metadata.labels.app",
        item,
        f"{item}.args",
        f"{item}.image",
        f"{item}.name",
        f'{item}.ports[containerPort=80,protocol="TCP"]',
        f'{item}.ports[containerPort=80,protocol="TCP"].containerPort',
        f"{item}.resources",
    ]


def test_who_creates_owns_the_objects_and_lists_that_came_to_be_too() -> None:
    cluster = Cluster()
    spec = {"template": {"spec": {"containers": [{"name": "c"}]}}, "strategy": {"rollingUpdate": {"maxSurge": 1}}}
    cluster.update("a", deployment({**spec, "selector": {"matchLabels": {"app": "web"}}}, labels={"app": "web"}))
    assert cluster.entries[0]["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}}}}},
        },
    }


def test_a_field_of_another_manager_is_a_conflict_and_force_takes_it() -> None:
    cluster = Cluster()
    cluster.apply("a", deployment({"replicas": 1}))
    cluster.update("kubectl-scale", deployment({"replicas": 3}))
    assert cluster.owned("a") == []
    with pytest.raises(APIError) as raised:
        cluster.apply("a", deployment({"replicas": 1, "paused": True}))
    assert raised.value.code == 409
    assert raised.value.reason == "Conflict"
    assert raised.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-scale" using apps/v1: .spec.replicas'
    )
    assert raised.value.details == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-scale" using apps/v1',
                "field": ".spec.replicas",
            }
        ]
    }
    assert cluster.apply("a", deployment({"replicas": 1}), force=True)["spec"] == {"replicas": 1}
    assert [entry["manager"] for entry in cluster.entries] == ["a"]


def test_several_conflicts_are_listed_by_manager() -> None:
    cluster = Cluster()
    cluster.apply("b", deployment({"replicas": 1, "paused": True}))
    cluster.update("c", deployment({"replicas": 1, "paused": True, "minReadySeconds": 3}))
    with pytest.raises(APIError) as raised:
        cluster.apply("a", deployment({"replicas": 2, "paused": False, "minReadySeconds": 4}))
    assert raised.value.message.splitlines() == [
        'Apply failed with 3 conflicts: conflicts with "b":',
        "- .spec.paused",
        "- .spec.replicas",
        'conflicts with "c" using apps/v1:',
        "- .spec.minReadySeconds",
    ]


def test_the_same_value_is_shared_and_stays_when_one_owner_leaves_it() -> None:
    cluster = Cluster()
    cluster.apply("a", deployment({"replicas": 1}))
    cluster.apply("b", deployment({"replicas": 1}))
    assert cluster.owned("a") == cluster.owned("b") == [".spec.replicas"]
    assert cluster.apply("a", deployment())["spec"] == {"replicas": 1}
    assert cluster.owned("a") == []
    assert "spec" not in cluster.apply("b", deployment())
    assert cluster.entries == []


def test_what_an_applier_leaves_out_goes_but_what_others_put_there_stays() -> None:
    cluster = Cluster()
    cluster.apply("a", deployment({"template": {"spec": {"nodeName": "n", "containers": [{"name": "c"}]}}}))
    grown = copy.deepcopy(cluster.object)
    items(grown)[0]["image"] = "i"
    items(grown).append({"name": "sidecar"})
    cluster.update("b", grown)
    left = cluster.apply("a", deployment())
    assert left["spec"] == {"template": {"spec": {"containers": [{"name": "sidecar"}]}}}
    assert cluster.owned("b") == [
        '.spec.template.spec.containers[name="sidecar"]',
        '.spec.template.spec.containers[name="sidecar"].name',
    ]


def test_items_of_a_list_map_are_owned_one_by_one() -> None:
    cluster = Cluster()
    cluster.apply("a", containers({"name": "x", "image": "1"}))
    cluster.apply("b", containers({"name": "y", "image": "2"}))
    assert [item["name"] for item in items(cluster.object)] == ["x", "y"]
    assert items(cluster.apply("a", containers({"name": "z", "image": "3"}))) == [
        {"name": "y", "image": "2"},
        {"name": "z", "image": "3"},
    ]


def test_keys_with_a_default_meet_items_without_them() -> None:
    service = Cluster(types.root(SERVICE.gvk))
    base = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    service.apply("a", {**base, "spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "x"}]}})
    merged = service.apply("a", {**base, "spec": {"ports": [{"port": 80, "name": "y"}]}})
    assert [port["name"] for port in merged["spec"]["ports"]] == ["y"]
    assert len(service.apply("b", {**base, "spec": {"ports": [{"port": 80, "protocol": "UDP"}]}})["spec"]["ports"]) == 2


def test_atomic_lists_and_objects_are_owned_as_wholes() -> None:
    cluster = Cluster()
    cluster.apply("a", deployment({"selector": {"matchLabels": {"a": "1"}}}))
    with pytest.raises(APIError, match=r"\.spec\.selector$"):
        cluster.apply("b", deployment({"selector": {"matchLabels": {"b": "1"}}}))
    merged = cluster.apply("b", deployment({"selector": {"matchLabels": {"b": "1"}}}), force=True)
    assert merged["spec"]["selector"] == {"matchLabels": {"b": "1"}}


def test_null_says_that_a_field_shall_not_be_there() -> None:
    cluster = Cluster(MAP)
    cluster.apply("a", config_map(x="1", y="2"))
    with pytest.raises(APIError, match=r"\.data\.x$"):
        cluster.apply("b", config_map(x=None))
    merged = cluster.apply("b", config_map(x=None), force=True)
    assert merged["data"] == {"x": None, "y": "2"}
    assert cluster.owned("b") == [".data.x"]
    assert cluster.owned("a") == [".data.y"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            containers({"name": "c"}, {"name": "c"}),
            '.spec.template.spec.containers: duplicate entries for key [name="c"]',
        ),
        (
            containers({"image": "i"}),
            (
                ".spec.template.spec.containers: element 0: associative list with keys has an element "
                'that omits key field "name" (and doesn\'t have default value)'
            ),
        ),
    ],
)
def test_items_must_have_keys_of_their_own(config: Obj, message: str) -> None:
    with pytest.raises(types.UnfitError) as raised:
        extract.applied(DEPLOY, config)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ("ab", "ba", "ba"),
        ("axb", "ba", "xba"),
        ("abc", "bd", "abcd"),
        ("abc", "db", "adbc"),
        ("", "ba", "ba"),
        ("ab", "", "ab"),
    ],
)
def test_lists_are_merged_in_the_order_that_is_applied(live: str, config: str, merged: str) -> None:
    node = types.root(POD.gvk)
    obj, wanted = ({"metadata": {"finalizers": list(names)}} for names in (live, config))
    assert "".join(merge(node, obj, wanted)["metadata"]["finalizers"]) == merged


def test_items_that_were_there_twice_stay_until_they_are_applied() -> None:
    live = containers({"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})
    assert len(items(merge(DEPLOY, live, containers({"name": "c", "image": "i"})))[0]["env"]) == 2
    merged = merge(DEPLOY, live, containers({"name": "c", "env": [{"name": "A", "value": "3"}]}))
    assert items(merged)[0]["env"] == [{"name": "A", "value": "3"}]


def test_an_object_without_owners_is_taken_as_one_before_the_first_apply() -> None:
    cluster = Cluster(MAP)
    cluster.object = config_map(x="1")
    with pytest.raises(APIError, match=r'conflict with "before-first-apply" using apps/v1: \.data\.x$'):
        cluster.apply("a", config_map(x="2"))
    cluster.apply("a", config_map(x="1"))
    assert cluster.owned("before-first-apply") == [".data", ".data.x"]


def test_an_update_owns_what_it_changes_and_disowns_what_it_removes() -> None:
    cluster = Cluster(MAP)
    cluster.update("a", config_map(x="1", y="1", z="1"))
    cluster.update("b", config_map(x="2", y="1"))
    assert cluster.owned("a") == [".data", ".data.y"]
    assert cluster.owned("b") == [".data.x"]
    held = cluster.entries
    cluster.update("c", config_map(x="2", y="1"))
    assert cluster.entries is held


def test_updaters_above_the_limit_become_ancient_changes() -> None:
    cluster = Cluster(MAP)
    data: dict[str, str | None] = {}
    for number in range(15):
        data[f"k{number}"] = "v"
        cluster.update(f"m{number}", config_map(**data))
    updaters = [entry["manager"] for entry in cluster.entries]
    assert len(updaters) == owners.MAX_UPDATERS
    assert updaters == ["ancient-changes", *(f"m{number}" for number in range(6, 15))]
    assert cluster.owned("ancient-changes") == [".data", *(f".data.k{number}" for number in range(6))]


def test_entries_are_ordered_appliers_first_then_by_time() -> None:
    cluster = Cluster(MAP)
    cluster.update("z", config_map(x="1"))
    cluster.update("b", config_map(x="1", y="1"))
    cluster.apply("a", config_map(x="1"))
    assert [(e["manager"], e["operation"]) for e in cluster.entries] == [
        ("a", "Apply"),
        ("z", "Update"),
        ("b", "Update"),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        "x",
        [{"manager": "a"}],
        [{"manager": "a", "operation": "Apply", "fieldsType": "FieldsV1"}],
        [{"manager": "a", "operation": "Steal", "apiVersion": "v1", "fieldsType": "FieldsV1"}],
        [{"manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV2"}],
        [{"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}}],
        [],
    ],
)
def test_entries_of_clients_that_cannot_be_read_do_not_count(raw: Any) -> None:
    assert owners.decode(raw) is None


def test_one_empty_entry_forgets_all() -> None:
    assert owners.decode([{}]) == []

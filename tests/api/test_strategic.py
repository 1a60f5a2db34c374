"""Strategic merge patches: the published examples, every directive, and the algebra."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.errors import APIError
from hawser.api.patch import strategic_merge, strategic_merge_patch
from hawser.api.types import Obj

DEPLOYMENT = ("apps", "v1", "Deployment")
POD = ("", "v1", "Pod")
SERVICE = ("", "v1", "Service")
NODE = ("", "v1", "Node")


def deployment(pod_spec: Obj, **spec: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": pod_spec}, **spec}}


def pod(spec: Obj) -> Obj:
    return {"spec": spec}


def named(*names: str) -> list[Obj]:
    return [{"name": name} for name in names]


def test_the_documentations_container_patch_adds_a_container_in_front() -> None:
    doc = deployment({"containers": [{"name": "patch-demo-ctr", "image": "nginx"}]})
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "patch-demo-ctr-2", "image": "redis"}]}}}}
    patched = strategic_merge_patch(doc, patch, DEPLOYMENT)
    assert patched["spec"]["template"]["spec"]["containers"] == [
        {"name": "patch-demo-ctr-2", "image": "redis"},
        {"name": "patch-demo-ctr", "image": "nginx"},
    ]


def test_the_documentations_tolerations_patch_replaces_the_list() -> None:
    doc = deployment({"tolerations": [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}]})
    new = [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]
    patch = {"spec": {"template": {"spec": {"tolerations": new}}}}
    assert strategic_merge_patch(doc, patch, DEPLOYMENT) == deployment({"tolerations": new})


def test_the_documentations_retain_keys_patch_clears_the_old_strategy() -> None:
    doc = deployment({}, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%"}})
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(doc, patch, DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}


CASES: list[tuple[str, Any, Obj, Obj, Obj]] = [
    ("maps merge, null deletes", POD, {"metadata": {"labels": {"a": "1", "b": "2"}}},
     {"metadata": {"labels": {"b": None, "c": "3"}}}, {"metadata": {"labels": {"a": "1", "c": "3"}}}),
    ("nulls of new maps are dropped", POD, {}, {"metadata": {"labels": {"a": None, "b": "1"}}},
     {"metadata": {"labels": {"b": "1"}}}),
    ("elements merge by key", POD, pod({"containers": [{"name": "a", "image": "1", "tty": True}, {"name": "b"}]}),
     pod({"containers": [{"name": "a", "image": "2"}]}),
     pod({"containers": [{"name": "a", "image": "2", "tty": True}, {"name": "b"}]})),
    ("ports merge by containerPort", POD, pod({"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}),
     pod({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}]}]}),
     pod({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}]}]})),
    ("$patch: delete takes an element out", POD, pod({"containers": named("a", "b", "c")}),
     pod({"containers": [{"name": "b", "$patch": "delete"}]}), pod({"containers": named("a", "c")})),
    ("$patch: delete of an absent element", POD, pod({"containers": named("a")}),
     pod({"containers": [{"name": "x", "$patch": "delete"}]}), pod({"containers": named("a")})),
    ("$patch: delete in a list that is not there", POD, pod({}),
     pod({"containers": [{"name": "b", "$patch": "delete"}, {"name": "a"}]}), pod({"containers": named("a")})),
    ("$patch: replace replaces a list", POD, pod({"containers": named("a", "b")}),
     pod({"containers": [{"name": "c"}, {"$patch": "replace"}]}), pod({"containers": named("c")})),
    ("$patch: replace replaces a map", POD, {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, {"metadata": {"labels": {"b": "2"}}}),
    ("$patch: delete empties a map", POD, {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "delete"}}}, {"metadata": {"labels": {}}}),
    ("$patch: replace of a map that is not there is nothing", POD, {"metadata": {"name": "a"}},
     {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, {"metadata": {"name": "a"}}),
    ("$patch: replace of a list that is not there takes the others", POD, pod({}),
     pod({"containers": [{"name": "c"}, {"$patch": "replace"}]}), pod({"containers": named("c")})),
    ("a directive in a list without merge keys is an element", POD, pod({"tolerations": [{"key": "a"}]}),
     pod({"tolerations": [{"$patch": "replace"}]}), pod({"tolerations": [{"$patch": "replace"}]})),
    ("a new element is taken as it is", POD, pod({"volumes": named("u")}),
     pod({"volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]}),
     pod({"volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}, {"name": "u"}]})),
    ("a value of another type is replaced", POD, {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": ["a", {"$patch": "delete"}, None]}}, {"metadata": {"labels": ["a", None]}}),
    ("$retainKeys turns a volume into another kind", POD, pod({"volumes": [{"name": "v", "emptyDir": {}}]}),
     pod({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
     pod({"volumes": [{"name": "v", "configMap": {"name": "c"}}]})),
    ("scalars of a merging list are added once", POD, {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"finalizers": ["b", "c"]}}, {"metadata": {"finalizers": ["a", "b", "c"]}}),
    ("$deleteFromPrimitiveList", POD, {"metadata": {"finalizers": ["a", "b", "c"]}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}, {"metadata": {"finalizers": ["a", "c"]}}),
    ("$deleteFromPrimitiveList of nothing takes the list", POD, {"metadata": {"finalizers": ["a"]}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": None}}, {"metadata": {}}),
    ("$deleteFromPrimitiveList of no list", POD, {"metadata": {"finalizers": ["a"]}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}, {"metadata": {"finalizers": ["a"]}}),
    ("$deleteFromPrimitiveList in a list that is replaced as a whole", POD,
     pod({"containers": [{"name": "a", "args": ["x", "y"]}]}),
     pod({"containers": [{"name": "a", "$deleteFromPrimitiveList/args": ["x"]}]}),
     pod({"containers": [{"name": "a", "args": ["y"]}]})),
    ("$deleteFromPrimitiveList without a list", POD, {"metadata": {}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}, {"metadata": {}}),
    ("$setElementOrder reorders", POD, pod({"containers": named("a", "b", "c")}),
     pod({"$setElementOrder/containers": named("c", "a")}), pod({"containers": named("b", "c", "a")})),
    ("$setElementOrder with additions", POD, pod({"containers": named("a", "b")}),
     pod({"$setElementOrder/containers": named("a", "x", "b"), "containers": [{"name": "x", "image": "i"}]}),
     pod({"containers": [{"name": "a"}, {"name": "x", "image": "i"}, {"name": "b"}]})),
    ("$setElementOrder with a deletion", POD, pod({"containers": named("a", "b")}),
     pod({"$setElementOrder/containers": named("b"), "containers": [{"name": "a", "$patch": "delete"}]}),
     pod({"containers": named("b")})),
    ("$setElementOrder of scalars", POD, {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"$setElementOrder/finalizers": ["b", "a", "c"], "finalizers": ["c"]}},
     {"metadata": {"finalizers": ["b", "a", "c"]}}),
    ("$setElementOrder of nothing", POD, pod({}), pod({"$setElementOrder/containers": named("a")}), pod({})),
    ("an atomic list is replaced", POD, pod({"containers": [{"name": "a", "command": ["x", "y"]}]}),
     pod({"containers": [{"name": "a", "command": ["z"]}]}), pod({"containers": [{"name": "a", "command": ["z"]}]})),
    ("a service's ports merge by port", SERVICE, {"spec": {"ports": [{"port": 80, "targetPort": 1}]}},
     {"spec": {"ports": [{"port": 80, "targetPort": 2}]}}, {"spec": {"ports": [{"port": 80, "targetPort": 2}]}}),
    ("conditions merge by type", NODE,
     {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "X"}]}},
     {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
     {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X"}]}}),
    ("a strategy of replace", NODE, {"spec": {"configSource": {"configMap": {"name": "a"}}}},
     {"spec": {"configSource": {"configMap": {"uid": "u"}}}},
     {"spec": {"configSource": {"configMap": {"name": "a", "uid": "u"}}}}),
    ("unknown fields are plain", POD, {"spec": {"foo": [{"a": 1}], "bar": {"a": 1}}},
     {"spec": {"foo": [{"b": 1}], "bar": {"b": 1}}}, {"spec": {"foo": [{"b": 1}], "bar": {"a": 1, "b": 1}}}),
]  # fmt: skip


@pytest.mark.parametrize(("gvk", "doc", "patch", "result"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_strategic_merge_patch(gvk: Any, doc: Obj, patch: Obj, result: Obj) -> None:
    inputs = copy.deepcopy((doc, patch))
    assert strategic_merge_patch(doc, patch, gvk) == result
    assert (doc, patch) == inputs


@pytest.mark.parametrize(
    ("patch", "code", "complaint"),
    [
        (
            pod({"containers": [{"name": "a"}, "x"]}),
            500,
            "list element types are not identical: [[map[name:a] map[name:b]] [map[name:a] x]]",
        ),
        (
            pod({"containers": [None]}),
            500,
            "list element types are not identical: [[map[name:a] map[name:b]] [<nil>]]",
        ),
        (pod({"containers": [{"image": "x"}]}), 500, "map: map[image:x] does not contain declared merge key: name"),
        (
            pod({"containers": [{"$patch": "delete"}]}),
            500,
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            pod({"containers": [{"name": "a", "$patch": "frob"}]}),
            500,
            "unknown patch type: frob in map: map[$patch:frob name:a]",
        ),
        (
            pod({"containers": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        ({"spec": {"$patch": "merge"}}, 500, "unknown patch type: merge in map: map[$patch:merge]"),
        ({"spec": {"$retainKeys": "x"}}, 400, "invalid patch format of retainKeys"),
        ({"spec": {"$retainKeys": ["a"], "nodeName": "b"}}, 400, "invalid patch format of retainKeys"),
        ({"metadata": {"$deleteFromPrimitiveList": ["a"]}}, 400, "invalid patch format of primitive list"),
        ({"metadata": {"$setElementOrder": ["a"]}}, 400, "invalid patch format of setElementOrder list"),
        (pod({"$setElementOrder/containers": "x"}), 500, "expected a []interface {}, but received a string"),
        (
            pod({"$setElementOrder/containers": named("a"), "containers": None}),
            500,
            "expected a []interface {}, but received a %!s(<nil>)",
        ),
        (
            pod({"$setElementOrder/containers": ["a"], "containers": named("a")}),
            500,
            "expected a map[string]interface {}, but received a string",
        ),
        (
            pod({"$setElementOrder/containers": named("a"), "containers": named("b")}),
            500,
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (
            pod({"$setElementOrder/containers": named("a", "b"), "containers": named("b", "a")}),
            500,
            (
                "The order in patch list:\n[map[name:b] map[name:a]]\n"
                " doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n"
            ),
        ),
    ],
)
def test_a_malformed_patch_is_refused_as_the_original_does(patch: Obj, code: int, complaint: str) -> None:
    doc = {"metadata": {"finalizers": ["a"]}, "spec": {"containers": named("a", "b")}}
    with pytest.raises(APIError) as caught:
        strategic_merge_patch(doc, patch, POD)
    assert (caught.value.code, caught.value.message) == (code, complaint)


_NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)
_CONTAINER = st.fixed_dictionaries(
    {}, optional={"image": st.sampled_from("xyz"), "args": st.lists(st.sampled_from("pq"))}
)


@st.composite
def _pods(draw: st.DrawFn) -> Obj:
    containers = [{"name": name, **draw(_CONTAINER)} for name in draw(_NAMES)]
    labels = draw(st.dictionaries(st.sampled_from("klm"), st.sampled_from("vw"), max_size=3))
    return {"metadata": {"labels": labels}, "spec": {"containers": containers}}


@given(_pods(), _pods())
def test_applying_twice_is_applying_once(doc: Obj, patch: Obj) -> None:
    once = strategic_merge_patch(doc, patch, POD)
    assert strategic_merge_patch(once, patch, POD) == once


@given(_pods(), _pods())
def test_nothing_is_lost_and_the_patch_wins(doc: Obj, patch: Obj) -> None:
    had = {c["name"]: c for c in doc["spec"]["containers"]}
    wanted = {c["name"]: c for c in patch["spec"]["containers"]}
    merged = strategic_merge_patch(doc, patch, POD)["spec"]["containers"]
    assert {c["name"]: c for c in merged} == {
        name: {**had.get(name, {}), **wanted.get(name, {})} for name in had.keys() | wanted.keys()
    }
    assert [c["name"] for c in merged if c["name"] in wanted] == list(wanted)


@given(_pods().filter(lambda doc: doc["spec"]["containers"]), _NAMES)
def test_the_element_order_is_obeyed(doc: Obj, order: list[str]) -> None:
    merged = strategic_merge_patch(doc, pod({"$setElementOrder/containers": named(*order)}), POD)["spec"]["containers"]
    have = [c["name"] for c in merged]
    assert sorted(have) == sorted(c["name"] for c in doc["spec"]["containers"])
    assert [name for name in have if name in order] == [name for name in order if name in have]


@given(_pods())
def test_the_empty_patch_changes_nothing(doc: Obj) -> None:
    assert strategic_merge_patch(doc, {}, POD) == doc


def test_without_a_schema_lists_are_replaced() -> None:
    assert strategic_merge({"a": [1], "b": {"c": 1}}, {"a": [2], "b": {"d": 1}}, {}) == {
        "a": [2],
        "b": {"c": 1, "d": 1},
    }

"""Discovery documents have the shape that kube-apiserver gives them."""

from __future__ import annotations

import pytest

from hawser.api import discovery, kinds
from hawser.api.types import Obj


def _by_name(resources: list[Obj]) -> dict[str, Obj]:
    return {resource["name"]: resource for resource in resources}


def test_the_core_groups_resources_are_those_of_the_kind_table() -> None:
    document = discovery.api_resource_list("", "v1")
    assert document is not None
    assert (document["kind"], document["groupVersion"]) == ("APIResourceList", "v1")
    resources = _by_name(document["resources"])
    assert resources["pods"] == {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["po"],
        "categories": ["all"],
        # As upstream publishes it (api/discovery/api__v1.json): the hash is the same for the same stored version.
        "storageVersionHash": "xPOwRZ+Yhw8=",
    }
    assert resources["pods/exec"]["kind"] == "PodExecOptions"
    assert resources["pods/exec"]["verbs"] == ["create", "get"]
    assert resources["pods/binding"]["kind"] == "Binding"
    assert resources["pods/log"] == {
        "name": "pods/log",
        "singularName": "",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["get"],
    }
    assert resources["nodes/status"]["verbs"] == ["get", "patch", "update"]
    assert not resources["namespaces"]["namespaced"]


def test_a_scale_subresource_is_of_another_group() -> None:
    document = discovery.api_resource_list("apps", "v1")
    assert document is not None
    assert _by_name(document["resources"])["deployments/scale"] == {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }


def test_every_kind_of_the_table_is_found_in_both_forms() -> None:
    plain, aggregated = set(), set()
    for group, versions in kinds.groups():
        for version in versions:
            document = discovery.api_resource_list(group, version)
            assert document is not None
            plain |= {(group, version, r["kind"]) for r in document["resources"] if "/" not in r["name"]}
    for core in (True, False):
        for item in discovery.aggregated(core=core)["items"]:
            for version in item["versions"]:
                aggregated |= {
                    (item["metadata"].get("name", ""), version["version"], r["responseKind"]["kind"])
                    for r in version["resources"]
                }
    assert plain == aggregated == {kind.gvk for kind in kinds.KINDS}


def test_what_other_servers_serve_stands_in_their_order_and_is_stale_when_they_do_not_say() -> None:
    row = kinds.Kind("x.io", "v1", "A", "as", True)
    remote = [
        kinds.RemoteVersion("x.io", "v2", fresh=False),
        kinds.RemoteVersion("x.io", "v1", True, (row,)),
        kinds.RemoteVersion("y.io", "v1", True),
    ]
    shown = discovery.aggregated(core=False, kinds=(*kinds.KINDS, row), remote=remote)["items"][-2:]
    assert [(item["metadata"]["name"], len(item["versions"])) for item in shown] == [("x.io", 2), ("y.io", 1)]
    stale, current = shown[0]["versions"]
    assert stale == {"version": "v2", "freshness": "Stale"}
    assert [each["resource"] for each in current["resources"]] == ["as"]
    assert shown[1]["versions"] == [{"version": "v1", "resources": [], "freshness": "Current"}]
    group = discovery.api_group("x.io", (row,), remote)
    assert group is not None
    assert group["preferredVersion"]["version"] == "v2"
    assert [one["name"] for one in discovery.api_group_list((row,), remote)["groups"]] == ["x.io", "y.io"]


def test_groups_list_their_versions() -> None:
    assert discovery.api_group("apps") == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "apps",
        "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
        "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
    }
    names = [group["name"] for group in discovery.api_group_list()["groups"]]
    assert "apps" in names
    assert "" not in names
    assert discovery.api_versions("10.0.0.1:6443")["versions"] == ["v1"]


def test_what_is_not_served_is_not_found() -> None:
    assert discovery.api_group("nope") is None
    assert discovery.api_group("") is None
    assert discovery.api_resource_list("apps", "v9") is None


KUBECTL = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (KUBECTL, "v2"),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", "v2beta1"),
        ("application/json; v=v2; as=APIGroupDiscoveryList; g=apidiscovery.k8s.io", "v2"),
        ("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json", None),
        ("application/json", None),
        ("application/json, */*", None),
        ("", None),
    ],
)
def test_the_accept_header_chooses_the_form(accept: str, version: str | None) -> None:
    assert discovery.accepted_aggregation(accept) == version


def test_the_version_is_the_served_kubernetes_version() -> None:
    document = discovery.version_document()
    assert (document["major"], document["minor"]) == ("1", "36")
    assert document["gitVersion"].startswith("v1.36.0+hawser.")
    assert document["platform"].startswith("linux/")


def test_an_etag_follows_the_content() -> None:
    assert discovery.etag({"a": 1, "b": 2}) == discovery.etag({"b": 2, "a": 1})
    assert discovery.etag({"a": 1}) != discovery.etag({"a": 2})

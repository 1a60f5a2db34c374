"""Kubernetes' published definitions as Hawser keeps them."""

import pytest

from hawser.api import definitions, kinds


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda k: k.kind)
def test_every_served_kind_has_a_definition(kind: kinds.Kind) -> None:
    schema = definitions.definition(kind.gvk)
    assert schema["properties"]["kind"]["enum"] == [kind.kind]
    assert "metadata" in schema["properties"]


def test_references_and_names_resolve_to_the_same_definition() -> None:
    name = definitions.definition_name(("", "v1", "Pod"))
    assert name == "io.k8s.api.core.v1.Pod"
    assert definitions.resolve("#/$defs/" + name) is definitions.resolve(name)


def test_descriptions_are_dropped_but_not_properties_of_that_name() -> None:
    pod = definitions.definition(("", "v1", "Pod"))
    assert "description" not in pod
    column = definitions.resolve(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceColumnDefinition"
    )
    assert "description" in column["properties"]


def test_merge_keys_are_kept() -> None:
    containers = definitions.resolve("io.k8s.api.core.v1.PodSpec")["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]


def test_kinds_that_are_not_served_load_on_demand() -> None:
    scale = definitions.definition(("autoscaling", "v1", "Scale"))
    assert "replicas" in definitions.resolve(scale["properties"]["spec"]["$ref"])["properties"]


def test_delete_options_exist_in_every_group_version() -> None:
    for group, version in {(k.group, k.version) for k in kinds.KINDS}:
        assert "preconditions" in definitions.definition((group, version, "DeleteOptions"))["properties"]


def test_unknown_names_raise_key_error() -> None:
    with pytest.raises(KeyError):
        definitions.definition(("", "v1", "Nonsense"))
    with pytest.raises(KeyError):
        definitions.resolve("io.k8s.Nonsense")


def test_the_raw_document_has_descriptions() -> None:
    raw = definitions.raw_document()
    assert raw["$defs"]["io.k8s.api.core.v1.Pod"]["description"].startswith("Pod is a collection of containers")

"""What is read of claims, volumes and their classes."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.api import storage
from hawser.api.types import Obj


@pytest.mark.parametrize(
    ("annotations", "spec", "name"),
    [
        (None, {}, ""),
        (None, {"storageClassName": "fast"}, "fast"),
        ({storage.CLASS_BETA: "old"}, {"storageClassName": "fast"}, "old"),
        # An empty name is a name: of no class.
        ({storage.CLASS_BETA: ""}, {"storageClassName": "fast"}, ""),
    ],
)
def test_the_annotation_of_old_names_the_class_before_the_field(annotations: Any, spec: Obj, name: str) -> None:
    assert storage.class_of({"metadata": {"annotations": annotations}, "spec": spec}) == name


@pytest.mark.parametrize(
    ("reference", "its"),
    [
        ({"namespace": "ns", "name": "data"}, True),
        ({"namespace": "ns", "name": "data", "uid": ""}, True),
        ({"namespace": "ns", "name": "data", "uid": "1"}, True),
        ({"namespace": "ns", "name": "data", "uid": "2"}, False),
        ({"namespace": "ns", "name": "other", "uid": "1"}, False),
        ({"namespace": "other", "name": "data"}, False),
    ],
)
def test_a_reference_is_to_a_claim_by_name_and_by_uid_if_it_says_one(reference: Obj, its: bool) -> None:
    assert storage.is_for(reference, {"metadata": {"namespace": "ns", "name": "data", "uid": "1"}}) is its


@pytest.mark.parametrize(
    ("asked", "enough"),
    [
        ({}, True),
        ({"resources": {"requests": {"storage": "1Gi"}}}, True),
        ({"resources": {"requests": {"storage": "1025Mi"}}}, False),
        ({"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}, True),
        ({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}, False),
        ({"volumeMode": "Block"}, False),
        ({"volumeAttributesClassName": ""}, True),
        ({"volumeAttributesClassName": "gold"}, False),
    ],
)
def test_a_volume_is_enough_that_has_the_size_the_modes_and_the_attributes(asked: Obj, enough: bool) -> None:
    volume: Obj = {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}
    assert storage.is_enough(volume, {"spec": asked}) is enough

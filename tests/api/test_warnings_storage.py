"""What is said of valid volumes and claims."""

from typing import Any

import pytest

from hawser.api.warnings.storage import claim, volume

CLASS = "volume.beta.kubernetes.io/storage-class"
OPTIONS = "volume.beta.kubernetes.io/mount-options"
BETA = f'metadata.annotations[{CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'


@pytest.mark.parametrize(
    ("notes", "spec", "expected"),
    [
        ({}, {"persistentVolumeReclaimPolicy": "Retain", "nfs": {}}, []),
        (
            {CLASS: "", OPTIONS: ""},
            {},
            [BETA, f'metadata.annotations[{OPTIONS}]: deprecated since v1.31; use "mountOptions" attribute instead'],
        ),
        (
            {},
            {"persistentVolumeReclaimPolicy": "Recycle"},
            [
                (
                    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the "
                    "recommended approach is to use dynamic provisioning."
                )
            ],
        ),
        ({}, {"cephfs": {}}, ["spec.cephfs: deprecated in v1.28, non-functional in v1.31+"]),
        ({}, {"storageos": {}}, ["spec.storageOS: deprecated in v1.22, non-functional in v1.25+"]),
    ],
)
def test_volumes(notes: dict[str, str], spec: dict[str, Any], expected: list[str]) -> None:
    assert list(volume({"metadata": {"annotations": notes}, "spec": spec})) == expected


@pytest.mark.parametrize(
    ("notes", "resources", "expected"),
    [
        ({}, {"requests": {"storage": "1.5Gi"}}, []),
        ({CLASS: "x"}, {}, [BETA]),
        (
            {},
            {"requests": {"storage": "1500m"}, "limits": {"storage": "2500000u"}},
            [
                'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer',
                'spec.resources.limits[storage]: fractional byte value "2500m" is invalid, must be an integer',
            ],
        ),
    ],
)
def test_claims(notes: dict[str, str], resources: dict[str, Any], expected: list[str]) -> None:
    assert list(claim({"metadata": {"annotations": notes}, "spec": {"resources": resources}})) == expected

"""Defaults of storage, networking, access, admission, flow control and devices."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import Kind

RBAC = "rbac.authorization.k8s.io"
HOOK = {
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "namespaceSelector": {},
    "objectSelector": {},
    "timeoutSeconds": 10,
}


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (
            kinds.PERSISTENT_VOLUME,
            {"spec": {"hostPath": {"path": "/x"}, "iscsi": {}}},
            {
                "spec": {
                    "hostPath": {"path": "/x", "type": ""},
                    "iscsi": {"iscsiInterface": "default"},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "volumeMode": "Filesystem",
                },
                "status": {"phase": "Pending"},
            },
        ),
        (kinds.PERSISTENT_VOLUME_CLAIM, {}, {"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
        (kinds.STORAGE_CLASS, {}, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        (
            kinds.STORAGE_CLASS,
            {"reclaimPolicy": "Retain"},
            {"reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"},
        ),
        (
            kinds.CSI_DRIVER,
            {"spec": {"attachRequired": False}},
            {
                "spec": {
                    "attachRequired": False,
                    "podInfoOnMount": False,
                    "storageCapacity": False,
                    "fsGroupPolicy": "ReadWriteOnceWithFSType",
                    "requiresRepublish": False,
                    "seLinuxMount": False,
                    "volumeLifecycleModes": ["Persistent"],
                }
            },
        ),
        (kinds.NETWORK_POLICY, {"spec": {}}, {"spec": {"policyTypes": ["Ingress"]}}),
        (
            kinds.NETWORK_POLICY,
            {"spec": {"egress": [{"ports": [{"port": 53}]}]}},
            {"spec": {"egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}], "policyTypes": ["Ingress", "Egress"]}},
        ),
        (kinds.INGRESS_CLASS, {"spec": {"parameters": {}}}, {"spec": {"parameters": {"scope": "Cluster"}}}),
        (kinds.ENDPOINTS, {"subsets": [{"ports": [{}]}]}, {"subsets": [{"ports": [{"protocol": "TCP"}]}]}),
        (
            kinds.ROLE_BINDING,
            {"roleRef": {"kind": "Role"}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]},
            {
                "roleRef": {"kind": "Role", "apiGroup": RBAC},
                "subjects": [{"kind": "User", "apiGroup": RBAC}, {"kind": "ServiceAccount"}],
            },
        ),
        (
            kinds.VALIDATING_WEBHOOK_CONFIGURATION,
            {"webhooks": [{"rules": [{}], "clientConfig": {"service": {}}}]},
            {"webhooks": [{**HOOK, "rules": [{"scope": "*"}], "clientConfig": {"service": {"port": 443}}}]},
        ),
        (
            kinds.MUTATING_WEBHOOK_CONFIGURATION,
            {"webhooks": [{"timeoutSeconds": 3}]},
            {"webhooks": [{**HOOK, "timeoutSeconds": 3, "reinvocationPolicy": "Never"}]},
        ),
        (kinds.API_SERVICE, {"spec": {"service": {}}}, {"spec": {"service": {"port": 443}}}),
        (kinds.FLOW_SCHEMA, {}, {"spec": {"matchingPrecedence": 1000}}),
        (
            kinds.PRIORITY_LEVEL_CONFIGURATION,
            {"spec": {"limited": {"limitResponse": {"queuing": {"queues": 3}}}}},
            {
                "spec": {
                    "limited": {
                        "nominalConcurrencyShares": 30,
                        "lendablePercent": 0,
                        "limitResponse": {"queuing": {"queues": 3, "handSize": 8, "queueLengthLimit": 50}},
                    }
                }
            },
        ),
        (
            kinds.RESOURCE_CLAIM,
            {"spec": {"devices": {"requests": [{"exactly": {"tolerations": [{}]}}, {"firstAvailable": [{}]}]}}},
            {
                "spec": {
                    "devices": {
                        "requests": [
                            {
                                "exactly": {
                                    "tolerations": [{"operator": "Equal"}],
                                    "allocationMode": "ExactCount",
                                    "count": 1,
                                }
                            },
                            {"firstAvailable": [{"allocationMode": "ExactCount", "count": 1}]},
                        ]
                    }
                }
            },
        ),
        (
            kinds.RESOURCE_CLAIM_TEMPLATE,
            {"spec": {"spec": {"devices": {"requests": [{"exactly": {"allocationMode": "All"}}]}}}},
            {"spec": {"spec": {"devices": {"requests": [{"exactly": {"allocationMode": "All"}}]}}}},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Kind) else "",
)
def test_what_is_left_out_is_filled_in(kind: Kind, given: dict[str, Any], expected: dict[str, Any]) -> None:
    obj = copy.deepcopy(given)
    apply_defaults(kind, obj)
    assert obj == expected
    apply_defaults(kind, obj)
    assert obj == expected

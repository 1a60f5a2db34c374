"""The least object of every kind that the server accepts, for tests that go through all of them."""

from __future__ import annotations

import copy
from base64 import b64encode
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hawser.api.kind import Kind
from hawser.api.kinds import KINDS

Obj = dict[str, Any]

LABELS = {"app": "sample"}
SELECTOR = {"matchLabels": LABELS}
POD_SPEC: Obj = {"containers": [{"name": "c", "image": "busybox"}]}
TEMPLATE: Obj = {"metadata": {"labels": LABELS}, "spec": POD_SPEC}
JOB_SPEC: Obj = {"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}
ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
SUBJECTS = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
CLAIM_SPEC: Obj = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "example.com"}}]}}
HOOK: Obj = {
    "name": "hook.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nope"]}],
}
MATCH: Obj = {
    "resourceRules": [
        {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nope"]}
    ]
}
VERSIONS: Obj = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}

_OBJECTS: dict[str, Obj] = {
    "ConfigMap": {"data": {"k": "v"}},
    "Endpoints": {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]},
    "Event": {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "Tested",
        "message": "As a sample",
        "type": "Normal",
        "source": {"component": "tests"},
    },
    "LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "64"}}]}},
    "Namespace": {},
    "Node": {},
    "PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "PersistentVolume": {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/sample"}}
    },
    "Pod": {"spec": POD_SPEC},
    "PodTemplate": {"template": TEMPLATE},
    "ReplicationController": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    "ResourceQuota": {"spec": {"hard": {"pods": "1000"}}},
    "Secret": {"data": {"k": "dg=="}},
    "ServiceAccount": {},
    "Service": {"spec": {"selector": LABELS, "ports": [{"port": 80}]}},
    "MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": MATCH,
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": '[JSONPatch{op: "remove", path: "/a"}]'},
                }
            ],
        }
    },
    "MutatingAdmissionPolicyBinding": {"spec": {"policyName": "nope"}},
    "MutatingWebhookConfiguration": {"webhooks": [HOOK]},
    "ValidatingAdmissionPolicy": {"spec": {"matchConstraints": MATCH, "validations": [{"expression": "true"}]}},
    "ValidatingAdmissionPolicyBinding": {"spec": {"policyName": "nope", "validationActions": ["Deny"]}},
    "ValidatingWebhookConfiguration": {"webhooks": [HOOK]},
    "CustomResourceDefinition": {
        "spec": {
            "group": "samples.example.com",
            "names": {"kind": "Sample", "plural": "samples"},
            "scope": "Namespaced",
            "versions": [VERSIONS],
        }
    },
    "APIService": {
        "spec": {
            "group": "samples.example.org",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "service": {"name": "s", "namespace": "default"},
        }
    },
    "ControllerRevision": {"revision": 1, "data": {"k": "v"}},
    "DaemonSet": {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "Deployment": {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "ReplicaSet": {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "StatefulSet": {"spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "s"}},
    "HorizontalPodAutoscaler": {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3}
    },
    "CronJob": {"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": JOB_SPEC}}},
    "Job": {"spec": JOB_SPEC},
    "CertificateSigningRequest": {
        "spec": {"signerName": "example.com/sample", "usages": ["client auth"], "request": "<a certificate request>"}
    },
    "Lease": {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 10}},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}]},
    "events.k8s.io/Event": {
        "regarding": {"kind": "Pod", "name": "p"},
        "reason": "Tested",
        "action": "Testing",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/tests",
        "reportingInstance": "tests-1",
    },
    "FlowSchema": {
        "spec": {
            "priorityLevelConfiguration": {"name": "global-default"},
            "matchingPrecedence": 9000,
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "joe"}}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/nope"]}],
                }
            ],
        }
    },
    "PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}, "nominalConcurrencyShares": 1}}
    },
    "IngressClass": {"spec": {"controller": "example.com/controller"}},
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
    "IPAddress": {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}}},
    "NetworkPolicy": {"spec": {"podSelector": {}}},
    "ServiceCIDR": {"spec": {"cidrs": ["10.97.0.0/24"]}},
    "RuntimeClass": {"handler": "runc"},
    "PodDisruptionBudget": {"spec": {"selector": SELECTOR, "minAvailable": 1}},
    "ClusterRoleBinding": {"roleRef": ROLE_REF, "subjects": SUBJECTS},
    "ClusterRole": {"rules": RULES},
    "RoleBinding": {"roleRef": ROLE_REF, "subjects": SUBJECTS},
    "Role": {"rules": RULES},
    "DeviceClass": {"spec": {"selectors": [{"cel": {"expression": 'device.driver == "example.com"'}}]}},
    "ResourceClaim": {"spec": CLAIM_SPEC},
    "ResourceClaimTemplate": {"spec": {"spec": CLAIM_SPEC}},
    "ResourceSlice": {
        "spec": {
            "driver": "example.com",
            "nodeName": "n1",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "d"}],
        }
    },
    "PriorityClass": {"value": 10},
    "CSIDriver": {"spec": {"attachRequired": False}},
    "CSINode": {"spec": {"drivers": [{"name": "example.com", "nodeID": "n1"}]}},
    "CSIStorageCapacity": {"storageClassName": "sc", "capacity": "1Gi"},
    "StorageClass": {"provisioner": "example.com/p"},
    "VolumeAttachment": {
        "spec": {"attacher": "example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv"}}
    },
    "VolumeAttributesClass": {"driverName": "example.com", "parameters": {"iops": "100"}},
}
_REVIEWS: dict[str, Obj] = {
    "SelfSubjectReview": {},
    "TokenReview": {"spec": {"token": "joe-token"}},
    "LocalSubjectAccessReview": {"spec": {"user": "joe", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "SelfSubjectAccessReview": {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "SelfSubjectRulesReview": {"spec": {"namespace": "default"}},
    "SubjectAccessReview": {"spec": {"user": "joe", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
}
_NAMES = {"CustomResourceDefinition": "samples.samples.example.com", "APIService": "v1.samples.example.org"}

STORED = tuple(kind for kind in KINDS if "update" in kind.verbs)
"""The kinds that are stored; the others only answer."""
REVIEWS = tuple(kind for kind in KINDS if kind.kind in _REVIEWS)


def sample(kind: Kind, name: str = "sample", namespace: str = "") -> Obj:
    """The least object of a kind. Some kinds have but one possible name: see name_of."""
    objects = {**_OBJECTS, **_REVIEWS}
    obj = copy.deepcopy(objects.get(f"{kind.group}/{kind.kind}", objects[kind.kind]))
    if kind.kind == "CertificateSigningRequest":
        obj["spec"]["request"] = _certificate_request()
    if kind.kind == "LocalSubjectAccessReview":
        obj["spec"]["resourceAttributes"]["namespace"] = namespace
    metadata = {"name": name_of(kind, name)} if kind in STORED else {}
    if kind.namespaced and namespace:
        metadata["namespace"] = namespace
    if kind.kind == "Event":
        obj["regarding" if kind.group else "involvedObject"]["namespace"] = namespace
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **obj}


def name_of(kind: Kind, name: str = "sample") -> str:
    """The name of a kind's sample: what is asked for, or what the kind demands."""
    if kind.kind == "IPAddress":
        return "10.96.0.77"
    return _NAMES.get(kind.kind, name)


@cache
def _certificate_request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sample")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()

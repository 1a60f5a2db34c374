"""Pods, in kube-apiserver's words."""

from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.validation import validate_create

from .pods import container, pod


def create(**spec: Any) -> list[str]:
    return [str(e) for e in validate_create(kinds.POD, pod(**spec))]


def of_container(**fields: Any) -> list[str]:
    return create(containers=[container(**fields)], volumes=[{"name": "v"}])


LABEL = "a lowercase RFC 1123 label must consist of"
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"containers": []}, ["spec.containers: Required value"]),
    (
        {"containers": [{}]},
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    ),
    (
        {"containers": [container(), container()]},
        ['spec.containers[1].name: Duplicate value: "a"'],
    ),
    (
        {"initContainers": [container()]},
        ['spec.initContainers[0].name: Duplicate value: "a"'],
    ),
    (
        {"restartPolicy": "Foo"},
        ['spec.restartPolicy: Unsupported value: "Foo": supported values: "Always", "OnFailure", "Never"'],
    ),
    (
        {"dnsPolicy": "Foo"},
        [
            (
                'spec.dnsPolicy: Unsupported value: "Foo": supported values: "ClusterFirstWithHostNet", '
                '"ClusterFirst", "Default", "None"'
            )
        ],
    ),
    ({"dnsPolicy": "None"}, ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    (
        {"activeDeadlineSeconds": 0},
        ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    ),
    ({"ephemeralContainers": [container("e")]}, ["spec.ephemeralContainers: Forbidden: cannot be set on create"]),
    (
        {"nodeName": "n", "schedulingGates": [{"name": "a.b/c"}]},
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    ),
    (
        {"schedulingGates": [{"name": "g"}, {"name": "g"}]},
        ['spec.schedulingGates[1]: Duplicate value: "g"'],
    ),
    ({"volumes": [{"name": "v"}, {"name": "v"}]}, ['spec.volumes[1].name: Duplicate value: "v"']),
    (
        {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    ),
    (
        {"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]},
        ["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    ),
    ({"volumes": [{"name": "v", "secret": {}}]}, ["spec.volumes[0].secret.secretName: Required value"]),
    (
        {"volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 512}}]},
        [
            (
                "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 "
                "(octal), both inclusive"
            )
        ],
    ),
    (
        {"tolerations": [{"key": "a", "operator": "Is"}]},
        ['spec.tolerations[0].operator: Unsupported value: "Is": supported values: "Equal", "Exists"'],
    ),
    (
        {"tolerations": [{"operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}]},
        [
            (
                "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when "
                "`tolerationSeconds` is set"
            )
        ],
    ),
    (
        {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
        ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
    ),
    (
        {"hostAliases": [{"ip": "x"}]},
        [
            'spec.hostAliases.ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ],
    ),
    (
        {"securityContext": {"runAsUser": -1}},
        ["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    ),
    (
        {
            "affinity": {
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]},
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}},
            }
        },
        [
            (
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
                "Required value: must have at least one node selector term"
            ),
            (
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm"
                ".topologyKey: Required value: can not be empty"
            ),
        ],
    ),
    (
        {
            "hostNetwork": True,
            "containers": [container(ports=[{"containerPort": 80, "hostPort": 81}])],
        },
        [
            (
                "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when "
                "`hostNetwork` is true"
            )
        ],
    ),
    (
        {
            "containers": [
                container("a", ports=[{"containerPort": 1, "hostPort": 80}]),
                container("b", ports=[{"containerPort": 2, "hostPort": 80}]),
            ]
        },
        ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"'],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_pods(spec: dict[str, Any], expected: list[str]) -> None:
    assert create(**spec) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"image": ""}, [".image: Required value"]),
        ({"image": " x"}, ['.image: Invalid value: " x": must not have leading or trailing whitespace']),
        (
            {"imagePullPolicy": "x"},
            ['.imagePullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"'],
        ),
        ({"ports": [{}]}, [".ports[0].containerPort: Required value"]),
        (
            {"ports": [{"containerPort": 65536}]},
            [".ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"],
        ),
        ({"env": [{}]}, [".env[0].name: Required value"]),
        (
            {"env": [{"name": "a=b"}]},
            [
                (
                    '.env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of '
                    "printable ASCII characters other than '='"
                )
            ],
        ),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]}, []),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]},
            [
                (
                    '.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.foo": error converting fieldPath: '
                    "field label not supported: spec.foo"
                )
            ],
        ),
        (
            {"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            ['.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            {"envFrom": [{}]},
            ['.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
        ),
        ({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, ['.volumeMounts[0].name: Not found: "x"']),
        ({"volumeMounts": [{"name": "v"}]}, [".volumeMounts[0].mountPath: Required value"]),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]},
            ['.volumeMounts[1].mountPath: Invalid value: "/x": must be unique'],
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "../y"}]},
            [".volumeMounts.subPath: Invalid value: \"../y\": must not contain '..'"],
        ),
        (
            {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
            [
                '.resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
            ],
        ),
        (
            {"resources": {"limits": {"cpu": "-1"}}},
            [
                '.resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
                '.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
            ],
        ),
        (
            {"resources": {"requests": {"example.com/gpu": "1"}}},
            [".resources.limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        ({"resources": {"limits": {"example.com/gpu": "1"}}}, []),
        (
            {"resources": {"limits": {"foo": "1"}, "requests": {"foo": "1"}}},
            [
                f'.resources.{part}[foo]: Invalid value: "foo": must be a standard resource {rest}'
                for part in ("limits", "requests")
                for rest in ("type or fully qualified", "for containers")
            ],
        ),
        ({"livenessProbe": {}}, [".livenessProbe: Required value: must specify a handler type"]),
        (
            {"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}},
            [".livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            {"readinessProbe": {"httpGet": {"port": "a_b"}}},
            [
                (
                    '.readinessProbe.httpGet.port: Invalid value: "a_b": must contain only alpha-numeric characters '
                    "(a-z, 0-9), and hyphens (-)"
                )
            ],
        ),
        (
            {"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}},
            [
                (
                    ".lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
                    "terminationGracePeriodSeconds (30)"
                )
            ],
        ),
        (
            {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            [
                (
                    '.securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set '
                    "`allowPrivilegeEscalation` to false and `privileged` to true"
                )
            ],
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
            [
                (
                    ".securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type "
                    "is Localhost"
                )
            ],
        ),
    ],
)
def test_containers(fields: dict[str, Any], expected: list[str]) -> None:
    assert of_container(**fields) == ["spec.containers[0]" + text for text in expected]


def test_container_names_are_labels() -> None:
    (wrong,) = of_container(name="A")
    assert wrong.startswith(f'spec.containers[0].name: Invalid value: "A": {LABEL}')


def test_only_sidecars_among_init_containers_are_probed() -> None:
    probe = {"exec": {"command": ["a"]}}
    assert create(initContainers=[container("i", startupProbe=probe, restartPolicy="Always")]) == []
    assert create(initContainers=[container("i", startupProbe=probe)]) == [
        (
            "spec.initContainers[0].startupProbe: Forbidden: "
            "may not be set for init containers without restartPolicy=Always"
        )
    ]


def test_pod_deletion_cost_is_a_number() -> None:
    name = "controller.kubernetes.io/pod-deletion-cost"
    assert [str(e) for e in validate_create(kinds.POD, pod({"annotations": {name: "x"}}))] == [
        f'metadata.annotations[{name}]: Invalid value: "x": must be a 32bit integer'
    ]
    assert validate_create(kinds.POD, pod({"annotations": {name: "-5"}})) == []

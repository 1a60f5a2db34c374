"""What is said of pods that are valid, in kube-apiserver's words."""

from typing import Any

import pytest

from hawser.api.warnings.pod import pod, pod_name

HIDES = "which may be dropped when using apply"
OS = 'deprecated since v1.14; use "kubernetes.io/os" instead'
NO_POD = "a null labelSelector results in matching no pod"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
CONTAINERS = "spec.containers[0]"


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", **fields}]}


def ports(*listed: dict[str, Any]) -> dict[str, Any]:
    return container(ports=[{"containerPort": 80, "protocol": "TCP", **port} for port in listed])


def mapped(*paths: str) -> dict[str, Any]:
    items = [{"key": path, "path": path} for path in paths]
    return {"volumes": [{"name": "v", "configMap": {"name": "c", "items": items}}]}


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "projected": {"sources": list(sources)}}]}


TOKEN = {"serviceAccountToken": {"path": "t/x"}}
SECRET = {"secret": {"name": "s", "items": [{"key": "k", "path": "t"}]}}
TERM = {"matchExpressions": [{"key": "beta.kubernetes.io/os"}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"nodeSelector": {"beta.kubernetes.io/os": "x"}}, [f"spec.nodeSelector[beta.kubernetes.io/os]: {OS}"]),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [TERM]}}}},
            [
                (
                    f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].key: "
                    f"beta.kubernetes.io/os is {OS}"
                )
            ],
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "a"}]},
            [f"spec.topologySpreadConstraints[0].labelSelector: {NO_POD}"],
        ),
        (
            {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "a"}]}}},
            [f"spec.affinity.podAffinity.{REQUIRED}[0].labelSelector: {NO_POD}"],
        ),
        (container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]), []),
        (
            container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
            [f'{CONTAINERS}.env[1]: hides previous definition of "A", {HIDES}'],
        ),
        (
            container(resources={"limits": {"memory": "1m", "cpu": "1m"}}),
            [f'{CONTAINERS}.resources.limits[memory]: fractional byte value "1m" is invalid, must be an integer'],
        ),
        (ports({}, {}), [f"{CONTAINERS}.ports[1]: duplicate port definition with {CONTAINERS}.ports[0]"]),
        (
            ports({"hostPort": 1}, {}),
            [f"{CONTAINERS}.ports[1]: overlapping port definition with {CONTAINERS}.ports[0]"],
        ),
        (
            ports({"hostPort": 1}, {"hostPort": 1, "hostIP": "1.1.1.1"}),
            [f"{CONTAINERS}.ports[1]: dangerously ambiguous port definition with {CONTAINERS}.ports[0]"],
        ),
        (
            {"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]},
            ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"'],
        ),
        (
            {"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]},
            [
                'spec.imagePullSecrets[1].name: duplicate name "a"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
            ],
        ),
        (
            {"terminationGracePeriodSeconds": -1},
            ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
        ),
        (
            {"volumes": [{"name": "v", "gitRepo": {}}]},
            ["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
        ),
        (mapped("a", "b"), []),
        (mapped("a", "a/b"), ['volume "v" (ConfigMap "c"): overlapping paths: "a/b" with "a"']),
        (
            projected(SECRET, TOKEN),
            ['volume "v" (Projected): overlapping paths: "t/x" (ServiceAccountToken) with "t" (Secret "s")'],
        ),
        (projected({}), ['volume "v" (Projected) has no sources provided']),
    ],
)
def test_pods(spec: dict[str, Any], expected: list[str]) -> None:
    assert list(pod({"spec": spec})) == expected


def test_annotations_that_do_nothing_any_more() -> None:
    notes = {"seccomp.security.alpha.kubernetes.io/pod": "x"}
    obj: dict[str, Any] = {"metadata": {"annotations": notes}, "spec": {}}
    text = 'non-functional in v1.27+; use the "seccompProfile" field instead'
    path = "template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]"
    assert list(pod(obj, "template.")) == [f"{path}: {text}"]
    obj["spec"]["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert list(pod(obj)) == []


def test_names_that_cannot_be_hostnames() -> None:
    assert list(pod_name("a-b", "the Pod's hostname")) == []
    (text,) = pod_name("a.b", "the Pod's hostname")
    assert text.startswith(
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is "
        "recommended: [a lowercase RFC 1123 label must consist of"
    )

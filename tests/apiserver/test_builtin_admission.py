"""The built-in admission plugins over HTTP, in kube-apiserver's words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MERGE = "application/merge-patch+json"
PLAIN = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def pod(name: str = "p", meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **(meta or {})}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def label(api: Any, **labels: str) -> Any:
    marked = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    path = f"/api/v1/namespaces/{api.namespace}"
    return await api.call("PATCH", path, {"metadata": {"labels": marked}}, content=MERGE)


async def test_a_pod_that_violates_what_is_enforced_is_forbidden(api: Any) -> None:
    assert (await label(api, enforce="restricted")).status == 200
    answer = await api.call("POST", api.path("pods"), pod())
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert answer.message == f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {PLAIN}'


async def test_workloads_are_warned_of_and_their_pods_refused(api: Any) -> None:
    await label(api, enforce="baseline", enforce_version="v1.30")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod(hostNetwork=True)["spec"]}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"metadata": {"name": "d"}, "spec": spec}
    answer = await api.call("POST", api.path("deployments", group="apps"), deployment)
    assert answer.status == 201
    text = 'would violate PodSecurity \\"baseline:v1.30\\": host namespaces (hostNetwork=true)'
    assert answer.headers["Warning"] == f'299 - "{text}"'


async def test_labels_that_mean_nothing_are_invalid(api: Any) -> None:
    answer = await label(api, enforce="strict", warn_version="1.2")
    assert answer.status == 422
    prefix = "metadata.labels[pod-security.kubernetes.io/"
    assert answer.message == (
        f'Namespace "{api.namespace}" is invalid: [{prefix}enforce]: Invalid value: "strict": must be one of '
        f'privileged, baseline, restricted, {prefix}warn-version]: Invalid value: "1.2": must be "latest" or "v1.x"]'
    )


async def test_pods_that_are_there_are_warned_of_when_a_namespace_gets_stricter(api: Any) -> None:
    for name in ("b", "a"):
        await api.create(api.path("pods"), pod(name, hostPID=True))
    answer = await label(api, enforce="baseline")
    assert answer.status == 200
    assert answer.headers.getall("Warning") == [
        (
            f'299 - "existing pods in namespace \\"{api.namespace}\\" violate the new PodSecurity enforce level '
            '\\"baseline:latest\\""'
        ),
        '299 - "a (and 1 other pod): host namespaces"',
    ]
    # What is there may go on: a label is no new image.
    patch = {"metadata": {"labels": {"x": "y"}}}
    assert (await api.call("PATCH", api.path("pods", "a"), patch, content=MERGE)).status == 200


async def test_priorities_are_those_of_the_classes(api: Any) -> None:
    root = "/apis/scheduling.k8s.io/v1/priorityclasses"
    for system, value in (("system-node-critical", 2000001000), ("system-cluster-critical", 2000000000)):
        assert (await api.get(f"{root}/{system}")).json["value"] == value
    high = {"metadata": {"name": f"high-{api.namespace}"}, "value": 7, "preemptionPolicy": "Never"}
    await api.create(root, high)
    made = await api.create(api.path("pods"), pod(priorityClassName=high["metadata"]["name"]))
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (7, "Never")
    made = await api.create(api.path("pods"), pod("plain"))
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    answer = await api.call("POST", api.path("pods"), pod("q", priority=5))
    assert answer.message == (
        'pods "q" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission '
        "controller computed 0 from the given PriorityClass name"
    )
    answer = await api.call("POST", api.path("pods"), pod("q", priorityClassName="nope"))
    assert answer.message == 'pods "q" is forbidden: no PriorityClass with name nope was found'


async def test_there_is_one_default_priority_class_and_pods_get_it(own_api: Any) -> None:
    api, root = own_api, "/apis/scheduling.k8s.io/v1/priorityclasses"
    await api.create(root, {"metadata": {"name": "a"}, "value": 3, "globalDefault": True})
    answer = await api.call("POST", root, {"metadata": {"name": "b"}, "value": 4, "globalDefault": True})
    assert answer.message == (
        'priorityclasses.scheduling.k8s.io "b" is forbidden: PriorityClass a is already marked as default. '
        "Only one default can exist"
    )
    made = await api.create(api.path("pods"), pod())
    assert (made["spec"]["priorityClassName"], made["spec"]["priority"]) == ("a", 3)


async def test_pods_tolerate_a_silent_node_for_five_minutes_unless_they_say_otherwise(api: Any) -> None:
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    made = await api.create(api.path("pods"), pod(tolerations=[own]))
    other = {**own, "key": "node.kubernetes.io/unreachable", "tolerationSeconds": 300}
    assert made["spec"]["tolerations"] == [own, other]


async def test_a_new_node_takes_no_pods_before_it_is_ready(api: Any) -> None:
    made = await api.create("/api/v1/nodes", {"metadata": {"name": api.namespace}})
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_a_runtime_class_brings_overhead_and_scheduling(api: Any) -> None:
    name = f"rc-{api.namespace}"
    toleration = {"key": "k", "operator": "Exists"}
    body = {
        "metadata": {"name": name},
        "handler": "h",
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"kind": "vm"}, "tolerations": [toleration]},
    }
    await api.create("/apis/node.k8s.io/v1/runtimeclasses", body)
    spec = (await api.create(api.path("pods"), pod(runtimeClassName=name)))["spec"]
    assert (spec["overhead"], spec["nodeSelector"]) == ({"cpu": "250m"}, {"kind": "vm"})
    assert toleration in spec["tolerations"]
    for fields, message in (
        (
            {"runtimeClassName": name, "nodeSelector": {"kind": "x"}},
            "conflict: runtimeClass.scheduling.nodeSelector[kind] = vm; pod.spec.nodeSelector[kind] = x",
        ),
        (
            {"runtimeClassName": name, "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        ({"runtimeClassName": "nope"}, 'pod rejected: RuntimeClass "nope" not found'),
    ):
        answer = await api.call("POST", api.path("pods"), pod("q", **fields))
        assert answer.message == f'pods "q" is forbidden: {message}'


async def test_claims_and_ingresses_without_a_class_get_the_newest_default(own_api: Any) -> None:
    api = own_api
    claim = {
        "metadata": {"name": "a"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    assert "storageClassName" not in (await api.create(api.path("persistentvolumeclaims"), claim))["spec"]
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name, marks in (("slow", {}), ("z", mark), ("fast", mark)):
        body = {"metadata": {"name": name, "annotations": marks}, "provisioner": "x"}
        await api.create("/apis/storage.k8s.io/v1/storageclasses", body)
    made = await api.create(api.path("persistentvolumeclaims"), {**claim, "metadata": {"name": "b"}})
    assert made["spec"]["storageClassName"] == "fast"
    none = {"metadata": {"name": "c"}, "spec": {**claim["spec"], "storageClassName": ""}}
    assert (await api.create(api.path("persistentvolumeclaims"), none))["spec"]["storageClassName"] == ""
    mark = {"ingressclass.kubernetes.io/is-default-class": "true"}
    body = {"metadata": {"name": "main", "annotations": mark}, "spec": {"controller": "x.io/y"}}
    await api.create("/apis/networking.k8s.io/v1/ingressclasses", body)
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    made = await api.create(
        api.path("ingresses", group="networking.k8s.io"), {"metadata": {"name": "i"}, "spec": backend}
    )
    assert made["spec"]["ingressClassName"] == "main"


async def test_only_bound_claims_of_classes_that_allow_it_grow(api: Any) -> None:
    name = f"grow-{api.namespace}"
    root = "/apis/storage.k8s.io/v1/storageclasses"
    await api.create(root, {"metadata": {"name": name}, "provisioner": "x"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": name}
    await api.create(
        api.path("persistentvolumeclaims"), {"metadata": {"name": "a"}, "spec": {**spec, "volumeName": "v"}}
    )
    path = api.path("persistentvolumeclaims", "a")
    grow = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    answer = await api.call("PATCH", path, grow, content=MERGE)
    assert "Only bound persistent volume claims can be expanded" in answer.message or answer.status == 422
    bound = await api.call("PATCH", path + "/status", {"status": {"phase": "Bound"}}, content=MERGE)
    assert bound.status == 200
    answer = await api.call("PATCH", path, grow, content=MERGE)
    assert answer.message == (
        'persistentvolumeclaims "a" is forbidden: only dynamically provisioned pvc can be resized and the storageclass '
        "that provisions the pvc must support resize"
    )
    await api.call("PATCH", f"{root}/{name}", {"allowVolumeExpansion": True}, content=MERGE)
    assert (await api.call("PATCH", path, grow, content=MERGE)).status == 200


@pytest.mark.parametrize(("group", "status"), [("system:masters", 403), ("dev", 201)])
async def test_nobody_asks_for_a_certificate_of_the_masters(api: Any, group: str, status: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, "x")]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    body = {
        "metadata": {"name": f"{api.namespace}-{status}"},
        "spec": {
            "request": b64encode(request.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }
    answer = await api.call("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", body)
    assert answer.status == status, answer.body
    if status == 403:
        assert answer.message.endswith(
            "is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        )


async def test_a_bound_pod_has_the_zone_and_region_of_its_node(api: Any) -> None:
    zone = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "x"}
    node = f"n-{api.namespace}"
    await api.create("/api/v1/nodes", {"metadata": {"name": node, "labels": zone}})
    await api.create(api.path("pods"), pod())
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}
    await api.create(api.path("pods", "p/binding"), binding)
    wanted = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"}
    assert (await api.get(api.path("pods", "p"))).json["metadata"]["labels"] == wanted
    made = await api.create(api.path("pods"), pod("direct", nodeName=node))
    assert made["metadata"]["labels"] == wanted


async def test_pods_and_claims_stay_within_the_limit_ranges_of_their_namespace(api: Any) -> None:
    limits = [
        {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1", "memory": "1Gi"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
    ]
    await api.create(api.path("limitranges"), {"metadata": {"name": "l"}, "spec": {"limits": limits}})
    made = await api.create(api.path("pods"), pod())
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    )
    large = {"limits": {"cpu": "2", "memory": "2Gi"}}
    answer = await api.call(
        "POST", api.path("pods"), pod("q", containers=[{"name": "c", "image": "i", "resources": large}])
    )
    assert (answer.status, answer.message) == (
        403,
        (
            'pods "q" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, '
            "maximum memory usage per Container is 1Gi, but limit is 2Gi]"
        ),
    )
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    answer = await api.call("POST", api.path("persistentvolumeclaims"), {"metadata": {"name": "a"}, "spec": spec})
    assert answer.message == (
        'persistentvolumeclaims "a" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, '
        "but request is 2Gi"
    )


async def test_what_is_added_to_a_running_pod_is_looked_at_too(api: Any) -> None:
    await api.create(api.path("pods"), pod())
    await label(api, enforce="restricted")
    debugger = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "d"}]}}
    path = api.path("pods", "p/ephemeralcontainers")
    answer = await api.call("PATCH", path, debugger, content="application/strategic-merge-patch+json")
    assert answer.status == 403
    assert 'allowPrivilegeEscalation != false (containers "c", "debug" must set' in answer.message
    limits = [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "1"}}]
    await label(api, enforce="privileged")
    await api.create(api.path("limitranges"), {"metadata": {"name": "l"}, "spec": {"limits": limits}})
    await api.create(api.path("pods"), pod("sized"))
    larger = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]}}
    path = api.path("pods", "sized/resize")
    answer = await api.call("PATCH", path, larger, content="application/strategic-merge-patch+json")
    assert (answer.status, answer.message) == (
        403,
        'pods "sized" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
    )


async def test_kubectl_is_told_what_a_label_would_mean(api: Any, server: Any) -> None:
    await api.create(api.path("pods"), pod(hostNetwork=True))
    kubectl = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(server.kubeconfig)]
    label = ["label", "--dry-run=server", "--overwrite", "ns", api.namespace]
    label.append("pod-security.kubernetes.io/enforce=baseline")
    done = await asyncio.to_thread(subprocess.run, [*kubectl, *label], capture_output=True, text=True, timeout=180)
    assert done.stderr.splitlines() == [
        (
            f'Warning: existing pods in namespace "{api.namespace}" violate the new PodSecurity enforce level '
            '"baseline:latest"'
        ),
        "Warning: p: host namespaces",
    ]
    assert "labeled (server dry run)" in done.stdout

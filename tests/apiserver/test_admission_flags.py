"""Admission plugins are switched by kube-apiserver's flags and names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hawser.apiserver.admission.plugins import TABLE, Choice, chosen
from hawser.apiserver.admission.settings import read

MERGE = "application/merge-patch+json"


def test_the_order_and_the_defaults_are_those_of_kubernetes() -> None:
    on = [row.name for row in chosen(TABLE, Choice())]
    order = [
        *("LimitRanger", "ServiceAccount", "TaintNodesByCondition", "PodSecurity", "Priority"),
        *("DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection"),
        *("PersistentVolumeClaimResize", "RuntimeClass", "CertificateSubjectRestriction", "DefaultIngressClass"),
        *("PodTopologyLabels", "ResourceQuota"),
    ]
    assert [name for name in on if name in order] == order
    off = {"AlwaysDeny", "AlwaysPullImages", "DenyServiceExternalIPs", "ExtendedResourceToleration"}
    assert not off & set(on)
    switched = {row.name for row in chosen(TABLE, Choice(frozenset(["AlwaysDeny"]), frozenset(["LimitRanger"])))}
    assert switched == {*on, "AlwaysDeny"} - {"LimitRanger"}


@pytest.mark.parametrize(
    ("enable", "disable", "said"),
    [
        ("Nope", "", 'enable-admission-plugins plugin "Nope" is unknown'),
        ("", "Nope", 'disable-admission-plugins plugin "Nope" is unknown'),
        ("Priority", "Priority", '"Priority" in enable-admission-plugins and disable-admission-plugins overlapped'),
        ("", "NamespaceLifecycle", 'disable-admission-plugins plugin "NamespaceLifecycle" is always on in this server'),
    ],
)
def test_a_server_does_not_start_with_plugins_that_it_has_not_got(enable: str, disable: str, said: str) -> None:
    command = [sys.executable, "-m", "hawser.apiserver", "--data-dir", "/nowhere", "--tls-cert", "c", "--tls-key", "k"]
    flags = [f"--enable-admission-plugins={enable}", f"--disable-admission-plugins={disable}"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(f"error: {said}")


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}


async def test_plugins_are_switched_on_and_off(own_server: Any) -> None:
    own_server.extra = [
        (
            "--enable-admission-plugins="
            "AlwaysPullImages,DenyServiceExternalIPs,ExtendedResourceToleration,LimitPodHardAntiAffinityTopology"
        ),
        "--disable-admission-plugins=DefaultTolerationSeconds,ResourceQuota",
    ]
    own_server.start()
    headers = {"Authorization": "Bearer admin-token"}
    root = f"{own_server.url}/api/v1/namespaces/default"
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=own_server.tls())) as session:

        async def post(plural: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            async with session.post(f"{root}/{plural}", json=body) as answer:
                return answer.status, await answer.json()

        hard = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
        assert (await post("resourcequotas", hard))[0] == 201
        asking = pod()
        asking["spec"]["containers"][0]["resources"] = {
            "requests": {"example.com/gpu": "1"},
            "limits": {"example.com/gpu": "1"},
        }
        status, made = await post("pods", asking)
        assert status == 201, made
        assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"
        assert made["spec"]["tolerations"] == [{"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["1.2.3.4"]}}
        status, refused = await post("services", service)
        assert refused["message"] == ('services "s" is forbidden: Use of external IPs is denied by admission control')
        term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        status, refused = await post("pods", pod("q", affinity=affinity))
        assert refused["message"] == (
            'pods "q" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only '
            "key kubernetes.io/hostname is allowed"
        )


async def test_owners_are_set_by_those_who_may_delete_and_finalize(own_server: Any) -> None:
    own_server.extra = ["--enable-admission-plugins=OwnerReferencesPermissionEnforcement"]
    own_server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=own_server.tls())) as session:

        async def call(method: str, path: str, body: Any, token: str = "admin-token") -> tuple[int, dict[str, Any]]:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            if method == "PATCH":
                headers["Content-Type"] = MERGE
            async with session.request(method, own_server.url + path, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)

        maps = "/api/v1/namespaces/default/configmaps"
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch", "update", "get"]}]
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
        await call("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
        bound = {
            "metadata": {"name": "r"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}],
        }
        assert (await call("POST", f"{rbac}/rolebindings", bound))[0] == 201
        _, owner = await call("POST", maps, {"metadata": {"name": "owner"}})
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        blocking = {"metadata": {"name": "a", "ownerReferences": [{**reference, "blockOwnerDeletion": True}]}}
        status, refused = await call("POST", maps, blocking, "joe-token")
        assert (status, refused["message"][:140]) == (
            403,
            (
                'configmaps "a" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource '
                "you can't set finalizers on: , <nil>"
            )[:140],
        )
        assert (await call("POST", maps, {"metadata": {"name": "b"}}, "joe-token"))[0] == 201
        patch = {"metadata": {"ownerReferences": [reference]}}
        status, refused = await call("PATCH", f"{maps}/b", patch, "joe-token")
        assert status == 403
        assert "cannot set an ownerRef on a resource you can't delete: " in refused["message"]
        assert (await call("PATCH", f"{maps}/b", patch))[0] == 200


CONFIGURATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: latest, warn: restricted}
    exemptions: {usernames: [joe], namespaces: [kube-system], runtimeClasses: []}
"""


LIMITS = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchContains: [example.com/]
      matchScopes:
      - scopeName: PriorityClass
        operator: In
        values: [system-node-critical, system-cluster-critical]
"""


async def test_pod_security_is_configured_by_a_file(own_api: Any, own_server: Any) -> None:
    own_server.stop()
    path = own_server.folder / "admission.yaml"
    path.write_text(CONFIGURATION)
    own_server.extra = ["--admission-control-config-file", str(path)]
    own_server.start()
    answer = await own_api.call("POST", own_api.path("pods"), pod(hostPID=True))
    assert answer.message == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    )
    answer = await own_api.call("POST", own_api.path("pods"), pod())
    assert answer.status == 201
    assert 'would violate PodSecurity \\"restricted:latest\\"' in answer.headers["Warning"]
    answer = await own_api.call("POST", "/api/v1/namespaces/kube-system/pods", pod(hostPID=True))
    assert answer.status == 201
    patch = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    answer = await own_api.call("PATCH", "/api/v1/namespaces/kube-system", patch, content=MERGE)
    assert answer.headers["Warning"] == (
        '299 - "namespace \\"kube-system\\" is exempt from Pod Security, and the policy (enforce=restricted:latest) '
        'will be ignored"'
    )


async def test_what_is_limited_needs_a_quota_that_covers_it(own_api: Any, own_server: Any) -> None:
    own_server.stop()
    path = own_server.folder / "admission.yaml"
    path.write_text(LIMITS)
    own_server.extra = ["--admission-control-config-file", str(path)]
    own_server.start()
    critical = pod(priorityClassName="system-node-critical")
    answer = await own_api.call("POST", own_api.path("pods"), critical)
    assert answer.message == (
        'pods "p" is forbidden: insufficient quota to match these scopes: '
        "[{PriorityClass In [system-node-critical system-cluster-critical]}]"
    )
    assert (await own_api.call("POST", own_api.path("pods"), pod("plain"))).status == 201
    asking = pod("gpu")
    asking["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "1"}}
    answer = await own_api.call("POST", own_api.path("pods"), asking)
    assert answer.message == ('pods "gpu" is forbidden: insufficient quota to consume: requests.example.com/gpu')
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
    spec = {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [scope]}}
    await own_api.create(own_api.path("resourcequotas"), {"metadata": {"name": "critical"}, "spec": spec})
    spec = {"hard": {"requests.example.com/gpu": "1"}}
    await own_api.create(own_api.path("resourcequotas"), {"metadata": {"name": "gpus"}, "spec": spec})
    assert (await own_api.call("POST", own_api.path("pods"), critical)).status == 201
    assert (await own_api.call("POST", own_api.path("pods"), asking)).status == 201


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("baseline", "strict"), 'defaults.enforce: Invalid value: "strict": must be one of privileged, baseline'),
        (("latest", "v2"), 'defaults.enforce-version: Invalid value: "v2": must be "latest" or "v1.x"'),
        (("usernames", "users"), "PodSecurity: unknown field users"),
        (("name: PodSecurity", "name: EventRateLimit"), 'plugin "EventRateLimit" has no configuration in this server'),
        (("[joe]", "joe"), "exemptions.usernames: a list of names is needed"),
        (("AdmissionConfiguration", "Nope"), "apiVersion apiserver.config.k8s.io/v1 and kind AdmissionConfiguration"),
    ],
)
def test_a_configuration_that_is_not_understood_is_not_taken(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    path = tmp_path / "admission.yaml"
    path.write_text(CONFIGURATION.replace(*change, 1))
    with pytest.raises(ValueError, match=re.escape(said)):
        read(path)


async def test_how_long_pods_stay_on_silent_nodes_is_chosen(own_server: Any) -> None:
    own_server.extra = ["--default-not-ready-toleration-seconds=30", "--default-unreachable-toleration-seconds=7"]
    own_server.start()
    path = f"{own_server.url}/api/v1/namespaces/default/pods"
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer admin-token"}) as session,
        session.post(path, json=pod(), ssl=own_server.tls()) as answer,
    ):
        made = await answer.json()
    assert [t["tolerationSeconds"] for t in made["spec"]["tolerations"]] == [30, 7]

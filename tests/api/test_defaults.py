"""Defaulting: what the API server writes where a client left a field out."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import kinds
from hawser.api.defaults import apply_defaults
from hawser.api.defaults.image import pull_policy


def defaulted(kind: kinds.Kind, obj: dict[str, Any]) -> dict[str, Any]:
    obj = copy.deepcopy(obj)
    apply_defaults(kind, obj)
    once = copy.deepcopy(obj)
    apply_defaults(kind, obj)
    assert obj == once, "defaults are idempotent"
    return obj


def pod_spec(**spec: Any) -> dict[str, Any]:
    spec.setdefault("containers", [{"name": "a", "image": "b"}])
    result: dict[str, Any] = defaulted(kinds.POD, {"spec": spec})["spec"]
    return result


def container(**fields: Any) -> dict[str, Any]:
    result: dict[str, Any] = pod_spec(containers=[{"name": "a", "image": "b:1", **fields}])["containers"][0]
    return result


def volume(**source: Any) -> dict[str, Any]:
    result: dict[str, Any] = pod_spec(volumes=[{"name": "v", **source}])["volumes"][0]
    return result


def test_a_pod_gets_its_defaults() -> None:
    assert pod_spec() == {
        "containers": [
            {
                "name": "a",
                "image": "b",
                "imagePullPolicy": "Always",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


def test_what_is_set_stays() -> None:
    spec = pod_spec(
        dnsPolicy="None",
        restartPolicy="Never",
        terminationGracePeriodSeconds=0,
        enableServiceLinks=False,
        schedulerName="mine",
        securityContext={"runAsUser": 1},
    )
    assert spec["dnsPolicy"] == "None"
    assert spec["restartPolicy"] == "Never"
    assert spec["terminationGracePeriodSeconds"] == 0
    assert spec["enableServiceLinks"] is False
    assert spec["schedulerName"] == "mine"
    assert spec["securityContext"] == {"runAsUser": 1}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("localhost:5000/a/b", "Always"),
        ("localhost:5000/a/b:v1", "IfNotPresent"),
        ("registry.k8s.io/pause:3.10", "IfNotPresent"),
        ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "a" * 64, "Always"),
        ("", "IfNotPresent"),
        ("Not An Image", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_requests_follow_limits_in_pods_only() -> None:
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}
    assert container(resources=resources)["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    template = {"spec": {"containers": [{"name": "a", "image": "b", "resources": resources}]}}
    spec = defaulted(kinds.DEPLOYMENT, {"spec": {"template": template}})["spec"]
    assert spec["template"]["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m"}
    assert "enableServiceLinks" not in spec["template"]["spec"]


def test_resources_are_rounded_up_to_thousandths() -> None:
    assert container(resources={"requests": {"cpu": "100u", "memory": "1500u"}})["resources"]["requests"] == {
        "cpu": "1m",
        "memory": "2m",
    }


def test_host_ports_follow_container_ports_on_the_host_network() -> None:
    containers = [{"name": "a", "image": "b", "ports": [{"containerPort": 80}]}]
    ports = pod_spec(containers=containers, hostNetwork=True)["containers"][0]["ports"]
    assert ports == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert pod_spec(containers=containers)["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


@pytest.mark.parametrize("name", ["livenessProbe", "readinessProbe", "startupProbe"])
def test_probes_get_their_times(name: str) -> None:
    assert container(**{name: {"httpGet": {"port": 80}, "periodSeconds": 3}})[name] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container(**{name: {"grpc": {"port": 80}}})[name]["grpc"] == {"port": 80, "service": ""}


def test_hooks_get_a_path_and_a_scheme() -> None:
    hooks = container(lifecycle={"preStop": {"httpGet": {"port": 80}}})["lifecycle"]
    assert hooks == {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}}


def test_field_references_get_a_version() -> None:
    env = container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])["env"]
    assert env[0]["valueFrom"]["fieldRef"] == {"apiVersion": "v1", "fieldPath": "metadata.name"}


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ({}, {"emptyDir": {}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "c"}}, {"configMap": {"name": "c", "defaultMode": 420}}),
        ({"configMap": {"name": "c", "defaultMode": 0}}, {"configMap": {"name": "c", "defaultMode": 0}}),
        ({"hostPath": {"path": "/"}}, {"hostPath": {"path": "/", "type": ""}}),
        (
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {
                "downwardAPI": {
                    "defaultMode": 420,
                    "items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}],
                }
            },
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {
                "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                }
            },
        ),
        ({"image": {"reference": "a:1"}}, {"image": {"reference": "a:1", "pullPolicy": "IfNotPresent"}}),
        ({"emptyDir": {"medium": "Memory"}}, {"emptyDir": {"medium": "Memory"}}),
    ],
)
def test_volumes_get_their_defaults(source: dict[str, Any], result: dict[str, Any]) -> None:
    assert volume(**source) == {"name": "v", **result}


def test_both_names_of_the_service_account_are_kept_equal() -> None:
    assert pod_spec(serviceAccount="x")["serviceAccountName"] == "x"
    assert pod_spec(serviceAccountName="y", serviceAccount="x")["serviceAccount"] == "y"


def test_pod_level_requests_follow_the_containers_then_the_limits() -> None:
    def asking(cpu: str, **more: str) -> dict[str, Any]:
        return {"name": "a", "image": "b", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = pod_spec(
        containers=[asking("100m"), asking("200m")],
        initContainers=[asking("50m", restartPolicy="Always"), asking("1")],
        resources={"limits": {"cpu": "2", "memory": "1Gi"}},
    )
    assert spec["resources"]["requests"] == {"cpu": "1050m", "memory": "1Gi"}


def service_spec(**spec: Any) -> dict[str, Any]:
    result: dict[str, Any] = defaulted(kinds.SERVICE, {"spec": spec})["spec"]
    return result


def test_services_get_their_defaults() -> None:
    assert service_spec(ports=[{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]) == {
        "internalTrafficPolicy": "Cluster",
        "ports": [
            {"port": 80, "protocol": "TCP", "targetPort": 80},
            {"port": 53, "protocol": "UDP", "targetPort": "dns"},
        ],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
        ({"type": "LoadBalancer"}, {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True}),
        ({"type": "ExternalName"}, {"internalTrafficPolicy": None, "externalTrafficPolicy": None}),
        ({"type": "ClusterIP"}, {"externalTrafficPolicy": None, "allocateLoadBalancerNodePorts": None}),
        ({"externalIPs": ["1.2.3.4"]}, {"externalTrafficPolicy": "Cluster"}),
        ({"sessionAffinity": "ClientIP"}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {}}, {"sessionAffinityConfig": None}),
    ],
)
def test_services_get_what_their_type_needs(spec: dict[str, Any], fields: dict[str, Any]) -> None:
    result = service_spec(**spec)
    assert {name: result.get(name) for name in fields} == fields


def test_deployments_get_their_defaults() -> None:
    spec = defaulted(kinds.DEPLOYMENT, {"spec": {"template": {"spec": {"containers": []}}}})["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Always"
    del spec["template"]
    assert spec == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    }


def test_recreate_deployments_get_no_rolling_update() -> None:
    spec = defaulted(kinds.DEPLOYMENT, {"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}})["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["replicas"] == 0


def test_replica_sets_have_one_replica_and_no_invented_selector() -> None:
    assert defaulted(kinds.REPLICA_SET, {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}})[
        "spec"
    ].keys() == {
        "replicas",
        "template",
    }


def test_namespaces_are_labelled_with_their_name() -> None:
    assert defaulted(kinds.NAMESPACE, {"metadata": {"name": "n"}}) == {
        "metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
        "spec": {},
        "status": {"phase": "Active"},
    }


def test_secret_texts_become_data() -> None:
    assert defaulted(kinds.SECRET, {"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "ü"}}) == {
        "type": "Opaque",
        "data": {"a": "eQ==", "b": "w7w="},
    }


def test_nodes_can_allocate_their_capacity() -> None:
    status = defaulted(kinds.NODE, {"status": {"capacity": {"cpu": "2"}}})["status"]
    assert status["allocatable"] == {"cpu": "2"}


def test_endpoint_slice_ports_are_tcp() -> None:
    assert defaulted(kinds.ENDPOINT_SLICE, {"ports": [{"port": 80}]})["ports"] == [
        {"port": 80, "name": "", "protocol": "TCP"}
    ]


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda k: k.kind)
def test_an_empty_object_of_any_kind_can_be_defaulted(kind: kinds.Kind) -> None:
    defaulted(kind, {})
    defaulted(kind, {"metadata": {}, "spec": {}, "status": {}})


containers = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "image": st.sampled_from(["x", "x:1", ""])},
        optional={
            "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(0, 99)}), max_size=2),
            "resources": st.dictionaries(
                st.sampled_from(["limits", "requests"]),
                st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "1m", "15u", "1Gi", "0"])),
            ),
            "livenessProbe": st.just({"httpGet": {"port": 1}}),
            "restartPolicy": st.just("Always"),
            "env": st.just([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]),
        },
    ),
    max_size=3,
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "containers": containers,
        "initContainers": containers,
        "hostNetwork": st.booleans(),
        "serviceAccount": st.sampled_from(["", "x"]),
        "resources": st.just({"limits": {"cpu": "3", "hugepages-2Mi": "4Mi"}}),
        "volumes": st.lists(
            st.sampled_from([{}, {"secret": {}}, {"projected": {"sources": [{"downwardAPI": {"items": [{}]}}]}}]).map(
                copy.deepcopy
            ),
            max_size=2,
        ),
    },
)


@given(specs)
def test_defaults_are_idempotent(spec: dict[str, Any]) -> None:
    defaulted(kinds.POD, {"spec": spec})
    defaulted(kinds.DEPLOYMENT, {"spec": {"template": {"spec": spec}}})

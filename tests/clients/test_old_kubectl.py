"""kubectl 1.20, unmodified, which is what Debian 12 has: sixteen versions older than the server."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ..apiserver.conftest import Server
from ..apiserver.test_kubectl import MANIFEST
from . import debian
from .conftest import Kubectl
from .test_kubectl import POD


@pytest.fixture(scope="module")
def program() -> str:
    """Where kubectl 1.20 is."""
    try:
        return str(debian.unpacked("bookworm", ["kubernetes-client"]) / "usr/bin/kubectl")
    except debian.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def kubectl(server: Server, program: str, spaces: Callable[[], str]) -> Kubectl:
    """It, in a namespace of its own."""
    return Kubectl(server, program, spaces())


def test_it_is_an_old_one(kubectl: Kubectl) -> None:
    version = json.loads(kubectl("version", "-o", "json"))
    assert version["clientVersion"]["minor"] == "20"
    assert version["serverVersion"]["minor"] == "36"


def test_apply_validates_with_openapi(kubectl: Kubectl) -> None:
    """The protobuf form of /openapi/v2, read with gnostic."""
    assert "created" in kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "configured" in kubectl("apply", "-f", "-", stdin=MANIFEST.replace("nginx:1", "nginx:2"))
    wrong = MANIFEST.replace("replicas: 2", "replicaz: 2")
    assert 'unknown field "replicaz" in io.k8s.api.apps.v1.DeploymentSpec' in kubectl.refused(
        "apply", "-f", "-", stdin=wrong
    )
    wrong = MANIFEST.replace("replicas: 2", "replicas: two")
    assert 'invalid type for io.k8s.api.apps.v1.DeploymentSpec.replicas: got "string", expected "integer"' in (
        kubectl.refused("create", "-f", "-", stdin=wrong)
    )
    renamed = MANIFEST.replace("{name: web, l", "{name: x, l")
    # What it prunes by itself has batch/v1beta1, which is gone.
    prune = ("--prune", "-l", "app=web", "--prune-whitelist=apps/v1/Deployment")
    pruned = kubectl("apply", *prune, "-f", "-", stdin=renamed)
    assert "deployment.apps/web pruned" in pruned


def test_server_side_apply_and_diff(kubectl: Kubectl) -> None:
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    other = MANIFEST.replace("nginx:1", "nginx:2")
    diff = kubectl.run("diff", "-f", "-", stdin=other)
    assert diff.returncode == 1, diff.stderr
    assert "image: nginx:2" in diff.stdout
    diff = kubectl.run("diff", "--server-side", "-f", "-", stdin=other)
    assert diff.returncode == 1, diff.stderr
    assert "conflict" in kubectl.refused("apply", "--server-side", "--field-manager=o", "-f", "-", stdin=other)
    kubectl("apply", "--server-side", "--field-manager=o", "--force-conflicts", "-f", "-", stdin=other)
    assert "created" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=POD)
    assert "created" in kubectl("apply", "--dry-run=client", "-f", "-", stdin=POD)


@pytest.mark.parametrize("what", ["pod.spec", "deployment.spec.strategy", "svc", "ingress.spec.rules", "hpa.spec"])
def test_explain(kubectl: Kubectl, what: str) -> None:
    said = kubectl("explain", what)
    assert "KIND:" in said
    assert "FIELDS:" in said or "FIELD:" in said
    assert "<empty>" not in said
    assert "FIELDS:" in kubectl("explain", "deployment", "--recursive")


GENERATORS = {
    "deployment d": ("--image=nginx", "--replicas=2", "--port=80"),
    "configmap c": ("--from-literal=k=v",),
    "secret generic s": ("--from-literal=k=v",),
    "job j": ("--image=busybox", "--", "date"),
    "role r": ("--verb=get", "--resource=pods"),
    "rolebinding b": ("--role=r", "--user=joe"),
    "serviceaccount a": (),
    "service clusterip v": ("--tcp=80:8080",),
    "service nodeport n": ("--tcp=80:8080",),
    "ingress i": ("--rule=example.com/path*=svc:80",),
    "quota q": ("--hard=pods=100",),
    "priorityclass old-kubectl": ("--value=7",),
}


@pytest.mark.parametrize("what", GENERATORS)
def test_what_it_generates_is_accepted_shown_and_described(kubectl: Kubectl, what: str) -> None:
    kind, *_, name = what.split()
    assert "created" in kubectl("create", *what.split(), *GENERATORS[what])
    assert name in kubectl("get", kind, name, "-o", "wide")
    assert name in kubectl("describe", kind, name)
    assert "deleted" in kubectl("delete", kind, name, "--timeout=120s")


@pytest.mark.parametrize("kind", ["cronjob", "poddisruptionbudget"])
def test_versions_that_are_gone_are_named(kubectl: Kubectl, kind: str) -> None:
    """It makes batch/v1beta1 and policy/v1beta1, which Kubernetes has not served since 1.25."""
    options = {
        "cronjob": ("--image=b", "--schedule=* * * * *"),
        "poddisruptionbudget": ("--selector=a=b", "--min-available=1"),
    }
    refused = kubectl.refused("create", kind, "x", *options[kind])
    assert "no matches for kind" in refused or "could not find the requested resource" in refused


def test_changes(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "labeled" in kubectl("label", "deploy/web", "a=b")
    assert "annotated" in kubectl("annotate", "deploy/web", "a=b")
    assert "scaled" in kubectl("scale", "deploy/web", "--replicas=5")
    assert "image updated" in kubectl("set", "image", "deploy/web", "c=nginx:7")
    assert "env updated" in kubectl("set", "env", "deploy/web", "A=b")
    assert "requirements updated" in kubectl("set", "resources", "deploy/web", "--limits=cpu=1")
    for kind, patch in {
        "strategic": '{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:9"}]}}}}',
        "merge": '{"spec":{"paused":true}}',
        "json": '[{"op":"replace","path":"/spec/replicas","value":3}]',
    }.items():
        assert "patched" in kubectl("patch", "deploy/web", "--type", kind, "-p", patch)
    assert "resumed" in kubectl("rollout", "resume", "deploy/web")
    assert "restarted" in kubectl("rollout", "restart", "deploy/web")
    assert "edited" in kubectl("edit", "deploy/web", KUBE_EDITOR="sed -i 's/replicas: 3/replicas: 7/'")
    assert kubectl("get", "deploy/web", "-o", "jsonpath={.spec.replicas}") == "7"
    assert "autoscaled" in kubectl("autoscale", "deploy/web", "--max=3")
    assert "exposed" in kubectl("expose", "deploy/web", "--port=80", "--name=exposed")
    assert "replaced" in kubectl("replace", "-f", "-", stdin=kubectl("get", "deploy/web", "-o", "json"))
    assert "deployment.apps/web" in kubectl("get", "all", "-o", "name")


def test_rollouts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    status = {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "conditions": [{"type": "Available", "status": "True"}],
    }
    path = f"/apis/apps/v1/namespaces/{kubectl.namespace}/deployments/web"
    found = json.loads(kubectl("get", "--raw", path))
    kubectl("replace", "--raw", path + "/status", "-f", "-", stdin=json.dumps({**found, "status": status}))
    assert 'deployment "web" successfully rolled out' in kubectl("rollout", "status", "deploy/web", "--timeout=120s")
    assert "condition met" in kubectl("wait", "deploy/web", "--for=condition=Available", "--timeout=120s")


@pytest.mark.parametrize("form", ["yaml", "json", "name", "jsonpath={..name}", "custom-columns=N:.metadata.name"])
def test_output_forms(kubectl: Kubectl, form: str) -> None:
    kubectl("create", "configmap", "c", "--from-literal=k=v")
    assert "c" in kubectl("get", "configmaps", "-o", form).replace("configmap", "")


def test_pods_are_run_listed_and_deleted(kubectl: Kubectl) -> None:
    assert "pod/r created" in kubectl("run", "r", "--image=busybox", "--restart=Never", "--", "true")
    kubectl("apply", "-f", "-", stdin=POD)
    assert "Name:" in kubectl("describe", "pod", "p")
    assert kubectl("get", "pods", "--no-headers").split()[:2] == ["p", "0/1"]
    assert "pod/r" in kubectl("get", "pods", "--field-selector=metadata.name=r", "-o", "name")
    assert "pod/p" in kubectl("get", "pods", "--chunk-size=1", "--sort-by=.metadata.name", "-o", "name")
    assert "deleted" in kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    assert "No resources found" in kubectl.run("get", "pods").stderr


def test_questions(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert kubectl.run("auth", "can-i", "create", "pods", "--as=nobody").stdout.strip() == "no"
    assert "*.*" in kubectl("auth", "can-i", "--list")
    resources = kubectl("api-resources", "-o", "wide")
    assert all(kind in resources for kind in ("Deployment", "EndpointSlice", "Lease", "CustomResourceDefinition"))
    assert "networking.k8s.io/v1" in kubectl("api-versions").split()
    assert "is running at" in kubectl("cluster-info")
    assert "ok" in kubectl("get", "--raw", "/readyz")
    assert "Healthy" in kubectl("get", "componentstatuses")
    assert kubectl("config", "view", "--minify", "-o", "jsonpath={.contexts[0].name}") == "t"


def test_nodes_are_cordoned_tainted_and_drained(kubectl: Kubectl) -> None:
    name = kubectl.namespace + "-node"
    kubectl("apply", "-f", "-", stdin=f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}")
    assert "cordoned" in kubectl("cordon", name)
    assert "tainted" in kubectl("taint", "node", name, "a=b:NoSchedule")
    assert "drained" in kubectl("drain", name, "--force", "--ignore-daemonsets")
    assert "uncordoned" in kubectl("uncordon", name)
    assert "deleted" in kubectl("delete", "node", name)


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rafts.old.example.com}
spec:
  group: old.example.com
  names: {kind: Raft, plural: rafts}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, description: How many logs}}}
"""


def test_custom_resources(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEFINITION)
    kubectl("wait", "crd/rafts.old.example.com", "--for=condition=Established", "--timeout=120s")
    raft = "apiVersion: old.example.com/v1\nkind: Raft\nmetadata: {name: r}\nspec: {size: 3}"
    assert "created" in kubectl("apply", "-f", "-", stdin=raft)
    assert "How many logs" in kubectl("explain", "raft.spec")
    assert 'unknown field "sice"' in kubectl.refused("apply", "-f", "-", stdin=raft.replace("size", "sice"))
    assert "deleted" in kubectl("delete", "crd", "rafts.old.example.com", "--timeout=120s")

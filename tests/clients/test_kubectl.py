"""kubectl, unmodified: what people and scripts do with it all day."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..apiserver.conftest import Server
from ..apiserver.test_kubectl import MANIFEST
from .conftest import Kubectl

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec: {containers: [{name: c, image: busybox}]}
"""
GENERATORS: dict[str, tuple[str, ...]] = {
    "clusterrole": ("--verb=get,list", "--resource=pods,deployments.apps"),
    "clusterrolebinding": ("--clusterrole=view", "--user=joe"),
    "configmap": ("--from-literal=k=v",),
    "cronjob": ("--image=busybox", "--schedule=*/5 * * * *", "--", "date"),
    "deployment": ("--image=nginx", "--replicas=2", "--port=80"),
    "ingress": ("--rule=example.com/path*=svc:80",),
    "job": ("--image=busybox", "--", "date"),
    "namespace": (),
    "poddisruptionbudget": ("--selector=app=x", "--min-available=1"),
    "priorityclass": ("--value=7", "--description=d"),
    "quota": ("--hard=pods=100,services=10", "--scopes="),
    "role": ("--verb=get", "--resource=pods", "--resource-name=p"),
    "rolebinding": ("--role=r", "--serviceaccount=default:default"),
    "serviceaccount": (),
    "secret generic": ("--from-literal=k=v", "--type=example.com/t"),
    "secret docker-registry": ("--docker-username=u", "--docker-password=p", "--docker-server=example.com"),
    "service clusterip": ("--tcp=80:8080",),
    "service externalname": ("--external-name=example.com",),
    "service loadbalancer": ("--tcp=80",),
    "service nodeport": ("--tcp=80:8080",),
}


@pytest.mark.parametrize("what", GENERATORS)
def test_everything_that_kubectl_create_generates_is_accepted_and_described(kubectl: Kubectl, what: str) -> None:
    arguments = GENERATORS[what]
    name = kubectl.namespace + "-made"
    kind = what.split()[0]
    # As kubectl sends it, and as it would be with every field checked.
    kubectl("create", *what.split(), name, *_options(arguments, "--dry-run=server"))
    assert "created" in kubectl("create", *what.split(), name, *_options(arguments, "--validate=strict"))
    shown = json.loads(kubectl("get", kind, name, "-o", "json"))
    assert shown["metadata"]["name"] == name
    assert name in kubectl("get", kind, name, "-o", "wide")
    assert name in kubectl("describe", kind, name)
    assert "already exists" in kubectl.refused("create", *what.split(), name, *arguments)
    assert "deleted" in kubectl("delete", kind, name, "--wait=false")


def _options(arguments: tuple[str, ...], *more: str) -> tuple[str, ...]:
    """More options, ahead of a command for the container."""
    return (*more, *arguments)


def test_a_tls_secret_and_tokens_are_made(kubectl: Kubectl, server: Server) -> None:
    folder = server.folder
    kubectl("create", "secret", "tls", "t", f"--cert={folder / 'admin.crt'}", f"--key={folder / 'admin.key'}")
    assert kubectl("get", "secret", "t", "-o", "jsonpath={.type}") == "kubernetes.io/tls"
    kubectl("create", "serviceaccount", "robot")
    token = kubectl("create", "token", "robot", "--duration=20m").strip()
    assert token.count(".") == 2
    access = ["--server", server.url, "--certificate-authority", folder / "ca.crt", "--token", token]
    done = subprocess.run(
        [kubectl.program, *access, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"],
        capture_output=True,
        text=True,
        timeout=180,
        env={"HOME": str(folder), "PATH": ""},
    )
    assert done.stdout == f"system:serviceaccount:{kubectl.namespace}:robot", done.stderr


def test_apply_diff_and_prune(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    changed = MANIFEST.replace("nginx:1", "nginx:2")
    diff = kubectl.run("diff", "-f", "-", stdin=changed)
    assert diff.returncode == 1, diff.stderr
    assert "+      - image: nginx:2" in diff.stdout
    assert "configured" in kubectl("apply", "-f", "-", stdin=changed)
    assert kubectl.run("diff", "-f", "-", stdin=changed).stdout == ""
    assert "nginx:2" in kubectl("apply", "view-last-applied", "deployment/web")
    pruned = kubectl(
        "apply", "--prune", "-l", "app=web", "-f", "-", stdin=MANIFEST.replace("name: web, l", "name: x, l")
    )
    assert "deployment.apps/web pruned" in pruned


def test_server_side_apply_and_its_conflicts(kubectl: Kubectl) -> None:
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    other = MANIFEST.replace("nginx:1", "nginx:2")
    refused = kubectl.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "kubectl"' in refused
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other)
    managers = kubectl("get", "deploy", "web", "--show-managed-fields", "-o", "jsonpath={..managedFields[*].manager}")
    assert managers.split() == ["kubectl", "other"]
    # From one way of applying to the other.
    kubectl("apply", "-f", "-", stdin=MANIFEST.replace("name: web", "name: old"))
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST.replace("name: web", "name: old"))


def test_editing(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "edited" in kubectl("edit", "deploy", "web", EDITOR="sed -i 's/replicas: 2/replicas: 7/'")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "7"
    assert "no changes" in kubectl.run("edit", "deploy", "web", EDITOR="true").stderr


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("strategic", '{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:9"}]}}}}'),
        ("merge", '{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:9"}]}}}}'),
        ("json", '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:9"}]'),
    ],
)
def test_patches(kubectl: Kubectl, kind: str, patch: str) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "patched" in kubectl("patch", "deploy", "web", "--type", kind, "-p", patch)
    assert "patched (no change)" in kubectl("patch", "deploy", "web", "--type", kind, "-p", patch)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={..containers[*].image}") == "nginx:9"
    assert "patched" in kubectl(
        "patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":5}}'
    )
    assert kubectl("get", "deploy", "web", "--subresource=scale", "-o", "jsonpath={.spec.replicas}") == "5"


def test_small_changes(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "scaled" in kubectl("scale", "deploy", "web", "--current-replicas=2", "--replicas=5")
    refused = kubectl.refused("scale", "deploy", "web", "--current-replicas=2", "--replicas=3")
    assert "Expected replicas to be 2, was 5" in refused
    kubectl("label", "deploy,svc", "--all", "tier=front")
    assert kubectl("get", "all", "-l", "tier=front", "-o", "name").split() == ["service/web", "deployment.apps/web"]
    assert "not labeled" in kubectl("label", "deploy", "web", "tier=front")
    kubectl("label", "deploy", "web", "tier-")
    kubectl("annotate", "deploy", "web", "note=a", "--resource-version", _version(kubectl, "deploy/web"))
    stale = kubectl.refused("annotate", "deploy", "web", "note=b", "--overwrite", "--resource-version", "1")
    assert "the object has been modified" in stale
    kubectl("set", "env", "deploy/web", "A=b")
    kubectl("set", "resources", "deploy/web", "--limits=cpu=1,memory=64Mi")
    kubectl("set", "serviceaccount", "deploy/web", "robot")
    kubectl("set", "selector", "svc/web", "app=other")
    kubectl("create", "rolebinding", "rb", "--clusterrole=view", "--user=a")
    kubectl("set", "subject", "rolebinding/rb", "--user=b")
    kubectl("autoscale", "deploy", "web", "--min=1", "--max=4", "--cpu=80%")
    kubectl("expose", "deploy", "web", "--name=again", "--port=8080", "--target-port=80")
    assert "A=b" in kubectl("set", "env", "deploy/web", "--list")


def _version(kubectl: Kubectl, what: str) -> str:
    return kubectl("get", what, "-o", "jsonpath={.metadata.resourceVersion}")


def test_rollouts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "paused" in kubectl("rollout", "pause", "deploy/web")
    assert "resumed" in kubectl("rollout", "resume", "deploy/web")
    assert "restarted" in kubectl("rollout", "restart", "deploy/web")
    status = kubectl.run("rollout", "status", "deploy/web", "--watch=false")
    assert "Waiting for deployment" in status.stdout, status.stderr
    kubectl("rollout", "history", "deploy/web")


def test_output_forms(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST + "---" + POD)
    assert "nginx:1" in kubectl("get", "deploy", "-o", "wide")
    assert "kind: List" in kubectl("get", "deploy,svc", "-o", "yaml")
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}") == "p"
    columns = kubectl("get", "pods", "-o", "custom-columns=N:.metadata.name,Q:.status.qosClass").split()
    assert columns == ["N", "Q", "p", "BestEffort"]
    assert kubectl("get", "pods", "-o", "go-template={{range .items}}{{.metadata.name}}{{end}}") == "p"
    assert kubectl("get", "pods", "--no-headers", "--show-labels", "-L", "app").split()[-1] == "app=p"
    assert kubectl("get", "pods", "--field-selector=status.phase=Pending", "-o", "name") == "pod/p\n"
    assert kubectl("get", "pods", "-A", "--chunk-size=1", "--sort-by=.metadata.name", "-o", "name").count("pod/") >= 1
    assert "Names" in kubectl("get", "--raw", "/api/v1/namespaces/default/pods").replace("items", "Names")
    assert "not found" in kubectl.refused("get", "pod", "nope")
    assert kubectl("get", "pod", "nope", "--ignore-not-found") == ""
    assert "the server doesn't have a resource type" in kubectl.refused("get", "nopes")


def test_watching(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    command = kubectl.command("get", "pods", "--watch", "--output-watch-events", "-o", "json", "--request-timeout=120s")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        events: list[str] = []
        for line in watching.stdout:
            events.append(json.loads(line)["type"])
            if len(events) == 1:
                kubectl("label", "pod", "p", "seen=yes")
            elif len(events) == 2:
                kubectl("delete", "pod", "p", "--now")
            elif events[-1] == "DELETED":
                break
        watching.terminate()
    assert (events[0], events[-1]) == ("ADDED", "DELETED")


def test_waiting(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    status = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
    with subprocess.Popen(kubectl.command("wait", "pod/p", "--for=condition=Ready", "--timeout=120s")) as waiting:
        kubectl("patch", "pod", "p", "--subresource=status", "-p", status)
        assert waiting.wait(120) == 0
    kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Running", "--timeout=120s")
    with subprocess.Popen(kubectl.command("wait", "pod/p", "--for=delete", "--timeout=120s")) as waiting:
        kubectl("delete", "pod", "p", "--force", "--grace-period=0")
        assert waiting.wait(120) == 0


def test_replacing_and_deleting(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=MANIFEST + "---" + POD)
    kubectl("replace", "-f", "-", stdin=kubectl("get", "deploy,svc", "-o", "yaml"))
    assert "replaced" in kubectl("replace", "--force", "-f", "-", stdin=POD)
    for cascade in ("orphan", "foreground", "background"):
        kubectl("create", "deployment", cascade, "--image=x")
        kubectl("delete", "deploy", cascade, f"--cascade={cascade}", "--wait=false")
    assert "deleted" in kubectl("delete", "-f", "-", stdin=MANIFEST)
    assert kubectl("delete", "pods", "--all", "--dry-run=server").endswith("(server dry run)\n")
    assert "p" in kubectl("get", "pods", "-o", "name")


def test_what_the_server_says_of_itself(kubectl: Kubectl) -> None:
    assert "containers" in kubectl("explain", "pod.spec")
    assert "FIELD: replicas" in kubectl("explain", "deploy.spec.replicas")
    assert "tolerations" in kubectl("explain", "pods", "--recursive")
    assert "VERSION:    v2" in kubectl("explain", "hpa", "--api-version=autoscaling/v2")
    assert "deployments" in kubectl("api-resources", "-o", "wide", "--categories=all")
    assert len(kubectl("api-resources", "--no-headers").splitlines()) > 50
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1"} <= set(versions)
    assert "is running at" in kubectl("cluster-info")
    assert '"kind": "NodeList"' in kubectl("cluster-info", "dump")
    assert "Server Version: v1.36" in kubectl("version")
    assert "v1.36" in json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]


def test_permissions(kubectl: Kubectl) -> None:
    assert "admin" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "delete", "pods").strip() == "yes"
    assert kubectl("auth", "can-i", "create", "deployments.apps", "--subresource=scale").strip() == "yes"
    assert kubectl("auth", "can-i", "get", "/metrics").strip() == "yes"
    assert "*.*" in kubectl("auth", "can-i", "--list")


def test_nodes_are_cordoned_tainted_and_drained(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin="{apiVersion: v1, kind: Node, metadata: {name: drained}}")
    kubectl("create", "-f", "-", stdin=POD.replace("spec: {", "spec: {nodeName: drained, "))
    assert "cordoned" in kubectl("cordon", "drained")
    kubectl("taint", "node", "drained", "k=v:NoSchedule")
    refused = kubectl.refused("drain", "drained")
    assert "cannot delete" in refused
    assert "(server dry run)" in kubectl("drain", "drained", "--force", "--dry-run=server")
    assert "SchedulingDisabled" in kubectl("get", "nodes", "drained")
    assert "Taints:" in kubectl("describe", "node", "drained")
    assert "uncordoned" in kubectl("uncordon", "drained")
    kubectl("delete", "pod", "p", "--force", "--grace-period=0")
    kubectl("delete", "node", "drained")


def test_custom_resources(kubectl: Kubectl, tmp_path: Path) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "description": "What is wanted", "properties": {"size": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
        },
    }
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
        },
    }
    names = {"kind": "Boat", "plural": "boats", "shortNames": ["bt"], "categories": ["all"]}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.ships.example.com"},
        "spec": {"group": "ships.example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    file = tmp_path / "crd.json"
    file.write_text(json.dumps(definition))
    kubectl("apply", "-f", str(file))
    kubectl("wait", "crd/boats.ships.example.com", "--for=condition=Established", "--timeout=120s")
    boat = "{apiVersion: ships.example.com/v1, kind: Boat, metadata: {name: b}, spec: {size: 3}}"
    kubectl("apply", "-f", "-", stdin=boat)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=boat)
    assert kubectl("get", "bt", "--no-headers").split()[:2] == ["b", "3"]
    assert "What is wanted" in kubectl("explain", "boat.spec")
    assert "scaled" in kubectl("scale", "boat", "b", "--replicas=5")
    assert 'strict decoding error: unknown field "spec.sice"' in kubectl.refused(
        "create", "-f", "-", stdin=boat.replace("name: b", "name: c").replace("size", "sice")
    )
    assert "boat.ships.example.com/b" in kubectl("get", "all", "-o", "name")
    kubectl("delete", "crd", "boats.ships.example.com", "--timeout=120s")


OLDER = Path("/usr/bin/kubectl")


@pytest.mark.skipif(not OLDER.exists(), reason="no other kubectl on this machine")
def test_an_older_kubectl(server: Server, spaces: Callable[[], str]) -> None:
    older = Kubectl(server, str(OLDER), spaces())
    assert "created" in older("apply", "-f", "-", stdin=MANIFEST)
    assert "unchanged" in older("apply", "-f", "-", stdin=MANIFEST)
    assert "scaled" in older("scale", "deploy", "web", "--replicas=4")
    assert "deployment.apps/web" in older("get", "all", "-o", "name")
    assert "Pod Template" in older("describe", "deploy", "web")
    assert "containers" in older("explain", "pod.spec")
    assert "deployments" in older("api-resources")
    older("create", "configmap", "c", "--from-literal=k=v")
    older("delete", "deploy,svc,cm", "--all")

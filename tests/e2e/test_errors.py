"""Bad input gets Kubernetes' own answers: field paths, reasons, the events users know."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import yaml

from .conftest import Engine, Obj, eventually, pod


def change(edit: Callable[[Obj], object]) -> Obj:
    manifest = copy.deepcopy(pod("bad"))
    edit(manifest)
    return manifest


BAD_PODS: list[tuple[str, Obj, str]] = [
    ("no containers", change(lambda p: p["spec"].update(containers=[])), "spec.containers: Required value"),
    ("no image", change(lambda p: p["spec"]["containers"][0].pop("image")), "spec.containers[0].image: Required value"),
    (
        "bad name",
        change(lambda p: p["metadata"].update(name="Bad_Name")),
        'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of',
    ),
    (
        "same name twice",
        change(lambda p: p["spec"]["containers"].append(p["spec"]["containers"][0])),
        'spec.containers[1].name: Duplicate value: "main"',
    ),
    (
        "unknown policy",
        change(lambda p: p["spec"].update(restartPolicy="Sometimes")),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ),
    (
        "unknown volume",
        change(lambda p: p["spec"]["containers"][0].update(volumeMounts=[{"name": "v", "mountPath": "/v"}])),
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    (
        "request over limit",
        change(
            lambda p: p["spec"]["containers"][0].update(
                resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
            )
        ),
        'resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
    ),
    (
        "port out of range",
        change(lambda p: p["spec"]["containers"][0].update(ports=[{"containerPort": 70000}])),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
]


@pytest.mark.parametrize(("manifest", "message"), [b[1:] for b in BAD_PODS], ids=[b[0] for b in BAD_PODS])
def test_invalid_pods_are_refused_with_the_field(engine: Engine, namespace: str, manifest: Obj, message: str) -> None:
    done = engine.kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(manifest), check=False)
    assert done.returncode == 1
    assert "is invalid" in done.stderr
    assert message in done.stderr


def test_unknown_fields_are_named(engine: Engine, namespace: str) -> None:
    manifest = change(lambda p: p["spec"]["containers"][0].update(imagee="x"))
    done = engine.kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(manifest), check=False)
    assert done.returncode == 1
    assert 'unknown field "spec.containers[0].imagee"' in done.stderr


def test_wrong_types_are_named(engine: Engine, namespace: str) -> None:
    manifest = change(lambda p: p["spec"].update(containers="none"))
    done = engine.kubectl(
        "create", "--validate=false", "-n", namespace, "-f", "-", input=yaml.safe_dump(manifest), check=False
    )
    assert done.returncode == 1
    assert "json: cannot unmarshal string into Go struct field PodSpec.spec.containers" in done.stderr


def test_immutable_fields_stay(engine: Engine, namespace: str) -> None:
    engine.apply(pod("a"), namespace)
    changed = pod("a")
    changed["spec"]["hostNetwork"] = True
    done = engine.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump(changed), check=False)
    assert done.returncode == 1
    assert "pod updates may not change fields other than" in done.stderr


def test_a_stale_update_is_a_conflict(engine: Engine, namespace: str) -> None:
    engine.kubectl("create", "configmap", "c", "-n", namespace)
    stale = engine.get("configmap", "c", namespace)
    engine.kubectl("label", "configmap", "c", "a=b", "-n", namespace)
    done = engine.kubectl("replace", "-n", namespace, "-f", "-", input=yaml.safe_dump(stale), check=False)
    assert done.returncode == 1
    assert "the object has been modified; please apply your changes to the latest version and try again" in done.stderr


def test_an_unknown_namespace_is_not_found(engine: Engine) -> None:
    done = engine.kubectl("create", "configmap", "c", "-n", "nowhere", check=False)
    assert 'namespaces "nowhere" not found' in done.stderr


def waiting_reason(engine: Engine, namespace: str, name: str) -> str:
    statuses = engine.get("pod", name, namespace)["status"].get("containerStatuses") or [{}]
    reason: str = statuses[0].get("state", {}).get("waiting", {}).get("reason", "")
    return reason


def test_an_unknown_image_backs_off(engine: Engine, namespace: str) -> None:
    manifest = pod("a")
    manifest["spec"]["containers"][0]["image"] = "127.0.0.1:1/no/such:1"
    engine.apply(manifest, namespace)
    assert 'Failed to pull image "127.0.0.1:1/no/such:1"' in engine.wait_event(namespace, "a", "Failed")
    eventually(
        lambda: waiting_reason(engine, namespace, "a") in ("ErrImagePull", "ImagePullBackOff"), "ImagePullBackOff"
    )
    eventually(lambda: waiting_reason(engine, namespace, "a") == "ImagePullBackOff", "ImagePullBackOff")
    assert 'Back-off pulling image "127.0.0.1:1/no/such:1"' in engine.wait_event(namespace, "a", "BackOff")


def test_an_image_that_must_not_be_pulled(engine: Engine, namespace: str) -> None:
    manifest = pod("a", container={"imagePullPolicy": "Never"})
    manifest["spec"]["containers"][0]["image"] = "example.test/absent:1"
    engine.apply(manifest, namespace)
    eventually(lambda: waiting_reason(engine, namespace, "a") == "ErrImageNeverPull", "ErrImageNeverPull")


def test_a_missing_config_map_in_the_environment(engine: Engine, namespace: str) -> None:
    engine.apply(pod("a", container={"envFrom": [{"configMapRef": {"name": "absent"}}]}), namespace)
    eventually(
        lambda: waiting_reason(engine, namespace, "a") == "CreateContainerConfigError", "CreateContainerConfigError"
    )
    assert 'configmap "absent" not found' in engine.wait_event(namespace, "a", "Failed")
    engine.kubectl("create", "configmap", "absent", "-n", namespace)
    engine.wait_ready("a", namespace)


def test_a_missing_config_map_as_a_volume(engine: Engine, namespace: str) -> None:
    container = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volumes = [{"name": "v", "configMap": {"name": "absent"}}]
    engine.apply(pod("a", container=container, volumes=volumes), namespace)
    message = engine.wait_event(namespace, "a", "FailedMount")
    assert 'MountVolume.SetUp failed for volume "v" : configmap "absent" not found' in message
    engine.kubectl("create", "configmap", "absent", "-n", namespace)
    engine.wait_ready("a", namespace)


def test_a_command_that_does_not_exist(engine: Engine, namespace: str) -> None:
    manifest = pod("a")
    manifest["spec"]["containers"][0]["command"] = ["/no/such/command"]
    engine.apply(manifest, namespace)
    message = engine.wait_event(namespace, "a", "Failed")
    assert 'exec: "/no/such/command": stat /no/such/command: no such file or directory: unknown' in message


def test_a_pod_that_fits_nowhere(engine: Engine, namespace: str) -> None:
    engine.apply(pod("a", container={"resources": {"requests": {"cpu": "1000"}}}), namespace)
    message = engine.wait_event(namespace, "a", "FailedScheduling")
    assert message.startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert "Pending" in engine.kubectl("get", "pod", "a", "-n", namespace).stdout


def test_a_runtime_class_that_does_not_exist(engine: Engine, namespace: str) -> None:
    done = engine.kubectl(
        "create", "-n", namespace, "-f", "-", input=yaml.safe_dump(pod("a", runtimeClassName="nope")), check=False
    )
    assert done.returncode == 1
    assert 'RuntimeClass "nope" not found' in done.stderr

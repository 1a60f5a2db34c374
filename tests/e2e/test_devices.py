"""Devices end to end: a driver's process publishes them, pods claim them, run with them, and all is given back."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node import dra_driver
from tests.node.dra_driver import NAME, Running

from .conftest import Engine, Obj, eventually, pod

RESOURCE = "toys.hawser.test/toy"
API = "resource.k8s.io/v1"
# Where runtimes look for specs; containerd 1.6 has the agent do it.
CDI = Path("/var/run/cdi")
SHOW = "env | grep ^TOY_; ls /dev | grep ^toy; exec sleep 1000000"


def published(node: str) -> list[Obj]:
    """A class and two devices of it, as administrator and driver would make them."""
    selector = {"cel": {"expression": f'device.driver == "{NAME}"'}}
    return [
        {
            "apiVersion": API,
            "kind": "DeviceClass",
            "metadata": {"name": "toys"},
            "spec": {"selectors": [selector], "extendedResourceName": RESOURCE},
        },
        {
            "apiVersion": API,
            "kind": "ResourceSlice",
            "metadata": {"name": f"{NAME}-{node}"},
            "spec": {
                "driver": NAME,
                "nodeName": node,
                "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "toy-0"}, {"name": "toy-1"}],
            },
        },
    ]


@pytest.fixture
def driver(engine: Engine) -> Iterator[Running]:
    there = CDI.exists()
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        dra_driver.running(Path(folder), engine.data_dir / "agent/plugins_registry", CDI) as running,
    ):
        eventually((Path(folder) / "registered").exists, "the driver's registration")
        yield running
        engine.kubectl("delete", "deviceclasses,resourceslices", "--all", check=False)
    if not there:
        with contextlib.suppress(OSError):  # another engine on this machine has devices, too
            CDI.rmdir()


def shown(engine: Engine, namespace: str, name: str) -> list[str]:
    """The variable and the device that a pod says it has."""
    engine.wait_ready(name, namespace)

    def look() -> list[str]:
        words = engine.kubectl("logs", name, "-n", namespace).stdout.split()
        return words if len(words) == 2 else []

    return eventually(look, f"the devices of {name}")


def test_pods_get_devices_by_template_and_by_number_and_give_them_back(
    engine: Engine, namespace: str, driver: Running
) -> None:
    node = engine.list("node", "")[0]["metadata"]["name"]
    for manifest in published(node):
        engine.apply(manifest, namespace)
    request = {"name": "one", "exactly": {"deviceClassName": "toys"}}
    template = {"spec": {"devices": {"requests": [request]}}}
    metadata = {"name": "toy"}
    made = {"apiVersion": API, "kind": "ResourceClaimTemplate", "metadata": metadata, "spec": template}
    engine.apply(made, namespace)
    claims = [{"name": "mine", "resourceClaimTemplateName": "toy"}]
    claiming = {"resources": {"claims": [{"name": "mine"}]}}
    engine.apply(pod("claims", SHOW, container=claiming, resourceClaims=claims), namespace)
    engine.apply(pod("counts", SHOW, container={"resources": {"limits": {RESOURCE: "1"}}}), namespace)
    found = {name: shown(engine, namespace, name) for name in ("claims", "counts")}
    listed = {claim["metadata"]["name"]: claim for claim in engine.list("resourceclaims", namespace)}
    assert len(listed) == 2
    for name, (variable, device) in found.items():
        (claim,) = [key for key in listed if device == f"toy-{key}"]
        assert variable.endswith(f"={listed[claim]['metadata']['uid']}")
        assert listed[claim]["status"]["reservedFor"][0]["name"] == name
    engine.apply(pod("waits", SHOW, container=claiming, resourceClaims=claims), namespace)
    assert "cannot allocate all claims" in engine.wait_event(namespace, "waits", "FailedScheduling")
    engine.kubectl("delete", "pod", "claims", "-n", namespace)
    assert shown(engine, namespace, "waits")
    engine.kubectl("delete", "pod", "counts", "waits", "-n", namespace)
    eventually(lambda: not engine.list("resourceclaims", namespace), "the end of all claims")
    prepared = [name for call in driver.calls("NodePrepareResources") for name in call]
    given_back = [name for call in driver.calls("NodeUnprepareResources") for name in call]
    assert sorted(prepared) == sorted(given_back) and len(set(prepared)) == 3
    assert not list(CDI.glob("*-*.json")), "nothing of the driver's is left"

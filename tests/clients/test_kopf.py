"""An operator of kopf's: handlers, finalizers, progress in annotations and status, events, all by patches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Kubectl

OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.posting.enabled = True
    settings.persistence.finalizer = "ferries.example.com/finalizer"

@kopf.on.create("ferries.kopf.example.com")
def created(spec, patch, body, **_):
    patch.status["berths"] = spec["size"] * 2
    kopf.info(body, reason="Launched", message="It floats")
    return {"seen": spec["size"]}

@kopf.on.update("ferries.kopf.example.com", field="spec.size")
def updated(old, new, patch, **_):
    patch.status["berths"] = new * 2
    patch.metadata.annotations["was"] = str(old)

@kopf.on.delete("ferries.kopf.example.com")
def deleted(name, **_):
    print(f"scrapped {name}", flush=True)
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ferries.kopf.example.com}
spec:
  group: kopf.example.com
  scope: Namespaced
  names: {kind: Ferry, plural: ferries}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer}}}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
FERRY = "{apiVersion: kopf.example.com/v1, kind: Ferry, metadata: {name: f}, spec: {size: 4}}"


@pytest.fixture
def operator(kubectl: Kubectl, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The operator as a process of its own, for the namespace of kubectl."""
    kubectl("apply", "-f", "-", stdin=DEFINITION)
    kubectl("wait", "crd/ferries.kopf.example.com", "--for=condition=Established", "--timeout=120s")
    program = tmp_path / "operator.py"
    program.write_text(OPERATOR)
    command = [sys.executable, "-m", "kopf", "run", str(program), "--standalone", "-n", kubectl.namespace]
    environment = {**os.environ, "KUBECONFIG": str(kubectl.server.kubeconfig)}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    yield running
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=120)
    kubectl("delete", "crd", "ferries.kopf.example.com", "--timeout=120s")


def test_an_operator_handles_what_is_made_changed_and_deleted(
    kubectl: Kubectl, operator: subprocess.Popen[str]
) -> None:
    kubectl("apply", "-f", "-", stdin=FERRY)
    kubectl("wait", "ferry/f", "--for=jsonpath={.status.berths}=8", "--timeout=120s")
    kubectl("wait", "ferry/f", "--for=jsonpath={.status.created.seen}=4", "--timeout=120s")
    assert kubectl("get", "ferry", "f", "-o", "jsonpath={.metadata.finalizers}") == '["ferries.example.com/finalizer"]'
    kubectl("patch", "ferry", "f", "--type=merge", "-p", '{"spec":{"size":5}}')
    kubectl("wait", "ferry/f", "--for=jsonpath={.status.berths}=10", "--timeout=120s")
    kubectl("wait", "ferry/f", "--for=jsonpath={.metadata.annotations.was}=4", "--timeout=120s")
    kubectl("delete", "ferry", "f", "--timeout=120s")
    assert operator.stdout is not None
    assert operator.stdout.readline() == "scrapped f\n"
    # kopf writes its events in the background.
    deadline = time.monotonic() + 120
    while "Launched" not in kubectl("get", "events", "-o", "jsonpath={.items[*].reason}"):
        assert time.monotonic() < deadline, "no event"

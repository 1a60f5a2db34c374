"""Tables show what users of kubectl know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.errors import APIError
from hawser.api.kinds import Kind
from hawser.api.tables import human_duration, table, table_columns, table_row
from hawser.api.types import Obj

NOW = datetime(2030, 1, 10, 12, 0, 0, tzinfo=UTC)
CREATED = "2030-01-10T11:55:00Z"
MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (1.9, "1s"),
        (119, "119s"),
        (2 * MINUTE, "2m"),
        (3 * MINUTE + 20, "3m20s"),
        (10 * MINUTE + 5, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 5 * MINUTE, "3h5m"),
        (8 * HOUR + 5 * MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + 4 * HOUR, "2d4h"),
        (8 * DAY + 4 * HOUR, "8d"),
        (729 * DAY, "729d"),
        (730 * DAY, "2y"),
        (3 * 365 * DAY + 40 * DAY, "3y40d"),
        (9 * 365 * DAY + 40 * DAY, "9y"),
    ],
)
def test_durations_get_coarser_as_they_grow(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def cells(kind: Kind, obj: Obj) -> dict[str, Any]:
    """An object's cells by column name."""
    obj.setdefault("metadata", {}).setdefault("creationTimestamp", CREATED)
    obj["metadata"].setdefault("name", "x")
    names = [column["name"] for column in table_columns(kind)]
    row = table_row(kind, obj, NOW)
    assert len(row) == len(names)
    return dict(zip(names, row, strict=True))


def container(name: str = "c", ready: bool = False, restarts: int = 0, **state: Obj) -> Obj:
    status: Obj = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if restarts:
        status["lastState"] = {"terminated": {"finishedAt": "2030-01-10T11:58:00Z"}}
    return status


RUNNING: Obj = {"startedAt": CREATED}
DONE: Obj = {"exitCode": 0, "reason": "Completed"}
READY = [{"type": "Ready", "status": "True"}]


def pod(status: Obj, containers: int = 1, init: list[Obj] | None = None, **meta: Any) -> Obj:
    spec = {"containers": [{"name": f"c{i}"} for i in range(containers)], "initContainers": init or []}
    return {"metadata": dict(meta), "spec": spec, "status": status}


INIT = [{"name": "i0"}, {"name": "i1"}]
SIDECAR = [{"name": "s", "restartPolicy": "Always"}]
PODS: list[tuple[str, Obj, str, str, str]] = [
    ("new", pod({"phase": "Pending"}), "0/1", "Pending", "0"),
    ("running", pod({"phase": "Running", "containerStatuses": [container(ready=True, running=RUNNING)]}),
     "1/1", "Running", "0"),
    ("restarted", pod({"phase": "Running", "containerStatuses": [container(ready=True, restarts=3, running=RUNNING)]}),
     "1/1", "Running", "3 (2m ago)"),
    ("creating", pod({"phase": "Pending", "containerStatuses": [container(waiting={"reason": "ContainerCreating"})]}),
     "0/1", "ContainerCreating", "0"),
    ("crashing", pod({"phase": "Running", "containerStatuses": [
        container(restarts=1, waiting={"reason": "CrashLoopBackOff"})]}), "0/1", "CrashLoopBackOff", "1 (2m ago)"),
    ("the first container wins", pod({"phase": "Running", "containerStatuses": [
        container(waiting={"reason": "ErrImagePull"}), container(waiting={"reason": "CrashLoopBackOff"})]}, 2),
     "0/2", "ErrImagePull", "0"),
    ("completed", pod({"phase": "Succeeded", "containerStatuses": [container(terminated=DONE)]}),
     "0/1", "Completed", "0"),
    ("failed", pod({"phase": "Failed", "containerStatuses": [
        container(terminated={"exitCode": 1, "reason": "Error"})]}), "0/1", "Error", "0"),
    ("exit code", pod({"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 3})]}),
     "0/1", "ExitCode:3", "0"),
    ("signal", pod({"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 137, "signal": 9})]}),
     "0/1", "Signal:9", "0"),
    ("one done, one ready", pod({"phase": "Running", "conditions": READY, "containerStatuses": [
        container(terminated=DONE), container(ready=True, running=RUNNING)]}, 2), "1/2", "Running", "0"),
    ("one done, pod not ready", pod({"phase": "Running", "containerStatuses": [
        container(terminated=DONE), container(ready=True, running=RUNNING)]}, 2), "1/2", "NotReady", "0"),
    ("evicted", pod({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted", "0"),
    ("gated", pod({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}), "0/1", "SchedulingGated", "0"),
    ("terminating", pod({"phase": "Running", "containerStatuses": [container(ready=True, running=RUNNING)]},
     deletionTimestamp=CREATED), "1/1", "Terminating", "0"),
    ("done while deleted", pod({"phase": "Succeeded", "containerStatuses": [container(terminated=DONE)]},
     deletionTimestamp=CREATED), "0/1", "Completed", "0"),
    ("node lost", pod({"phase": "Running", "reason": "NodeLost"}, deletionTimestamp=CREATED), "0/1", "Unknown", "0"),
    ("first init container", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", running=RUNNING), container("i1", waiting={"reason": "PodInitializing"})]}, init=INIT),
     "0/1", "Init:0/2", "0"),
    ("second init container", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", terminated=DONE), container("i1", waiting={"reason": "PodInitializing"})]}, init=INIT),
     "0/1", "Init:1/2", "0"),
    ("init waits", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", restarts=2, waiting={"reason": "CrashLoopBackOff"})]}, init=INIT),
     "0/1", "Init:CrashLoopBackOff", "2 (2m ago)"),
    ("init error", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", terminated={"exitCode": 1, "reason": "Error"})]}, init=INIT), "0/1", "Init:Error", "0"),
    ("init exit code", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", terminated={"exitCode": 7})]}, init=INIT), "0/1", "Init:ExitCode:7", "0"),
    ("init signal", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", terminated={"exitCode": 137, "signal": 9})]}, init=INIT), "0/1", "Init:Signal:9", "0"),
    ("init done, restarts forgotten", pod({"phase": "Pending", "initContainerStatuses": [
        container("i0", restarts=2, terminated=DONE), container("i1", terminated=DONE)],
        "containerStatuses": [container(waiting={"reason": "PodInitializing"})]}, init=INIT),
     "0/1", "PodInitializing", "0"),
    ("sidecar runs", pod({"phase": "Running", "initContainerStatuses": [
        container("s", ready=True, restarts=1, running=RUNNING) | {"started": True}],
        "containerStatuses": [container(ready=True, running=RUNNING)]}, init=SIDECAR),
     "2/2", "Running", "1 (2m ago)"),
    ("sidecar starts", pod({"phase": "Pending", "initContainerStatuses": [container("s", running=RUNNING)]},
     init=SIDECAR), "0/2", "Init:0/1", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "ready", "status", "restarts"), [p[1:] for p in PODS], ids=[p[0] for p in PODS])
def test_a_pod_shows_what_its_containers_do(obj: Obj, ready: str, status: str, restarts: str) -> None:
    row = cells(kinds.POD, obj)
    assert (row["Ready"], row["Status"], row["Restarts"], row["Age"]) == (ready, status, restarts, "5m")


def test_a_pods_wide_columns() -> None:
    row = cells(kinds.POD, pod({}))
    assert [row[c] for c in ("IP", "Node", "Nominated Node", "Readiness Gates")] == ["<none>"] * 4
    obj = pod(
        {"podIPs": [{"ip": "10.0.0.7"}], "nominatedNodeName": "m", "conditions": [{"type": "g", "status": "True"}]}
    )
    obj["spec"] |= {"nodeName": "n", "readinessGates": [{"conditionType": "g"}, {"conditionType": "h"}]}
    row = cells(kinds.POD, obj)
    assert [row[c] for c in ("IP", "Node", "Nominated Node", "Readiness Gates")] == ["10.0.0.7", "n", "m", "1/2"]


WORKLOAD = {
    "replicas": 3,
    "selector": {"matchLabels": {"app": "web"}},
    "template": {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}},
}
OTHERS: list[tuple[Kind, Obj, dict[str, Any]]] = [
    (kinds.DEPLOYMENT, {"spec": WORKLOAD, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}},
     {"Ready": "2/3", "Up-to-date": 3, "Available": 1, "Containers": "a,b", "Images": "x:1,y:2",
      "Selector": "app=web"}),
    (kinds.REPLICA_SET, {"spec": WORKLOAD, "status": {"replicas": 3, "readyReplicas": 1}},
     {"Desired": 3, "Current": 3, "Ready": 1, "Selector": "app=web"}),
    (kinds.SERVICE, {"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "selector": {"b": "2", "a": "1"},
                              "ports": [{"port": 443, "protocol": "TCP"}]}},
     {"Type": "ClusterIP", "Cluster-IP": "10.96.0.1", "External-IP": "<none>", "Port(s)": "443/TCP",
      "Selector": "a=1,b=2"}),
    (kinds.SERVICE, {"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.1"], "externalIPs": ["1.1.1.1", "2.2.2.2"],
                              "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"},
                                        {"port": 53, "protocol": "UDP"}]}},
     {"External-IP": "1.1.1.1,2.2.2.2", "Port(s)": "80:30080/TCP,53/UDP", "Selector": "<none>"}),
    (kinds.SERVICE, {"spec": {"type": "ExternalName", "externalName": "example.com"}},
     {"Cluster-IP": "<none>", "External-IP": "example.com", "Port(s)": "<none>"}),
    (kinds.SERVICE, {"spec": {"type": "LoadBalancer"}}, {"External-IP": "<pending>"}),
    (kinds.SERVICE, {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}]}}},
     {"External-IP": "9.9.9.9"}),
    (kinds.NODE, {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}},
                  "spec": {"unschedulable": True},
                  "status": {"conditions": [{"type": "Ready", "status": "True"}],
                             "addresses": [{"type": "InternalIP", "address": "192.168.0.2"}],
                             "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1",
                                          "containerRuntimeVersion": "containerd://2.2"}}},
     {"Status": "Ready,SchedulingDisabled", "Roles": "control-plane,worker", "Version": "v1.36.0",
      "Internal-IP": "192.168.0.2", "External-IP": "<none>", "OS-Image": "Debian", "Kernel-Version": "6.1",
      "Container-Runtime": "containerd://2.2"}),
    (kinds.NODE, {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
     {"Status": "NotReady", "Roles": "<none>", "OS-Image": "<unknown>"}),
    (kinds.NODE, {}, {"Status": "Unknown"}),
    (kinds.NAMESPACE, {"status": {"phase": "Active"}}, {"Status": "Active", "Age": "5m"}),
    (kinds.CONFIG_MAP, {"data": {"a": "1"}, "binaryData": {"b": "MQ=="}}, {"Data": 2}),
    (kinds.SECRET, {"type": "Opaque", "data": {"a": "MQ=="}}, {"Type": "Opaque", "Data": 1}),
    (kinds.SERVICE_ACCOUNT, {}, {"Secrets": 0}),
    (kinds.LEASE, {"spec": {"holderIdentity": "me"}}, {"Holder": "me"}),
    (kinds.ENDPOINT_SLICE, {"addressType": "IPv4", "ports": [{"port": 80}, {"name": "any"}, {}],
                            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]},
                                          {"addresses": ["10.0.0.3", "10.0.0.4"]}]},
     {"AddressType": "IPv4", "Ports": "80,any,*", "Endpoints": "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..."}),
    (kinds.ENDPOINT_SLICE, {}, {"Ports": "<unset>", "Endpoints": "<unset>"}),
    (kinds.RUNTIME_CLASS, {"handler": "rich"}, {"Handler": "rich"}),
    (kinds.EVENT, {"type": "Warning", "reason": "BackOff", "message": "Back-off \n", "count": 4,
                   "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{c}"},
                   "source": {"component": "kubelet", "host": "n1"},
                   "firstTimestamp": "2030-01-10T11:00:00Z", "lastTimestamp": "2030-01-10T11:59:30Z"},
     {"Last Seen": "30s", "Type": "Warning", "Reason": "BackOff", "Object": "pod/web", "Message": "Back-off",
      "Subobject": "spec.containers{c}", "Source": "kubelet, n1", "First Seen": "60m", "Count": 4, "Name": "x"}),
    (kinds.EVENT, {"eventTime": "2030-01-10T11:59:00.000000Z", "reportingComponent": "scheduler",
                   "involvedObject": {"kind": "Node"}},
     {"Last Seen": "60s", "First Seen": "60s", "Count": 1, "Object": "node", "Source": "scheduler"}),
    (kinds.EVENT, {"eventTime": "2030-01-10T11:00:00Z",
                   "series": {"count": 9, "lastObservedTime": "2030-01-10T11:59:58Z"}},
     {"Last Seen": "2s", "First Seen": "60m", "Count": 9}),
    (kinds.EVENT, {}, {"Last Seen": "<unknown>"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "shown"), OTHERS, ids=lambda v: v.kind if isinstance(v, Kind) else "")
def test_a_kind_shows_its_own_columns(kind: Kind, obj: Obj, shown: dict[str, Any]) -> None:
    row = cells(kind, obj)
    assert {column: row[column] for column in shown} == shown


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.kind)
def test_every_kind_of_the_table_shows_even_an_empty_object(kind: Kind) -> None:
    assert cells(kind, {})["Name"] == "x"
    for column in table_columns(kind):
        assert set(column) == {"name", "type", "format", "description", "priority"}
        assert column["description"]


def test_a_kind_without_columns_of_its_own_shows_when_it_was_created() -> None:
    other = Kind("example.com", "v1", "Thing", "things", True)
    assert cells(other, {}) == {"Name": "x", "Created At": CREATED}


def test_rows_carry_what_the_client_asks_for() -> None:
    obj: Obj = {"metadata": {"name": "x", "uid": "u"}, "data": {"a": "b"}}
    meta = {"resourceVersion": "7"}
    document = table(kinds.CONFIG_MAP, [obj], meta, now=NOW)
    assert (document["kind"], document["apiVersion"], document["metadata"]) == ("Table", "meta.k8s.io/v1", meta)
    assert document["rows"] == [
        {
            "cells": ["x", 1, "<unknown>"],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]},
        }
    ]
    assert table(kinds.CONFIG_MAP, [obj], meta, "Object", now=NOW)["rows"][0]["object"] == obj
    assert "object" not in table(kinds.CONFIG_MAP, [obj], meta, "None", now=NOW)["rows"][0]
    assert table(kinds.CONFIG_MAP, [], meta, now=NOW, headers=False)["columnDefinitions"] == []
    with pytest.raises(APIError, match='unrecognized includeObject value: "All"'):
        table(kinds.CONFIG_MAP, [obj], meta, "All", now=NOW)


def test_rows_of_finished_pods_say_so() -> None:
    done = pod({"phase": "Succeeded"}, name="x")
    (row,) = table(kinds.POD, [done], {}, now=NOW)["rows"]
    assert row["conditions"][0]["type"] == "Completed"
    (row,) = table(kinds.POD, [pod({"phase": "Running"}, name="x")], {}, now=NOW + timedelta(1))["rows"]
    assert "conditions" not in row

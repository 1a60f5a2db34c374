#!/usr/bin/env python3
"""Measures the scheduler's decisions alone: pods a second, CPU of an event, memory. No server runs.

bench/scheduling.py [--nodes 5000] [--pods 30000] [--templates 100]   a large cluster, simulated from a dump
bench/scheduling.py --curve 1000,10000,50000                          the cost of an event when so many pods are placed

Each measure is a process of its own. CPU time counts, not the clock on the wall.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

from hawser.scheduler.cache import Cache
from hawser.scheduler.placement import Placement
from hawser.scheduler.simulation import Outcome, Simulation

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
PODS_A_NODE = 110


def node(number: int) -> dict[str, Any]:
    labels = {HOST: f"n{number}", ZONE: f"z{number % 3}"}
    room = {"cpu": str(16 * (1 + number % 3)), "memory": "256Gi", "pods": str(PODS_A_NODE)}
    return {
        "kind": "Node",
        "metadata": {"name": f"n{number}", "labels": labels},
        "spec": {},
        "status": {"allocatable": room},
    }


def pod(number: int, template: int, case: str = "plain") -> dict[str, Any]:
    """A pod of a template: its requests and labels are the template's, and what the case asks for."""
    labels = {"app": f"a{template}"}
    requests = {"cpu": f"{50 + template % 100}m", "memory": f"{64 + template % 7}Mi"}
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "app", "resources": {"requests": requests}}]}
    selector = {"matchLabels": labels}
    if case == "zone spread":
        constraint = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
        spec["topologySpreadConstraints"] = [{**constraint, "labelSelector": selector}]
    if case == "host anti-affinity":
        terms = [{"topologyKey": HOST, "labelSelector": selector}]
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    if case == "own volume":
        spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": f"c{number}"}}]
    if case == "own device":
        spec["resourceClaims"] = [{"name": "d", "resourceClaimTemplateName": "one"}]
    metadata = {"name": f"p{number}", "namespace": "d", "uid": f"u{number}", "labels": labels}
    owner = {"kind": "ReplicaSet", "uid": f"rs{template}", "controller": True, "name": f"rs{template}"}
    return {"kind": "Pod", "metadata": {**metadata, "ownerReferences": [owner]}, "spec": spec}


def replica_set(template: int) -> dict[str, Any]:
    metadata = {"name": f"rs{template}", "namespace": "d", "uid": f"rs{template}"}
    return {
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": {"app": f"a{template}"}}},
    }


def volumes(pods: int) -> Iterator[dict[str, Any]]:
    """A class whose volumes are made where pods go, and a claim for each pod."""
    metadata = {"name": "late"}
    yield {
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": "x",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    for number in range(pods):
        name = f"c{number}"
        metadata = {"name": name, "namespace": "d", "uid": name}
        yield {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {"storageClassName": "late", **asked}}


def devices(nodes: int) -> Iterator[dict[str, Any]]:
    """A class, a template of claims for one of its devices, and eight of them on every node."""
    selector = {"cel": {"expression": 'device.driver == "d"'}}
    yield {"kind": "DeviceClass", "metadata": {"name": "one"}, "spec": {"selectors": [selector]}}
    asked = {"name": "r", "exactly": {"deviceClassName": "one", "allocationMode": "ExactCount", "count": 1}}
    template = {"spec": {"devices": {"requests": [asked]}}}
    yield {"kind": "ResourceClaimTemplate", "metadata": {"name": "one", "namespace": "d"}, "spec": template}
    for number in range(nodes):
        name = f"n{number}"
        where = {"driver": "d", "nodeName": name, "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}
        spec = {**where, "devices": [{"name": f"d{each}"} for each in range(8)]}
        yield {"kind": "ResourceSlice", "metadata": {"name": name}, "spec": spec}


def simulate(nodes: int, pods: int, templates: int, case: str) -> None:
    objects = [*map(node, range(nodes)), *map(replica_set, range(templates))]
    if case == "own volume":
        objects += volumes(pods)
    if case == "own device":
        objects += devices(nodes)
    objects += [pod(number, number * templates // pods, case) for number in range(pods)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    started = time.process_time()
    simulation = Simulation(objects)
    placed = sum(result.outcome is Outcome.PLACED for result in simulation.run())
    seconds = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{case:20} {nodes} nodes, {pods} pods of {templates} templates: {pods / seconds:8.0f} pods/s, "
        f"{memory} MiB ({before} MiB of it the dump)" + ("" if placed == pods else f"  FAIL: {placed} placed"),
        flush=True,
    )


def events(pods: int, turns: int = 500) -> None:
    """The CPU of one event when there are so many pods, at 50 pods a node."""
    cache = Cache()
    count = max(pods // 50, 1)
    for number in range(count):
        cache.set_node(node(number))
    placement = Placement(cache, random.Random(0))
    infos = [cache.shapes.pod(pod(number, number % 100)) for number in range(pods)]
    for number, info in enumerate(infos):
        cache.set_pod(info, f"n{number % count}")
    fresh = [cache.shapes.pod(pod(pods + number, 7)) for number in range(turns)]
    for info in fresh[: min(turns, 200)]:
        placement.decide(info)

    def timed(call: Callable[[int], object]) -> float:
        started = time.process_time()
        for number in range(turns):
            call(number)
        return (time.process_time() - started) / turns * 1e6

    def place(number: int) -> None:
        decision = placement.decide(fresh[number])
        assert decision.node
        cache.assume(fresh[number], decision.node)

    figures = {
        "a pod is placed": timed(place),
        "a placed pod is seen": timed(lambda n: cache.set_pod(fresh[n], cache.node_of(fresh[n].key).name)),  # type: ignore[union-attr]
        "a pod is deleted": timed(lambda n: cache.remove_pod(fresh[n].key)),
        "a node changes": timed(lambda n: cache.set_node(node(n % count))),
    }
    print(f"{pods:6} pods: " + ", ".join(f"{what} {figure:.0f} us" for what, figure in figures.items()), flush=True)


def apart(work: Callable[..., None], *args: Any) -> None:
    """In a process of its own: memory is counted for each."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=30000)
    parser.add_argument("--templates", type=int, default=100)
    parser.add_argument("--curve", default="", metavar="PODS,...")
    options = parser.parse_args()
    if options.curve:
        for pods in map(int, options.curve.split(",")):
            apart(events, pods)
        return
    for case in ("plain", "zone spread", "host anti-affinity", "own volume", "own device"):
        apart(simulate, options.nodes, options.pods, options.templates, case)
    apart(simulate, options.nodes, options.pods // 10, options.pods // 10, "all different")


if __name__ == "__main__":
    main()

"""Lists: 5,000 pods of about 3 KiB whole and in pages, and short lists of 500 ConfigMaps over 4 connections."""

from __future__ import annotations

import statistics
from itertools import repeat
from typing import Any
from urllib.parse import quote

import load
from crud import configmap
from http1 import Connection
from options import Options
from processes import Processes
from report import Report, percentile
from scope import in_parallel, namespace

TURNS = 7


def pod(number: int) -> dict[str, Any]:
    """A pod that no scheduler binds, with what pods of a Deployment usually have."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p-{number:05}",
            "labels": {"app": "bench", "shard": f"s{number % 10}", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {"bench/config-hash": "0123456789abcdef" * 4},
        },
        "spec": {
            "schedulerName": "bench-none",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"key": "bench", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [
                {
                    "name": "main",
                    "image": "registry.k8s.io/pause:3.10.1",
                    "env": [{"name": f"ENV_{j}", "value": f"value-{j}-{number}"} for j in range(6)],
                    "ports": [{"containerPort": 8080, "name": "http"}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                }
            ],
        },
    }


def run(options: Options, report: Report, processes: Processes) -> None:
    if "list" not in options.only:
        return
    with namespace(options.target, "list", options.keep) as (connection, path):
        _pods(options, report, connection, f"{path}/pods")
        _short(options, report, f"{path}/configmaps")


def _pods(options: Options, report: Report, connection: Connection, path: str) -> None:
    in_parallel(options.target, 8, (("POST", path, pod(number)) for number in range(options.pods)))
    whole = [connection.must("GET", path) for _ in range(TURNS)]
    names = {item["metadata"]["name"] for item in whole[0].json()["items"]}
    report.check("list_full", len(names) == options.pods, f"{len(names)} pods of {options.pods}")
    report.add("list_full", statistics.median(answer.received - answer.sent for answer in whole) * 1000, "ms")
    report.add("list_full_size", len(whole[0].body) / 2**20, "MiB")
    paged = []
    for _ in range(TURNS):
        names, spent, more = set(), 0.0, ""
        while True:
            answer = connection.must("GET", f"{path}?limit=500&continue={quote(more)}")
            spent += answer.received - answer.sent
            page = answer.json()
            names |= {item["metadata"]["name"] for item in page["items"]}
            more = page["metadata"].get("continue", "")
            if not more:
                break
        paged.append(spent)
        report.check("list_paged", len(names) == options.pods, f"{len(names)} pods of {options.pods}")
    report.add("list_paged", statistics.median(paged) * 1000, "ms")
    chosen = [connection.must("GET", f"{path}?labelSelector=shard%3Ds3") for _ in range(TURNS)]
    found = len(chosen[0].json()["items"])
    report.check("list_selector", found == len(range(3, options.pods, 10)), f"{found} pods")
    report.add("list_selector", statistics.median(answer.received - answer.sent for answer in chosen) * 1000, "ms")


def _short(options: Options, report: Report, path: str) -> None:
    in_parallel(
        options.target, 8, (("POST", path, configmap(f"bench-{number:03}", {"k": "x" * 500})) for number in range(500))
    )
    done = load.run(options.target, 4, options.seconds, repeat(options.target.request("GET", path)))
    report.check("list_500_c4", not done.errors, str(done.errors[:1]))
    report.add("list_500_c4_rate", done.rate, "lists/s")
    report.add("list_500_c4_p99", percentile(done.latencies, 99) * 1000, "ms")

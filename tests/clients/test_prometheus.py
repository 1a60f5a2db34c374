"""Prometheus, unmodified, with a service account's token: it discovers what there is and scrapes the API server."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..apiserver.conftest import Server
from . import debian
from .conftest import KUBECTL, Kubectl

Obj = dict[str, Any]
OPTIONS = (
    "--web.listen-address=127.0.0.1:0",
    "--storage.tsdb.retention.time=1h",
    "--web.console.templates=/nonexistent",
)
ROLES = ("node", "pod", "service", "endpoints", "endpointslice", "ingress")
RULES = [
    {"apiGroups": [""], "resources": ["nodes", "services", "endpoints", "pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get", "list", "watch"]},
    {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
]
OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: watched-node, labels: {zone: a}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}, annotations: {prometheus.io/scrape: "true"}}
spec:
  nodeName: watched-node
  containers: [{name: c, image: "nginx:1", ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses: [{ip: 10.1.2.3, nodeName: watched-node, targetRef: {kind: Pod, namespace: watched, name: web-0}}]
  ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- addresses: [10.1.2.3]
  conditions: {ready: true}
  targetRef: {kind: Pod, namespace: watched, name: web-0}
ports: [{name: http, port: 8080, protocol: TCP}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: example.com
    http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"""
STATUSES = {
    "node/watched-node": {
        "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    },
    "pod/web-0": {"phase": "Running", "podIP": "10.1.2.3", "hostIP": "10.1.0.1"},
}
META = "__meta_kubernetes_"
DISCOVERED = {
    "node": {"__address__": "10.1.0.1:10250", "node_name": "watched-node", "node_label_zone": "a"},
    "pod": {
        "__address__": "10.1.2.3:8080",
        "pod_name": "web-0",
        "pod_node_name": "watched-node",
        "pod_phase": "Running",
        "pod_container_port_name": "http",
        "pod_annotation_prometheus_io_scrape": "true",
    },
    "service": {"__address__": "web.watched.svc:80", "service_name": "web", "service_type": "ClusterIP"},
    "endpoints": {"__address__": "10.1.2.3:8080", "endpoint_ready": "true", "pod_name": "web-0", "service_name": "web"},
    "endpointslice": {
        "__address__": "10.1.2.3:8080",
        "endpointslice_name": "web-1",
        "endpointslice_endpoint_conditions_ready": "true",
        "pod_name": "web-0",
    },
    "ingress": {"__address__": "example.com", "ingress_path": "/a", "ingress_scheme": "http"},
}
EXPECTED = (
    *("apiserver_request_total", "apiserver_request_duration_seconds_bucket", "apiserver_storage_objects"),
    *("apiserver_request_sli_duration_seconds_bucket", "apiserver_current_inflight_requests"),
    *("apiserver_longrunning_requests", "apiserver_watch_events_total", "apiserver_response_sizes_bucket"),
    *("apiserver_flowcontrol_current_inqueue_requests", "apiserver_flowcontrol_current_executing_requests"),
    *("apiserver_flowcontrol_dispatched_requests_total", "apiserver_flowcontrol_nominal_limit_seats"),
    *("apiserver_flowcontrol_request_wait_duration_seconds_bucket", "apiserver_watch_events_sizes_bucket"),
    *("apiserver_admission_step_admission_duration_seconds_bucket", "kubernetes_build_info"),
    *("apiserver_admission_controller_admission_duration_seconds_bucket",),
    *("etcd_request_duration_seconds_bucket", "process_cpu_seconds_total", "process_resident_memory_bytes"),
)
"""What dashboards of API servers ask for."""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its HTTP API."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=120) as answer:
            return json.load(answer)["data"]

    def targets(self, role: str) -> list[dict[str, str]]:
        """The labels that were discovered of a role's targets."""
        targets = self.ask("targets", state="dropped")["droppedTargets"]
        return [t["discoveredLabels"] for t in targets if t["discoveredLabels"]["job"] == role]

    def until(self, look: Callable[[], Any], what: str) -> Any:
        """What look finds, as soon as it finds something."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.05)
        raise AssertionError(f"Prometheus did not get {what}")


@pytest.fixture(scope="module")
def objects(server: Server) -> Iterator[Kubectl]:
    """A namespace with one of everything that is discovered, and an account that may see it."""
    kubectl = Kubectl(server, KUBECTL, "watched")
    kubectl("create", "namespace", "watched")
    kubectl("apply", "-f", "-", stdin=OBJECTS)
    for name, status in STATUSES.items():
        kubectl("patch", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    kubectl("create", "service", "clusterip", "early", "--tcp=80")
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "prometheus"}}
    kubectl("apply", "-f", "-", stdin=json.dumps({**role, "rules": RULES}))
    kubectl("create", "serviceaccount", "prometheus")
    binding = ("--clusterrole=prometheus", "--serviceaccount=watched:prometheus")
    kubectl("create", "clusterrolebinding", "prometheus", *binding)
    yield kubectl
    kubectl("delete", "clusterrolebinding/prometheus", "clusterrole/prometheus", "node/watched-node")
    kubectl("delete", "namespace", "watched", "--wait=false")


@pytest.fixture(scope="module")
def prometheus(server: Server, objects: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Debian 13's: that of Debian 12 is built without Kubernetes."""
    try:
        program = debian.unpacked("trixie", ["prometheus"]) / "usr/bin/prometheus"
    except debian.Unavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "token").write_text(objects("create", "token", "prometheus").strip())
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(server, folder)))
    process = subprocess.Popen(
        [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", *OPTIONS],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "ready to receive web requests" not in said:
        line = process.stderr.readline()
        assert line, said[-2000:]
        said += line
    found = re.search(r'msg="Listening on" address=(\S+)', said)
    assert found is not None
    rest = threading.Thread(target=process.stderr.read)
    rest.start()
    yield Prometheus(process, f"http://{found.group(1)}")
    process.terminate()
    assert process.wait(120) == 0
    rest.join()
    process.stderr.close()


def _configuration(server: Server, folder: Path) -> Obj:
    """A job for each role, whose targets are discovered only, and one that scrapes the API server."""
    access = {
        "authorization": {"credentials_file": str(folder / "token")},
        "tls_config": {"ca_file": str(server.authority.certificate)},
    }
    nothing = [{"action": "drop", "source_labels": ["__address__"], "regex": ".+"}]
    discovered = [
        {
            "job_name": role,
            "kubernetes_sd_configs": [{"role": role, "api_server": server.url, **access}],
            "relabel_configs": nothing,
        }
        for role in ROLES
    ]
    address = server.url.removeprefix("https://")
    scraped = {"job_name": "apiserver", "scheme": "https", "static_configs": [{"targets": [address]}], **access}
    return {"global": {"scrape_interval": "500ms"}, "scrape_configs": [*discovered, scraped]}


@pytest.mark.parametrize("role", ROLES)
def test_everything_is_discovered(prometheus: Prometheus, role: str) -> None:
    wanted = {key if key.startswith("__") else META + key: value for key, value in DISCOVERED[role].items()}
    # Other tests' objects are there, too.
    prometheus.until(lambda: any(wanted.items() <= labels.items() for labels in prometheus.targets(role)), str(wanted))


def test_what_comes_and_goes_is_followed(prometheus: Prometheus, objects: Kubectl) -> None:
    def names() -> set[str]:
        return {labels[META + "service_name"] for labels in prometheus.targets("service")}

    prometheus.until(lambda: "early" in names(), "what there is")
    objects("create", "service", "clusterip", "late", "--tcp=80")
    objects("delete", "service", "early")
    prometheus.until(lambda: "late" in names() and "early" not in names(), "what has changed")


def test_the_api_server_has_what_dashboards_ask_for(prometheus: Prometheus) -> None:
    def value(query: str) -> float:
        found = prometheus.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else 0.0

    # A machine that is busy misses a scrape now and then, and nothing is known for that moment.
    prometheus.until(lambda: value('up{job="apiserver"}'), "anything from the API server")
    for name in EXPECTED:
        prometheus.until(lambda name=name: value(f"count({name})"), name)
    quantile = 'histogram_quantile(0.99, sum by (le) (apiserver_request_duration_seconds_bucket{verb="LIST"}))'
    prometheus.until(lambda: 0 < value(quantile) <= 60, quantile)
    for query in (
        'sum(apiserver_request_total{resource="pods",verb="LIST",code="200"})',
        'sum(apiserver_longrunning_requests{resource="pods",verb="WATCH"})',
    ):
        prometheus.until(lambda query=query: value(query) >= 1, query)


def test_without_its_token_nothing_is_shown(prometheus: Prometheus, server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match=r"401|403"):
        urllib.request.urlopen(f"{server.url}/metrics", context=server.tls(), timeout=120)

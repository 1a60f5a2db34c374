"""``/metrics/resource``: CPU and memory of node, pods and containers, as the resource metrics pipeline reads them.

Source: Kubernetes documentation, "Resource Metrics Pipeline"; names and texts are the kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hawser.exposition import family, labels
from hawser.node.stats.model import Group, PodUse, Snapshot

NANO = 1e-9


def render(snapshot: Snapshot) -> Iterator[str]:
    """The lines of the page."""
    node = snapshot.node
    containers = [(_names(pod, use.name), use) for pod in snapshot.pods for use in pod.containers]
    pods = [(_names(pod), pod.group) for pod in snapshot.pods]
    groups = [(names, use.group) for names, use in containers]
    yield from _cpu("container", groups)
    yield from _memory("container", groups)
    name = "container_start_time_seconds"
    yield family(name, "gauge", "Start time of the container since unix epoch in seconds")
    for names, use in containers:
        yield f"{name}{names} {use.container.started_at or use.container.created_at}"
    yield from _swap("container", groups)
    yield from _limits(groups)
    whole = [("", node.group)]
    yield from _cpu("node", whole)
    yield from _memory("node", whole)
    name = "node_swap_usage_bytes"
    yield family(name, "gauge", "Current swap usage of the node in bytes. Reported only on non-windows systems")
    yield f"{name} {node.swap_used} {_stamp(node.group)}"
    yield from _cpu("pod", pods)
    yield from _memory("pod", pods)
    yield from _swap("pod", pods)
    text = "1 if there was an error while getting container metrics, 0 otherwise"
    yield family("resource_scrape_error", "gauge", text)
    yield "resource_scrape_error 0"


def _names(pod: PodUse, container: str = "") -> str:
    first = {"container": container} if container else {}
    return f"{{{labels({**first, 'namespace': pod.namespace, 'pod': pod.name})}}}"


def _cpu(scope: str, groups: Iterable[tuple[str, Group]]) -> Iterator[str]:
    name = f"{scope}_cpu_usage_seconds_total"
    yield family(name, "counter", f"Cumulative cpu time consumed by the {scope} in core-seconds")
    for names, group in groups:
        if group.cpu is not None:
            yield f"{name}{names} {group.cpu.usage * NANO} {_stamp(group)}"


def _memory(scope: str, groups: Iterable[tuple[str, Group]]) -> Iterator[str]:
    name = f"{scope}_memory_working_set_bytes"
    yield family(name, "gauge", f"Current working set of the {scope} in bytes")
    for names, group in groups:
        if group.memory is not None:
            yield f"{name}{names} {group.memory.working_set} {_stamp(group)}"


def _swap(scope: str, groups: Iterable[tuple[str, Group]]) -> Iterator[str]:
    name = f"{scope}_swap_usage_bytes"
    text = f"Current amount of the {scope} swap usage in bytes. Reported only on non-windows systems"
    yield family(name, "gauge", text)
    for names, group in groups:
        if group.memory is not None:
            yield f"{name}{names} {group.memory.swap} {_stamp(group)}"


def _limits(groups: Iterable[tuple[str, Group]]) -> Iterator[str]:
    name = "container_swap_limit_bytes"
    text = "Current amount of the container swap limit in bytes. Reported only on non-windows systems"
    yield family(name, "gauge", text)
    for names, group in groups:
        memory = group.memory
        if memory is not None and memory.swap_limit is not None and memory.limit is not None:
            yield f"{name}{names} {max(0, memory.swap_limit - memory.limit)} {_stamp(group)}"


def _stamp(group: Group) -> int:
    return int(group.at * 1000)

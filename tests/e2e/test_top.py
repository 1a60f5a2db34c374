"""kubectl top with nothing installed."""

from __future__ import annotations

from .conftest import Engine, eventually, pod


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_top_shows_what_nodes_pods_and_containers_use(engine: Engine, namespace: str) -> None:
    busy = pod("busy", "while true; do :; done", container={"resources": {"limits": {"cpu": "300m"}}})
    busy["spec"]["containers"].append({**busy["spec"]["containers"][0], "name": "idle", "command": ["sleep", "1000"]})
    engine.apply(busy, namespace)
    engine.wait_ready("busy", namespace)

    def top() -> dict[str, int]:
        """What each container uses; {} until its use of a time when it was busy is known."""
        shown = _rows(engine.kubectl("top", "pods", "--containers", "-n", namespace, check=False).stdout)
        assert shown[:1] in ([], [["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]])
        used = {row[1]: int(row[2].removesuffix("m")) for row in shown[1:]}
        return used if used.get("main", 0) > 50 else {}

    used = eventually(top, "the pod's use")
    assert used["main"] < 400
    assert used["idle"] < 50
    whole = _rows(engine.kubectl("top", "pods", "-n", namespace, "-l", "app=busy").stdout)
    assert whole[1][0] == "busy"
    nodes = eventually(lambda: _rows(engine.kubectl("top", "nodes", check=False).stdout), "the node's use")
    assert nodes[0][:4] == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)"]
    assert int(nodes[1][1].removesuffix("m")) > 0
    shown = _rows(engine.kubectl("get", "pods.metrics.k8s.io", "-n", namespace).stdout)
    assert shown[0] == ["NAME", "CPU", "MEMORY", "WINDOW"]

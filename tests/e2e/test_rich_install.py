"""The DaemonSet of `hawser rich install`, on the engine as on another cluster: its agent reads the node by exec."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from .conftest import Engine, pod


def test_the_agent_of_the_daemon_set_reads_its_node(engine: Engine, namespace: str) -> None:
    engine.hawser("image", "build-agent", timeout=600)
    config = (engine.data_dir / "containerd/config.toml").read_text()
    address = config.partition("[grpc]")[2].partition('address = "')[2].partition('"')[0]
    printed = engine.hawser("rich", "install", "--print", "--no-restart", "--socket", f"unix://{address}").stdout
    objects = [one for one in yaml.safe_load_all(printed) if one["kind"] != "RuntimeClass"]  # the engine has one
    template = next(one for one in objects if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    # It would prepare the containerd of this machine, which is not this engine's.
    del template["initContainers"]
    if "shared:" not in Path("/proc/self/mountinfo").read_text().splitlines()[0]:
        for mount in template["containers"][0]["volumeMounts"]:
            mount.pop("mountPropagation", None)  # no systemd has made / of this machine shared
    try:
        engine.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
        engine.apply(pod("b", "echo hello > /file; exec sleep 1000000"), namespace)
        engine.kubectl("rollout", "status", "daemonset/hawser-rich", "-n", "hawser-system", "--timeout=90s")
        engine.wait_ready("b", namespace)
        found = json.loads(engine.hawser("rich", "diff", "b", "-n", namespace, "-o", "json").stdout)
        assert [change["path"] for change in found["changes"]] == ["/file"]
        # The same by hand, to be sure who answered.
        container = engine.get("pod", "b", namespace)["status"]["containerStatuses"][0]["containerID"]
        command = ("hawser", "rich", "changes", "diff", "--container", container, "--root", "/host")
        ran = engine.kubectl("exec", "daemonset/hawser-rich", "-n", "hawser-system", "--", *command)
        assert json.loads(ran.stdout) == found
        # Nothing of the node can be written by it.
        touched = engine.kubectl(
            *("exec", "daemonset/hawser-rich", "-n", "hawser-system", "--", "touch", "/host/etc/hawser-was-here"),
            check=False,
        )
        assert "Read-only file system" in touched.stderr
    finally:
        engine.kubectl("delete", "namespace", "hawser-system", "--wait=false", check=False)
        engine.kubectl("delete", "pods", "--all", "-n", "hawser-system", "--grace-period=0", "--force", check=False)
        engine.kubectl("delete", "clusterrole,clusterrolebinding", "hawser-rich", check=False)

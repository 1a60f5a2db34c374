"""The DaemonSet of `hawser rich install`, on the engine as on another cluster: its agent reads the node by exec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hawser.node.agentlayers import FOLDER
from hawser.rich.profiles.merge import PROFILE
from hawser.rich.profiles.server import SOCKET
from hawser.runtime.profile import ask

from .conftest import Engine, Obj, pod


def layers_of_an_agent(engine: Engine, namespace: str, pod: Obj) -> list[Path]:
    """Asks the DaemonSet's agent for a profile with an agent of an image, as hawser-runtime does."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    agent = {"name": "w", "image": "docker.io/library/busybox:1.36", "command": ["sh"], "imagePullPolicy": "Never"}
    profile = {"apiVersion": PROFILE.api_version, "kind": PROFILE.kind, "metadata": {"name": "watching"}}
    engine.apply({**profile, "spec": {"namespaceSelector": selector, "agents": [agent]}}, namespace)
    asked = {"namespace": namespace, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    answer = ask(str(SOCKET), {f"io.kubernetes.cri.sandbox-{key}": value for key, value in asked.items()})
    layers = answer["agents"][0]["layers"]
    assert layers[-1] == str(FOLDER / "skeleton")
    return [Path(path) for path in layers]


@pytest.mark.usefixtures("node_state")
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
        written = {"exec": {"command": ["grep", "hello", "/file"]}, "periodSeconds": 1, "timeoutSeconds": 20}
        script = "echo hello > /file; exec sleep 1000000"
        engine.apply(pod("b", script, container={"readinessProbe": written}), namespace)
        engine.kubectl("rollout", "status", "daemonset/hawser-rich", "-n", "hawser-system", "--timeout=150s")
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
        for path in layers_of_an_agent(engine, namespace, engine.get("pod", "b", namespace)):
            assert path.is_dir(), path
    finally:
        engine.kubectl("delete", "richprofile", "watching", check=False)
        engine.kubectl("delete", "namespace", "hawser-system", "--wait=false", check=False)
        engine.kubectl("delete", "pods", "--all", "-n", "hawser-system", "--grace-period=0", "--force", check=False)
        engine.kubectl("delete", "clusterrole,clusterrolebinding", "hawser-rich", check=False)

"""Bringing rich containers to other clusters: drop-ins for every runtime's configuration, and the objects."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hawser.cli.installing import dropins, node
from hawser.cli.installing.manifests import manifests

DEBIAN = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""
SYSTEMD_CGROUPS = DEBIAN + """\
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
"""  # fmt: skip


def runtimes(text: str, version: int = 2) -> dict[str, Any]:
    plugin = "io.containerd.grpc.v1.cri" if version == 2 else "io.containerd.cri.v1.runtime"
    found: dict[str, Any] = tomllib.loads(text)["plugins"][plugin]["containerd"]["runtimes"]
    return found


@pytest.mark.parametrize("main", ["", DEBIAN, SYSTEMD_CGROUPS])
def test_containerd_1_gets_its_tables_at_the_end_of_its_file(main: str) -> None:
    # An import would replace all that the file says of the CRI plugin.
    files = dropins.containerd_files(main, {})
    assert list(files) == [dropins.CONTAINERD]
    made = runtimes(files[dropins.CONTAINERD])
    assert made["rich"]["options"]["BinaryName"] == "/usr/local/bin/hawser-runtime"
    assert made["rich"]["pod_annotations"] == ["rich.hawser.dev/*"]
    assert made["runc"]["runtime_type"] == "io.containerd.runc.v2"
    assert made["runc"].get("options") == ({"SystemdCgroup": True} if main is SYSTEMD_CGROUPS else None)
    again = files[dropins.CONTAINERD]
    assert dropins.containerd_files(again, {}) == {}
    assert dropins.containerd_files(again.replace("hawser-runtime", "older"), {}) == files
    assert dropins.removed(again) == (main or "version = 2\n")


@pytest.mark.parametrize(
    ("main", "imports"),
    [
        ("version = 3\n", ["/etc/containerd/conf.d/*.toml"]),
        ('version = 3\nimports = ["/etc/x/*.toml"]\n', ["/etc/x/*.toml", "/etc/containerd/conf.d/*.toml"]),
        ("version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n", None),
        ('version = 3\nimports = ["/etc/containerd/*/50-hawser-rich.toml"]\n', None),
    ],
)
def test_containerd_2_gets_a_drop_in_that_is_imported(main: str, imports: list[str] | None) -> None:
    files = dropins.containerd_files(main, {})
    drop_in = files.pop(dropins.CONTAINERD_DROP_IN)
    assert list(runtimes(drop_in, 3)) == ["rich"]
    assert (tomllib.loads(files[dropins.CONTAINERD])["imports"] if files else None) == imports
    assert dropins.containerd_files(files.get(dropins.CONTAINERD, main), {dropins.CONTAINERD_DROP_IN: drop_in}) == {}


@pytest.mark.parametrize(
    ("main", "imported", "why"),
    [
        ("[cgroup]\npath = ''\n", {}, "of version 1"),
        ("version = 9\n", {}, "of version 9"),
        ("version = [\n", {}, "is not TOML"),
        (DEBIAN, {"/etc/containerd/conf.d/a.toml": '[plugins."io.containerd.grpc.v1.cri"]\n'}, "hides what"),
        (dropins.containerd_tables(2).join(("version = 2\n", "")), {}, "a runtime named rich of its own"),
        ('version = 2\nplugins = {"io.containerd.grpc.v1.cri" = {}}\n', {}, "in one line"),
    ],
)
def test_a_configuration_that_can_not_be_extended_is_left_alone(main: str, imported: dict[str, str], why: str) -> None:
    with pytest.raises(dropins.ConfigError, match=why):
        dropins.containerd_files(main, imported)


# crio.conf(5), CRI-O 1.34: the options of a runtime handler, and the annotations that allowed_annotations may name.
CRIO_HANDLER = """
runtime_config_path runtime_path runtime_type runtime_root privileged_without_host_devices allowed_annotations
monitor_path monitor_cgroup monitor_env monitor_exec_cgroup platform_runtime_paths runtime_pull_image
container_min_memory no_sync_log inherit_default_runtime default_annotations stream_websockets exec_cpu_affinity
seccomp_profile container_create_timeout
"""
CRIO_ANNOTATIONS = ("io.kubernetes.cri-o.", "io.containers.trace-syscall", "seccomp-profile.kubernetes.cri-o.io")


def test_crio_gets_a_handler_of_its_own() -> None:
    document = tomllib.loads(dropins.crio_drop_in())
    assert [*document] == ["crio"]
    table = document["crio"]["runtime"]["runtimes"]["rich"]
    assert {*table} <= {*CRIO_HANDLER.split()}
    assert table["runtime_type"] in ("oci", "vm", "pod")
    assert all(table[name].startswith("/") for name in ("runtime_path", "runtime_root"))
    # Any other annotation there, and CRI-O does not start.
    assert all(name.startswith(CRIO_ANNOTATIONS) for name in table.get("allowed_annotations", []))


def test_a_node_is_prepared_once_and_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(node.NodeError, match="no python3"):
        node.prepare(tmp_path)
    for name in ("usr/bin/python3", "usr/sbin/runc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "usr/bin/python3.6").write_text("")
    with pytest.raises(node.NodeError, match=r"newest Python is 3\.6"):
        node.prepare(tmp_path)
    (tmp_path / "usr/bin/python3.12").write_text("")
    with pytest.raises(node.NodeError, match="neither containerd nor CRI-O"):
        node.prepare(tmp_path)
    (tmp_path / "etc/containerd").mkdir(parents=True)
    (tmp_path / "etc/containerd/config.toml").write_text(DEBIAN)
    (tmp_path / "etc/crio").mkdir()
    done = node.prepare(tmp_path)
    assert done.files == ("/usr/local/bin/hawser-runtime", dropins.CONTAINERD, dropins.CRIO_DROP_IN)
    assert done.restart == ("containerd", "crio")
    assert "minimal" in done.notes[0]
    assert node.prepare(tmp_path).files == ()
    ran: list[list[str]] = []
    node.restart(done.restart, lambda command: ran.append(command) or "")
    assert ran == [["systemctl", "restart", "containerd"], ["systemctl", "restart", "crio"]]
    assert set(node.remove(tmp_path).files) == set(done.files)
    assert (tmp_path / "etc/containerd/config.toml").read_text() == DEBIAN


def test_only_what_prepares_a_node_may_write_to_it() -> None:
    objects = {one["kind"]: one for one in manifests("localhost/hawser-rich:1")}
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    agent = pod["containers"][0]
    assert agent["volumeMounts"][0] == {
        "name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer", "readOnly": True,
    }  # fmt: skip
    assert "privileged" not in agent["securityContext"]
    assert agent["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert pod["initContainers"][0]["command"][-1] == "--restart"
    calm = {one["kind"]: one for one in manifests("localhost/hawser-rich:1", restart=False)}
    assert "privileged" not in json.dumps(calm["DaemonSet"])
    verbs = {verb for rule in objects["ClusterRole"]["rules"] for verb in rule["verbs"]}
    assert "*" not in verbs
    assert objects["RuntimeClass"]["handler"] == "rich"
    assert objects["CustomResourceDefinition"]["spec"]["names"]["kind"] == "RichProfile"

"""Kubernetes itself, built of Debian's source package, to measure beside an engine on the same machine.

python -m tests.conformance.peer control-plane           etcd, API server, controllers and scheduler on loopback
python -m tests.conformance.peer kubelet --data-dir DIR  the node "peer" of an engine, with its own containerd

Runs until Ctrl-C, then takes away what it made. Prints the options of bench/run.py that lead there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..clients import debian
from .golang import HERE, Tree
from .suite import ETCD

_MARK = "+k8s:openapi-gen=true"
# Generated where the release is built: what is generated, and of which folders.
_OPENAPI = {
    "pkg/generated/openapi": ("vendor/k8s.io/*", "pkg", "cmd"),
    "staging/src/k8s.io/kube-aggregator/pkg/generated/openapi": (
        "vendor/k8s.io/kube-aggregator",
        "vendor/k8s.io/apimachinery/pkg",
    ),
    "staging/src/k8s.io/apiextensions-apiserver/pkg/generated/openapi": (
        "vendor/k8s.io/apiextensions-apiserver",
        "vendor/k8s.io/api/autoscaling/v1",
        "vendor/k8s.io/apimachinery/pkg",
    ),
}
_TOKEN = "peer"
_NODE = "peer"
_RUN = Path("/run/hawser-peer")
_UNLIMITED = ("--kube-api-qps=5000", "--kube-api-burst=5000")


def build(*names: str) -> Path:
    """The folder with programs of Kubernetes, built when they are not there. debian.Unavailable, CalledProcessError."""
    place = debian.CACHE / "conformance"
    missing = [name for name in names if not (place / name).exists()]
    if missing:
        tree = Tree(place)
        if missing != ["kubelet"]:
            _generate(tree, place)
        for name in missing:
            tree.build(name, f"cmd/{name}")
    return place


def _generate(tree: Tree, place: Path) -> None:
    tree.build("openapi-gen", "vendor/k8s.io/kube-openapi/cmd/openapi-gen")
    for package, folders in _OPENAPI.items():
        listed = sorted(place for folder in folders for place in tree.tree.glob(folder))
        found = subprocess.run(
            # What is in vendor/k8s.io are links, which are followed where they are named.
            ["grep", "-rl", "--include=*.go", _MARK, *(f"{f.relative_to(tree.tree)}/" for f in listed if f.is_dir())],
            cwd=tree.tree, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        inputs = sorted({f"{HERE}/{Path(name).parent}" for name in found if "zz_generated" not in name})
        header = "hack/boilerplate/boilerplate.generatego.txt"
        words = ["-i", ",".join(inputs), "-p", f"{HERE}/{package}", "-O", "zz_generated.openapi", "-h", header]
        tree.run(place / "openapi-gen", *words, "-r", "/dev/null")


@contextmanager
def _running(folder: Path, name: str, *command: str | Path) -> Iterator[int]:
    """A process that is stopped in the end; its output goes to a file of its name."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, cwd=folder)
    try:
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _wait(folder: Path, url: str, pids: Iterable[int]) -> None:
    """Until the API server is ready. Raises RuntimeError when a process ends before, or it takes too long."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {_TOKEN}"})
    for _ in range(120):
        time.sleep(0.5)
        if any(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for pid in pids):
            break
        with suppress(OSError), urllib.request.urlopen(request, context=context, timeout=5):
            return
    logs = ("\n".join(log.read_text(errors="replace").splitlines()[-2:]) for log in sorted(folder.glob("*.log")))
    raise RuntimeError("the control plane does not come up:\n" + "\n".join(logs))


def control_plane(folder: Path, port: int, processes: ExitStack) -> str:
    """Starts the processes; the options of bench/run.py."""
    place = build("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    etcd = debian.unpacked(*ETCD) / "usr/bin/etcd"
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
    server, store = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
    cluster = {"server": server, "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "peer",
        "clusters": [{"name": "peer", "cluster": cluster}],
        "users": [{"name": "peer", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "peer", "context": {"cluster": "peer", "user": "peer"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))

    def start(name: str, *command: str | Path) -> int:
        return processes.enter_context(_running(folder, name, *command))

    urls = [
        f"--listen-client-urls={store}",
        f"--advertise-client-urls={store}",
        "--listen-peer-urls=http://127.0.0.1:0",
    ]
    pids = {"etcd": start("etcd", etcd, f"--data-dir={folder}/etcd", *urls)}
    pids["api"] = start(
        "kube-apiserver",
        place / "kube-apiserver",
        *(f"--etcd-servers={store}", f"--cert-dir={folder}/certs", f"--secure-port={port}", "--bind-address=127.0.0.1"),
        *("--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC", "--service-account-issuer=https://peer"),
        *("--service-account-signing-key-file=sa.key", "--service-account-key-file=sa.key", "--allow-privileged"),
        *("--max-requests-inflight=4000", "--max-mutating-requests-inflight=2000", "--advertise-address=192.0.2.2"),
        "--service-cluster-ip-range=10.96.0.0/20",
    )
    client = ("--kubeconfig=kubeconfig", *_UNLIMITED, "--leader-elect=false", "--port=0")
    manager, keys = "kube-controller-manager", "--service-account-private-key-file=sa.key"
    pids["controllers"] = start(manager, place / manager, *client, keys, f"--secure-port={port + 2}")
    pids["scheduler"] = start("kube-scheduler", place / "kube-scheduler", *client, f"--secure-port={port + 3}")
    _wait(folder, f"{server}/readyz", pids.values())
    listed = ",".join(f"{name}={pid}" for name, pid in pids.items())
    return f"--server {server} --token {_TOKEN} --insecure --pids {listed}"


def kubelet(folder: Path, engine: Path, processes: ExitStack) -> str:
    """Starts a containerd as the engine's, and a kubelet that joins the engine; the options of bench/run.py."""
    place = build("kubelet")
    plugins = debian.unpacked("bookworm", ["containernetworking-plugins"]) / "usr/lib/cni"
    socket, networks = _RUN / "containerd.sock", folder / "cni"
    networks.mkdir()
    _RUN.mkdir(mode=0o711)
    processes.callback(_sweep, folder)
    text = (engine / "containerd/config.toml").read_text()
    for key, value in {
        "^root": folder / "root",
        "^state": _RUN / "state",
        "^  address": socket,
        "bin_dir": plugins,
        "conf_dir": networks,
        "Root": _RUN / "runc",
    }.items():
        text = re.sub(rf"({key}) = .*", rf'\1 = "{value}"', text, flags=re.MULTILINE)
    (folder / "config.toml").write_text(text)
    ipam = {"type": "host-local", "dataDir": str(_RUN / "ipam"), "ranges": [[{"subnet": "10.213.0.0/16"}]]}
    routes = {**ipam, "routes": [{"dst": "0.0.0.0/0"}]}
    network = {"cniVersion": "0.4.0", "name": "peer", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": routes}]}
    (networks / "10-peer.conflist").write_text(json.dumps(network))
    runtime = processes.enter_context(_running(folder, "containerd", "containerd", "--config", folder / "config.toml"))
    while not socket.exists():
        time.sleep(0.1)
    for image in (engine / "images").glob("*.tar"):
        words = ["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", image]
        subprocess.run(words, check=True, capture_output=True)
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failSwapOn": False,
        "port": 10360,
        "healthzPort": 10361,
        "readOnlyPort": 0,
        "maxPods": 250,
        "kubeAPIQPS": 5000,
        "kubeAPIBurst": 5000,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
    }
    (folder / "kubelet.yaml").write_text(json.dumps(config))
    flags = [f"--config={folder}/kubelet.yaml", f"--kubeconfig={engine}/kubeconfig/admin.yaml"]
    flags += [f"--root-dir={folder}/kubelet", f"--hostname-override={_NODE}", "--container-runtime=remote"]
    flags += [f"--container-runtime-endpoint=unix://{socket}", "--pod-infra-container-image=hawser.dev/pause:1"]
    agent = processes.enter_context(_running(folder, "kubelet", place / "kubelet", *flags))
    pids = f"kubelet={agent},containerd={runtime}"
    return f"--kubeconfig {engine}/kubeconfig/admin.yaml --only pod --node {_NODE} --pids {pids}"


def _sweep(folder: Path) -> None:
    """Ends what the kubelet's containerd left, and unmounts it."""
    for shim in _RUN.glob("state/io.containerd.runtime.v2.task/k8s.io/*/shim.pid"):
        pid = int(shim.read_text())
        groups = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for process in (*groups, pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    for _ in range(3):
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for point in reversed([p for p in mounted if p.startswith((f"{_RUN}/", f"{folder}/"))]):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    for group in sorted(Path("/sys/fs/cgroup").glob("*/kubepods/**/"), reverse=True):
        with suppress(OSError):
            group.rmdir()
    shutil.rmtree(_RUN, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.peer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("control-plane", "kubelet"))
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/hawser"), help="of the engine")
    parser.add_argument(
        "--port", type=int, default=16443, help="of the API server; the next three are others' (%(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/hawser-peer"), help="its own (%(default)s)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given.folder.mkdir(mode=0o711)
    try:
        with ExitStack() as processes:
            if given.what == "kubelet":
                options = kubelet(given.folder, given.data_dir.resolve(), processes)
            else:
                options = control_plane(given.folder, given.port, processes)
            print(f"bench/run.py {options}", flush=True)
            with suppress(KeyboardInterrupt):
                signal.pause()
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

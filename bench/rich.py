"""What rich containers cost: their start beside a plain pod's, hawser-runtime's own share, memory, and many at once.

    python bench/rich.py --data-dir /var/lib/hawser --runs 5 --density 100

Needs root and a running engine. The application prints the time when it starts, so nothing but its start is measured;
both kinds of pod run the same image. What systemd itself needs until it starts the application is what systemd says.
All pods are removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hawser.cli.images.description import load
from hawser.cli.images.rich import build_base
from hawser.runtime.install import install
from report import Report

ROOT = Path(__file__).parents[1]
DESCRIPTION = ROOT / "examples/legacy-app/image.yaml"
IMAGE = "localhost/legacy-app:1"
NAMESPACE = "bench-rich"
_SECONDS = 300.0


class Cluster:
    """kubectl on the engine."""

    def __init__(self, data_dir: Path) -> None:
        self._base = [ROOT / ".venv/bin/kubectl", "--kubeconfig", data_dir / "kubeconfig/admin.yaml", "-n", NAMESPACE]

    def __call__(self, *words: str, given: str = "", check: bool = True) -> str:
        done = subprocess.run([*self._base, *words], input=given, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def create(self, *pods: dict[str, Any]) -> None:
        self("create", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))

    def inside(self, name: str, script: str) -> str:
        return self("exec", name, "--", "sh", "-c", script)


def until(check: Callable[[], str]) -> str:
    """What check returns, once that is anything."""
    end = time.monotonic() + _SECONDS
    while not (result := check()):
        if time.monotonic() > end:
            raise RuntimeError("it did not come")
        time.sleep(0.2)
    return result


def pod(name: str, rich: bool) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "date +%s.%N; exec sleep 1000000"],
    }
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0}
    if rich:
        spec["runtimeClassName"] = "rich"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def starts(cluster: Cluster, report: Report, runs: int) -> None:
    """Creation to the application's first instruction, of plain and rich pods in turns."""
    found: dict[str, list[float]] = {"plain": [], "rich": [], "systemd": []}
    for number in range(runs + 1):
        for kind in ("plain", "rich"):
            name = f"{kind}-{number}"
            began = time.time()
            cluster.create(pod(name, kind == "rich"))
            seconds = float(until(lambda name=name: cluster("logs", name, check=False))) - began  # type: ignore[misc]
            if number:  # the first one warms up
                found[kind].append(seconds)
            if kind == "rich" and number:
                shown = cluster.inside(
                    name,
                    "systemctl show --value -p UserspaceTimestampMonotonic;"
                    "systemctl show --value -p ExecMainStartTimestampMonotonic hawser-app",
                ).split()
                found["systemd"].append((int(shown[1]) - int(shown[0])) / 1e6)
            if kind == "rich" and number == runs:
                _memory(cluster, report, name)
            cluster("delete", "pod", name, "--wait=true")
    plain, rich, own = (statistics.median(found[key]) for key in ("plain", "rich", "systemd"))
    report.add("plain_application_running", plain, "s")
    report.add("rich_application_running", rich, "s")
    report.add("systemds_own_start", own, "s")
    report.add("rich_without_systemds_own", rich - own, "s")
    report.add("rich_without_systemds_own_to_plain", (rich - own) / plain, "x")


def _memory(cluster: Cluster, report: Report, name: str) -> None:
    each = "for pid in $(pgrep -x $name); do sed -n 's/^Rss: *//p;s/^Pss: *//p' /proc/$pid/smaps_rollup; done"
    script = f"for name in systemd systemd-journal; do {each}; done"
    figures = [int(line.split()[0]) / 1024 for line in cluster.inside(name, script).splitlines()]
    report.add("systemd_and_journald_rss", sum(figures[0::2]), "MiB")
    report.add("systemd_and_journald_pss", sum(figures[1::2]), "MiB")


def wrapper(report: Report, runs: int) -> None:
    """hawser-runtime's part of a container's start, with a runtime behind it that does nothing."""
    spec = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "capabilities": {"bounding": []}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        "annotations": {"rich.hawser.dev/init": "systemd"},
    }
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        bundle = Path(folder)
        (bundle / "rootfs").mkdir()
        subprocess.run(["tar", "-C", bundle / "rootfs", "-xf", build_base(load(DESCRIPTION))], check=True)
        runtime = install(bundle / "hawser-runtime")
        env = {
            "PATH": os.environ["PATH"],
            "HAWSER_OCI_RUNTIME": "/bin/true",
            "HAWSER_RUNTIME_STATE": str(bundle / "notes"),
        }
        took: dict[str, list[float]] = {"create": [], "delete": []}
        cpu: dict[str, list[float]] = {"create": [], "delete": []}
        for number in range(runs * 4):
            (bundle / "config.json").write_text(json.dumps(spec))
            for verb in took:
                began, used = time.perf_counter(), _children()
                words = ["--bundle", folder, f"bench-{number}"] if verb == "create" else [f"bench-{number}"]
                subprocess.run([runtime, verb, *words], env=env, check=True)
                took[verb].append(time.perf_counter() - began)
                cpu[verb].append(_children() - used)
    for verb in took:
        report.add(f"wrapper_{verb}", statistics.median(took[verb]) * 1000, "ms")
        report.add(f"wrapper_{verb}_cpu", statistics.median(cpu[verb]) * 1000, "ms")


def _children() -> float:
    """Seconds of CPU that children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def density(cluster: Cluster, report: Report, count: int, seconds: float) -> None:
    """Many rich pods at once: how long until the last application runs, and what they take when nothing happens."""
    began = time.time()
    cluster.create(*(pod(f"many-{number}", rich=True) for number in range(count)))
    names = [f"many-{number}" for number in range(count)]
    last = max(float(until(lambda name=name: cluster("logs", name, check=False))) for name in names)  # type: ignore[misc]
    report.add(f"rich_{count}_running", last - began, "s")
    time.sleep(20)  # timers of the boot
    uids = cluster("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").split()
    groups = [group for uid in uids for group in _groups(uid)]
    before, when = sum(map(_cpu, groups)), time.monotonic()
    time.sleep(seconds)
    used = (sum(map(_cpu, groups)) - before) / (time.monotonic() - when)
    report.add(f"rich_{count}_idle_cpu", used * 100 / (os.cpu_count() or 1), "% of the machine")
    report.add(f"rich_{count}_memory", sum(map(_used, uids)) / len(uids) / 2**20, "MiB each")


def _groups(uid: str) -> list[Path]:
    found = [*Path("/sys/fs/cgroup").glob(f"cpuacct/hawser*/**/pod{uid}")]
    found += Path("/sys/fs/cgroup").glob(f"cpu,cpuacct/hawser*/**/pod{uid}") if not found else []
    return found or [*Path("/sys/fs/cgroup").glob(f"hawser*/**/pod{uid}")]


def _cpu(group: Path) -> float:
    """Seconds of CPU that a control group has used, of either version."""
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6


def _used(uid: str) -> int:
    """Bytes that a pod's processes take, without what files of theirs are cached."""
    for group in Path("/sys/fs/cgroup").glob(f"memory/hawser*/**/pod{uid}"):
        rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(rows["total_rss"])
    for group in Path("/sys/fs/cgroup").glob(f"hawser*/**/pod{uid}"):
        rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(rows["anon"])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/hawser"), help="of the engine")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--density", type=int, default=0, help="so many rich pods at once; 0 leaves that out")
    parser.add_argument("--only-wrapper", action="store_true", help="hawser-runtime's own share alone; needs no engine")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the many are watched")
    given = parser.parse_args()
    report = Report()
    print(f"load {os.getloadavg()[0]:.1f}")
    wrapper(report, given.runs)
    if given.only_wrapper:
        return 0
    cluster = Cluster(given.data_dir)
    subprocess.run([ROOT / "hawser", "image", "build-rich", DESCRIPTION, "--data-dir", given.data_dir], check=True)
    cluster("create", "namespace", NAMESPACE)
    try:
        starts(cluster, report, given.runs)
        if given.density:
            density(cluster, report, given.density, given.seconds)
    finally:
        cluster("delete", "namespace", NAMESPACE, "--wait=true", check=False)
    print(f"load {os.getloadavg()[0]:.1f}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What rich containers cost: their start beside a plain pod's, hawser-runtime's own share, memory, and many at once.

    python bench/richpods.py --data-dir /var/lib/hawser --runs 5 --density 100

Needs root and a running engine. The application prints the time when it starts, so nothing but its start is measured;
both kinds of pod run the same image. What systemd itself needs until it starts the application is what systemd says.
All pods are removed again.
"""

from __future__ import annotations

import argparse
import contextlib
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
from processes import Processes
from report import Report
from scope import shell_pod

ROOT = Path(__file__).parents[1]
DESCRIPTION = ROOT / "examples/legacy-app/image.yaml"
IMAGE = "localhost/legacy-app:1"
NAMESPACE = "bench-rich"
_SECONDS = 600.0
_SETTLED = 60.0  # until the timers of the boots have passed


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
    made = shell_pod(name, IMAGE, "date +%s.%N; exec sleep 1000000", imagePullPolicy="Never")
    made["spec"]["terminationGracePeriodSeconds"] = 0
    if rich:
        made["spec"]["runtimeClassName"] = "rich"
    return made


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
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "capabilities": {"bounding": []}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        "annotations": {"rich.hawser.dev/init": "systemd"},
    }
    measured: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as rootfs, tempfile.TemporaryDirectory(dir="/run") as folder:
        subprocess.run(["tar", "-C", rootfs, "-xf", build_base(load(DESCRIPTION))], check=True)
        spec["root"] = {"path": rootfs}
        home = Path(folder)
        runtime = str(install(home / "hawser-runtime"))
        env = {
            "PATH": os.environ["PATH"],
            "HAWSER_OCI_RUNTIME": "/bin/true",
            "HAWSER_RUNTIME_STATE": str(home / "notes"),
        }
        for number in range(runs * 4):
            bundle = home / f"bundle-{number}"
            bundle.mkdir()
            (bundle / "config.json").write_text(json.dumps(spec))
            words = {"create": ["--bundle", str(bundle)], "start": [], "kill": [], "delete": []}
            for verb, flags in words.items():
                measured.setdefault(f"wrapper_{verb}", []).append(
                    _timed([runtime, verb, *flags, bundle.name, *(["15"] if verb == "kill" else [])], env)
                )
            measured.setdefault("bare_python", []).append(_timed(["/usr/bin/python3", "-I", "-S", "-c", ""], env))
    for name, pairs in measured.items():
        for kind, values in (("", [wall for wall, _ in pairs]), ("_cpu", [cpu for _, cpu in pairs])):
            report.add(name + kind, statistics.median(values) * 1000, "ms")
            report.add(f"{name}{kind}_least", min(values) * 1000, "ms")


def _timed(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Seconds of a command, and of CPU in it."""
    began, used = time.perf_counter(), _children()
    subprocess.run(words, env=env, check=True)
    return time.perf_counter() - began, _children() - used


def _children() -> float:
    """Seconds of CPU that children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def density(cluster: Cluster, report: Report, data_dir: Path, count: int, seconds: float) -> None:
    """Many rich pods at once: how long until the last application runs, and what they take when nothing happens."""
    quiet = _taken([], data_dir, seconds)
    began = time.time()
    cluster.create(*(pod(f"many-{number}", rich=True) for number in range(count)))
    names = [f"many-{number}" for number in range(count)]
    last = max(float(until(lambda name=name: cluster("logs", name, check=False))) for name in names)  # type: ignore[misc]
    report.add(f"rich_{count}_running", last - began, "s")
    time.sleep(_SETTLED)
    uids = cluster("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").split()
    taken = _taken([group for uid in uids for group in _groups(uid)], data_dir, seconds)
    for name, used in taken.items():
        report.add(f"rich_{count}_idle_cpu_{name}", used * 100, "% of a core")
        report.add(f"rich_{count}_idle_cpu_{name}_before", quiet.get(name, 0.0) * 100, "% of a core")
    report.add(f"rich_{count}_idle_cpu", sum(taken.values()) * 100 / (os.cpu_count() or 1), "% of the machine")
    report.add(f"rich_{count}_memory", sum(map(_used, uids)) / len(uids) / 2**20, "MiB each")
    report.add(
        f"rich_{count}_engine_memory", Processes([f"{pid}={pid}" for pid in _engine(data_dir)]).pss() / 2**20, "MiB"
    )


def _taken(groups: list[Path], data_dir: Path, seconds: float) -> dict[str, float]:
    """Cores that the pods' control groups and the engine's processes use, watched for some seconds, by name."""
    pods, before, when = sum(map(_cpu, groups)), _nanoseconds(data_dir), time.monotonic()
    time.sleep(seconds)
    found = {"pods": sum(map(_cpu, groups)) - pods}
    for pid, (name, used) in _nanoseconds(data_dir).items():
        found[name] = found.get(name, 0.0) + (used - before.get(pid, (name, 0))[1]) / 1e9
    passed = time.monotonic() - when
    return {name: used / passed for name, used in found.items()}


def _engine(data_dir: Path) -> dict[int, str]:
    """The engine's processes by what they are: the programs that are told its data or its run directory."""
    words: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
    runs = [w[w.index("--run-dir") + 1] for w in words.values() if "--run-dir" in w and str(data_dir) in " ".join(w)]
    places = tuple(f"{place}/" for place in [data_dir, *runs])
    return {
        pid: (w[2] if w[1:2] == ["-m"] else Path(w[0]).name).replace("hawser.", "")
        for pid, w in words.items()
        if any(word.startswith(places) or word == str(data_dir) for word in w) and w[0].startswith("/")
    }


def _nanoseconds(data_dir: Path) -> dict[int, tuple[str, int]]:
    """CPU time of the engine's processes so far; finer than ticks, of which an idle program takes less than one."""
    found = {}
    for pid, name in _engine(data_dir).items():
        with contextlib.suppress(OSError):
            threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
            found[pid] = (name, sum(int(thread.read_text().split()[0]) for thread in threads))
    return found


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
    parser.add_argument("--only-density", action="store_true", help="the many alone")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the many are watched")
    given = parser.parse_args()
    report = Report()
    print(f"load {os.getloadavg()[0]:.1f}")
    if not given.only_density:
        wrapper(report, given.runs)
    if given.only_wrapper:
        return 0
    cluster = Cluster(given.data_dir)
    subprocess.run([ROOT / "hawser", "image", "build-rich", DESCRIPTION, "--data-dir", given.data_dir], check=True)
    cluster("create", "namespace", NAMESPACE)
    try:
        if not given.only_density:
            starts(cluster, report, given.runs)
        if given.density:
            density(cluster, report, given.data_dir, given.density, given.seconds)
    finally:
        cluster("delete", "namespace", NAMESPACE, "--wait=true", check=False)
    print(f"load {os.getloadavg()[0]:.1f}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

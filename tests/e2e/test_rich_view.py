"""What a rich container sees of processors, memory, load and time is its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawser.cli.engine import settings

from .conftest import Engine, Obj, eventually, pod

IMAGE = "localhost/legacy-app:1"
NAMESPACE = "rich-view"
LIMITS = {"limits": {"cpu": "1", "memory": "300Mi"}, "requests": {"cpu": "10m", "memory": "100Mi"}}
JVM, LIBRARIES = Path("/usr/lib/jvm"), f"/usr/lib/{os.uname().machine}-linux-gnu"
JAVA = next((str(path) for path in JVM.glob("*/bin/java") if path.with_name("javac").exists()), "")
# How many of the wall clock's seconds pass in one of the monotonic clock's.
# Both are read until they are of the same moment: whoever reads them may have to wait for a processor in between.
PACE = """import time
def now():
    while True:
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < 0.0005:
            return wall, before
first = now()
time.sleep(1)
last = now()
print(round((last[0] - first[0]) / (last[1] - first[1]), 2), flush=True)
time.sleep(1000)"""
STILL = ["sh", "-c", "date; sleep 1; date; exec sleep 1000"]
BUSY = ["sh", "-c", "while :; do :; done"]
CLOCK = ["sh", "-c", "date +%s; python3 -c 'import time; print(int(time.time()))'; exec sleep 1000"]


def rich(name: str, init: str, **spec: Obj) -> Obj:
    annotations = {f"rich.hawser.dev/{key}": value for key, value in {"init": init, **spec.pop("rich", {})}.items()}
    container = {"image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "1000"], "resources": LIMITS}
    manifest = pod(name, runtimeClassName="rich", terminationGracePeriodSeconds=0, **spec)
    manifest["metadata"]["annotations"] = annotations
    manifest["spec"]["containers"][0] |= {**container, **spec.pop("container", {})}
    return manifest


@pytest.fixture(scope="module")
def pods(engine: Engine, image: str) -> Iterator[Engine]:
    """An engine with all the pods, started side by side."""
    engine.kubectl("create", "namespace", NAMESPACE)
    java: Obj = {}
    if JAVA:
        # Where the package has its configuration, and the libraries that the image may lack.
        places = {str(JVM): str(JVM), LIBRARIES: f"/host{LIBRARIES}"}
        conf = str((Path(JAVA).parents[1] / "conf/security/java.security").resolve().parents[1])
        places[conf] = conf
        java["container"] = {"volumeMounts": [{"name": f"v{n}", "mountPath": p} for n, p in enumerate(places.values())]}
        java["volumes"] = [{"name": f"v{n}", "hostPath": {"path": path}} for n, path in enumerate(places)]
    future = {"rich": {"time": "+400d"}, "container": {"command": CLOCK}}
    manifests = [
        rich("systemd", "systemd"),
        rich("minimal", "minimal", **java),
        rich("host", "minimal", rich={"view": "host"}),
        rich("future-systemd", "systemd", **future),
        rich("future-minimal", "minimal", **future),
        rich("still", "systemd", rich={"time": "2027-01-01 00:00:00"}, container={"command": STILL}),
        rich("twice", "systemd", rich={"time": "x2"}, container={"command": ["python3", "-c", PACE]}),
        rich("busy", "minimal", container={"command": BUSY, "resources": {"limits": {"cpu": "100m"}}}),
    ]
    for manifest in manifests:
        engine.apply(manifest, NAMESPACE)
    try:
        for manifest in manifests:
            engine.wait_ready(manifest["metadata"]["name"], NAMESPACE)
        yield engine
    finally:
        engine.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def inside(engine: Engine, name: str, script: str) -> list[str]:
    return engine.kubectl("exec", name, "-n", NAMESPACE, "--", "sh", "-c", script, check=False).stdout.splitlines()


def processors(engine: Engine, name: str) -> set[str]:
    """By all ways that programs have."""
    python = "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)), sep=os.linesep)"
    ways = "nproc; nproc --all; getconf _NPROCESSORS_ONLN; getconf _NPROCESSORS_CONF; grep -c ^processor /proc/cpuinfo"
    files = "grep -c '^cpu[0-9]' /proc/stat; for f in online present; do set -- $(tr - ' ' </sys/devices/system/cpu/$f)"
    last = 'for last; do :; done; echo "$((last - $1 + 1))"; done'
    lines = inside(engine, name, f'{ways}; python3 -c "{python}"; {files}; {last}')
    return set(lines) if len(lines) == 10 else {f"{len(lines)} answers"}  # by a kubelet that may be away


def memory(engine: Engine, name: str) -> list[str]:
    """MiB by free(1) and by sysconf(3)."""
    pages = "echo $(($(getconf _PHYS_PAGES) * $(getconf PAGE_SIZE) / 1048576))"
    return inside(engine, name, f"free -m | awk '/^Mem/ {{ print $2 }}'; {pages}")


@pytest.mark.parametrize("name", ["systemd", "minimal"])
def test_processors_memory_and_load_are_the_containers(pods: Engine, name: str) -> None:
    # Where lxcfs needs long to start, its files come a moment later.
    eventually(lambda: processors(pods, name) == {"1"}, "the processors")
    eventually(lambda: memory(pods, name) == ["300", "300"], "the memory")
    [since] = inside(pods, name, "cut -d. -f1 /proc/uptime")
    assert int(since) < 3600
    assert "load average" in inside(pods, name, "uptime")[0]
    assert inside(pods, name, "tail -n +2 /proc/swaps") == []


@pytest.mark.skipif(not JAVA, reason="needs a JDK below /usr/lib/jvm")
@pytest.mark.parametrize("support", ["+", "-"])
def test_java_agrees_with_and_without_its_own_container_support(pods: Engine, support: str) -> None:
    program = "class A { public static void main(String[] a) { "
    program += "System.out.println(Runtime.getRuntime().availableProcessors()); } }"
    java = f"LD_LIBRARY_PATH=/host{LIBRARIES} {JAVA} -Xint -XX:{support}UseContainerSupport"
    assert inside(pods, "minimal", f"echo '{program}' >/tmp/A.java; {java} /tmp/A.java") == ["1"]


def test_the_hosts_view_is_an_annotation_away(pods: Engine) -> None:
    assert processors(pods, "host") - {"1"} == {str(os.cpu_count())} - {"1"}
    total = Path("/proc/meminfo").read_text().split()[1]
    assert inside(pods, "host", "awk '/^MemTotal/ { print $2 }' /proc/meminfo") == [total]


def test_a_resize_shows_without_a_restart(pods: Engine) -> None:
    before = pods.get("pod", "systemd", NAMESPACE)["status"]["containerStatuses"][0]["containerID"]
    larger = '{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"2","memory":"400Mi"}}}]}}'
    pods.kubectl("patch", "pod", "systemd", "-n", NAMESPACE, "--subresource", "resize", "-p", larger)
    eventually(lambda: memory(pods, "systemd") == ["400", "400"], "the memory")
    cpus = str(min(2, os.cpu_count() or 1))
    eventually(lambda: processors(pods, "systemd") == {cpus}, "the processors")
    status = pods.get("pod", "systemd", NAMESPACE)["status"]["containerStatuses"][0]
    assert (status["containerID"], status["restartCount"]) == (before, 0)


def test_killed_lxcfs_and_agent_come_back_and_containers_go_on(pods: Engine) -> None:
    engine = settings.load(pods.data_dir)
    assert engine is not None

    def lxcfs() -> int:
        try:
            return int((engine.run_dir / "view" / "lxcfs.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    first = eventually(lxcfs, "lxcfs")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: memory(pods, "minimal") == ["300", "300"], "the view")
    second = eventually(lambda: lxcfs() not in (0, first) and lxcfs(), "another lxcfs")
    [line] = [row for row in pods.hawser("status").stdout.splitlines() if row.split()[:1] == ["agent"]]
    agent = next(int(word) for word in line.split() if word.isdigit())
    os.kill(agent, signal.SIGKILL)
    assert memory(pods, "minimal") in (["300", "300"], [])  # by a kubelet that may be away
    eventually(lambda: memory(pods, "minimal") == ["300", "300"], "the agent")
    assert lxcfs() == second
    pods.hawser("restart", timeout=300)
    eventually(lambda: memory(pods, "minimal") == ["300", "300"], "the engine")
    assert lxcfs() == second
    for name in ("systemd", "minimal"):
        assert pods.get("pod", name, NAMESPACE)["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.parametrize("name", ["future-systemd", "future-minimal"])
def test_only_the_application_has_another_time(pods: Engine, name: str) -> None:
    def told() -> list[str]:
        return pods.kubectl("logs", name, "-n", NAMESPACE).stdout.split()

    seconds = [int(word) for word in eventually(lambda: len(told()) == 2 and told(), "the application's time")]
    [now] = inside(pods, name, "date +%s")
    for shown in seconds:
        assert 399 * 86400 < shown - int(now) <= 400 * 86400
    faked = "for p in /proc/[0-9]*; do grep -q faketime $p/maps && cat $p/comm; done"
    # Python has said its line, and may be ending still.
    eventually(lambda: inside(pods, name, faked) == ["sleep"], "the only one with another time")


@pytest.mark.parametrize(("name", "lines"), [("still", ["Fri Jan  1 00:00:00 UTC 2027"] * 2), ("twice", ["2.0"])])
def test_a_time_may_stand_still_or_run_faster(pods: Engine, name: str, lines: list[str]) -> None:
    def told() -> list[str]:
        return pods.kubectl("logs", name, "-n", NAMESPACE).stdout.splitlines()

    assert eventually(lambda: len(told()) == len(lines) and told(), "the application's time") == lines


def test_the_load_is_that_of_the_containers_own_processes(pods: Engine) -> None:
    def load(name: str) -> float:
        lines = inside(pods, name, "uptime | sed 's/.*load average: //; s/,.*//'; cut -d' ' -f1 /proc/loadavg")
        return min(map(float, lines), default=0.0)  # by a kubelet that may be away

    # Its one process would always run, if it might; nobody else's is ready to.
    eventually(lambda: load("busy") > 0.1 and load("still") < load("busy") < 1.2, "the load")


def test_another_time_that_cannot_work_is_refused_with_the_reason(engine: Engine, namespace: str) -> None:
    static = rich("static", "minimal", rich={"time": "x2"}, container={"image": "busybox:1.36"})
    wrong = rich("wrong", "minimal", rich={"time": "tomorrow"}, container={"image": "busybox:1.36"})
    for manifest in (static, wrong):
        engine.apply(manifest, namespace)
    assert "/bin/sleep is statically linked" in engine.wait_event(namespace, "static", "Failed")
    assert '"tomorrow" is not a time such as +3d' in engine.wait_event(namespace, "wrong", "Failed")

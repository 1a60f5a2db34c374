"""What has to work of rich containers on pure cgroup v2: units' limits, out of memory, what a hostile tenant tries."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from machine import PIDS, ROOT, Obj, Refuted, eventually, inside, kubectl, rich, run, same


def the_demo_boots_systemd_in_a_container() -> None:
    # To unpack a large image takes an emulated machine minutes; what was unpacked stays.
    for _ in range(3):
        if not (done := run("./hawser", "demo", check=False)).returncode:
            break
    text = done.stdout
    same("pid 1", inside("deploy/legacy-app", "cat /proc/1/comm"), "systemd")
    same("systemd", inside("deploy/legacy-app", "systemctl is-system-running --wait"), "running")
    same("address is told", get_demo()["status"]["podIP"] in text, True)
    same(
        "units", inside("deploy/legacy-app", "systemctl is-active hawser-app ssh cron rsyslog").split(), ["active"] * 4
    )


def get_demo() -> Obj:
    pods: list[Obj] = json.loads(kubectl("get", "pods", "-l", "app=legacy-app", "-o", "json"))["items"]
    return pods[0]


def a_rich_container_owns_its_subtree_and_no_more() -> None:
    app = "deploy/legacy-app"
    same("pid 1 is in", inside(app, "cat /proc/1/cgroup"), "0::/init.scope")
    same("writable below", inside(app, "mkdir /sys/fs/cgroup/mine && rmdir /sys/fs/cgroup/mine && echo yes"), "yes")
    lift = "echo max >/sys/fs/cgroup/memory.max && echo lifted; cat /sys/fs/cgroup/memory.max"
    same("its own limit stays", inside(app, lift).splitlines()[-1], str(512 << 20))
    same("the host's groups are out of sight", inside(app, "find /sys/fs/cgroup -maxdepth 1 -name 'hawser-*'"), "")
    group = "/sys/fs/cgroup/system.slice/cron.service"
    limit = f"systemctl set-property --runtime cron.service MemoryMax=33554432 && cat {group}/memory.max"
    same("its systemd limits services", inside(app, limit), "33554432")
    capabilities = inside(app, "sed -n 's/^CapBnd:[[:space:]]*//p' /proc/1/status")
    same("capabilities", capabilities, "00000000a80425fb")
    same("the application's memory is counted", int(inside(app, "cat /sys/fs/cgroup/memory.current")) > 1 << 20, True)


def a_unit_of_ones_own_is_limited_within_the_containers() -> None:
    app = "deploy/legacy-app"
    unit = "systemd-run --quiet --wait --collect --pipe -p MemoryMax=32M"
    script = "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max"
    same("its limit", inside(app, f"{unit} sh -c '{script}'"), str(32 << 20))
    same("who exceeds it ends", inside(app, f"{unit} tail /dev/zero || echo ended"), "ended")
    more = unit.replace("32M", "64G")
    same("the container's stays", inside(app, f"{more} sh -c 'cat /sys/fs/cgroup/memory.max'"), str(512 << 20))
    same("and who exceeds that ends", inside(app, f"{more} tail /dev/zero || echo ended"), "ended")
    same("ready is executable here", inside(app, "/dev/hawser/ready"), "active")
    same("the kind of container", inside(app, "systemd-detect-virt -c"), "container-other")


def the_applications_state_is_a_condition_of_the_pod() -> None:
    rows = {row["type"]: row for row in get_demo()["status"]["conditions"]}
    row = rows.get("rich.hawser.dev/ApplicationReady", {})
    same("condition", (row.get("status"), row.get("reason")), ("True", "Active"))


def a_container_sees_its_own_limits_and_new_ones() -> None:
    app, pod = "deploy/legacy-app", get_demo()["metadata"]["name"]
    before = get_demo()["status"]["containerStatuses"][0]
    total = "sed -n 's/^MemTotal: *//p' /proc/meminfo"
    same("memory", inside(app, total), f"{(512 << 20) >> 10} kB")
    same("processors", inside(app, "nproc"), str(os.cpu_count()))
    same(
        "stalls", inside(app, "cut -d= -f1 /sys/fs/cgroup/memory.pressure").split(), ["some", "avg10", "full", "avg10"]
    )
    rows = [{"name": "legacy-app", "resources": {"limits": {"cpu": "1", "memory": "448Mi"}}}]
    kubectl("patch", "pod", pod, "--subresource=resize", "--patch", json.dumps({"spec": {"containers": rows}}))
    group = "cd /sys/fs/cgroup && echo $(cat memory.max cpu.max memory.oom.group)"
    eventually("its new limits", lambda: inside(app, group).startswith(str(448 << 20)))
    same("and no other", inside(app, group), f"{448 << 20} 100000 100000 0")
    same("memory", inside(app, total), f"{(448 << 20) >> 10} kB")
    eventually("one processor", lambda: inside(app, "nproc") == "1")
    after = get_demo()["status"]["containerStatuses"][0]
    same("restarts", (after["containerID"], after["restartCount"]), (before["containerID"], before["restartCount"]))


def a_container_sees_what_it_has_used_itself() -> None:
    app = "deploy/legacy-app"
    write = "dd if=/dev/zero of=/var/tmp/x bs=64k count=64 oflag=direct && sync && rm /var/tmp/x"
    inside(app, write)
    text = inside(app, "cat /proc/diskstats")
    rows = [line.split() for line in text.splitlines()]
    if not all(len(row) > 13 for row in rows):
        raise Refuted(f"{text}; {inside(app, 'grep cgroup2 /proc/self/mountinfo')}")
    node = {row[2]: row for row in map(str.split, Path("/proc/diskstats").read_text().splitlines())}
    same("sectors are counted", sum(int(row[9]) for row in rows) >= 64 * 128, True)
    same("no other's are", all(int(row[5]) < int(node[row[2]][5]) for row in rows), True)
    eventually("its own stalls", lambda: inside(app, "grep -c 'hawser-view /proc/pressure/' /proc/mounts") == "3")
    totals = "sed 's/.*total=//' /proc/pressure/io; sed 's/.*total=//' /sys/fs/cgroup/io.pressure"
    first = [int(word) for word in inside(app, totals).split()]
    same("of its control group", len(first) == 4 and first[:2] <= first[2:], True)
    same("slabs", inside(app, "grep -c . /proc/slabinfo"), "2")
    server = next(pid for pid in Path("/proc").glob("[0-9]*") if b"view.statistics" in _words(pid))
    os.kill(int(server.name), signal.SIGKILL)
    eventually("another server", lambda: "disk" not in (text := inside(app, "cat /proc/diskstats")) and "vd" in text)


def _words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def a_hungry_service_does_not_end_a_rich_container() -> None:
    app, before = "deploy/legacy-app", get_demo()["status"]["containerStatuses"][0]
    inside(app, "systemd-run --wait --collect --quiet tail /dev/zero")
    kills = inside(app, "sed -n 's/^oom_kill //p' /sys/fs/cgroup/memory.events")
    same("the kernel ended it", int(kills) >= 1, True)
    # What kubectl exec runs is beside systemd itself, and what it leaves goes on as well.
    mine = "tail /dev/zero; echo ended; systemctl is-active init.scope"
    same("what is executed goes on", inside(app, mine).splitlines()[-2:], ["ended", "active"])
    same("systemd", inside(app, "cat /proc/1/comm"), "systemd")
    after = get_demo()["status"]["containerStatuses"][0]
    same("restarts", (after["containerID"], after["restartCount"]), (before["containerID"], before["restartCount"]))


def the_applications_end_is_the_containers() -> None:
    # What pods call $$$$ is a shell's $$.
    for script, code in (("exit 3", 3), ("kill -9 $$$$", 137)):
        hooks = {"prestart": "echo before", "poststop": "echo after $HAWSER_EXIT_CODE"}
        state = rich(f"ends-{code}", ["sh", "-c", f"(trap '' TERM; sleep 1000) & echo out; {script}"], hooks)
        same("code", state["exitCode"], code)
        lines = kubectl("logs", f"ends-{code}").splitlines()
        before, after = "hawser: prestart prestart-1: before", f"hawser: poststop poststop-1: after {code}"
        same("log", [line for line in lines if "restart" not in line or line == before], [before, "out", after])


def a_hostile_tenant_is_contained() -> None:
    """What it tries is the same as in tests/e2e."""
    node = json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]["status"]
    port = node["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    # The machine has no default route, so the node's own InternalIP is one that no pod reaches.
    address = run("ip", "-4", "-o", "address", "show", "scope", "global").stdout.split()[3].partition("/")[0]
    script = (ROOT / "tests/e2e/hostile.py").read_text()
    with subprocess.Popen(["sleep", "100000"]) as victim:
        words = ("exec", "-i", "deploy/legacy-app", "--", "python3", "-", f"{address}:{port}", str(victim.pid))
        ran = run("kubectl", *words, stdin=script, check=False)
        lives = victim.poll() is None
        victim.kill()
    if ran.stdout.strip() != "{}":
        raise Refuted(f"succeeded: {ran.stdout!r}, exit code {ran.returncode}: {ran.stderr[-2000:]}")
    same("a process of the host lives", lives, True)
    made, asked = (re.search(text, ran.stderr) for text in (r"(\d+) processes\n", r"asked the node agent (\d+) times"))
    same("its processes are bounded", made is not None and 0 < int(made[1]) < PIDS, True)
    same("the node agent refused it", asked is not None and int(asked[1]) > 0, True)
    same("its application goes on", inside("deploy/legacy-app", "systemctl is-active hawser-app"), "active")


RICH_FACTS = (
    the_demo_boots_systemd_in_a_container,
    a_rich_container_owns_its_subtree_and_no_more,
    a_unit_of_ones_own_is_limited_within_the_containers,
    the_applications_state_is_a_condition_of_the_pod,
    a_container_sees_its_own_limits_and_new_ones,
    a_container_sees_what_it_has_used_itself,
    a_hungry_service_does_not_end_a_rich_container,
    the_applications_end_is_the_containers,
    a_hostile_tenant_is_contained,
)

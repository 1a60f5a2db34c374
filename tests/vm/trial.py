"""What has to work on a host with systemd as its init and pure cgroup v2; run by run.sh inside the machine.

Drives the product as its users do and prints a line for every fact. Waits are long because the machine is emulated.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from machine import (
    CGROUPS,
    DATA,
    PIDS,
    SLOW,
    Obj,
    Refuted,
    apply,
    eventually,
    get,
    hawser,
    inside,
    kubectl,
    pod_cgroup,
    ready,
    run,
    same,
)
from rich_facts import RICH_FACTS

UNIT = Path("/etc/systemd/system/hawser.service")

# --- the facts, in this order


def the_host_has_pure_cgroup_v2() -> None:
    same("pid 1", Path("/proc/1/comm").read_text().strip(), "systemd")
    kinds = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup" in line}
    same("control groups", kinds, {"cgroup2"})
    for command in (["uname", "-r"], ["containerd", "--version"], ["runc", "--version"], ["python", "--version"]):
        print(f"       {run(*command).stdout.splitlines()[0]}")


def the_engine_starts() -> None:
    # An emulated machine may need longer than the command waits; the engine goes on meanwhile, and it waits again.
    started = time.monotonic()
    for _ in range(3):
        if not run("./hawser", "up", "--detach", "--agent-arg", f"pod-max-pids={PIDS}", check=False).returncode:
            break
    print(f"       ready after {time.monotonic() - started:.0f} s")
    same(
        "node",
        kubectl("get", "nodes", "-o", 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'),
        "True",
    )


def a_pod_runs_logs_and_takes_commands() -> None:
    apply(name="steady", command=["sh", "-c", "echo hello; exec sleep 100000"])
    ready("steady")
    same("logs", kubectl("logs", "steady"), "hello")
    same("exec", inside("steady", "echo $((6 * 7))"), "42")
    same("the container sees only its own group", inside("steady", "cat /proc/self/cgroup"), "0::/")
    if Path("/sys/module/apparmor/parameters/enabled").exists():
        same("AppArmor", inside("steady", "cat /proc/self/attr/current"), "cri-containerd.apparmor.d (enforce)")
    same("which it may not write", "Read-only" in inside("steady", "mkdir /sys/fs/cgroup/mine"), True)


def a_deployment_rolls_out() -> None:
    kubectl("create", "deployment", "web", "--image=busybox:1.36", "--replicas=2", "--", "sleep", "100000")
    kubectl("rollout", "status", "deployment/web", f"--timeout={SLOW:.0f}s")
    same("replicas", get("deployment", "web")["status"]["readyReplicas"], 2)


def limits_reach_the_kernel() -> None:
    amounts = {"cpu": "500m", "memory": "64Mi"}
    apply(name="limited", command=["sleep", "100000"], resources={"limits": amounts})
    ready("limited")
    read = "cd /sys/fs/cgroup && echo $(cat memory.max) $(cat cpu.max) $(cat memory.oom.group)"
    same("the container's", inside("limited", read), "67108864 50000 100000 1")
    group = pod_cgroup("limited")
    same("the pod's memory.max", (group / "memory.max").read_text().strip(), "67108864")
    same("the pod's cpu.max", (group / "cpu.max").read_text().strip(), "50000 100000")
    same("the pod's cpu.weight", (group / "cpu.weight").read_text().strip(), "20")


def what_is_used_is_measured() -> None:
    """Statistics and kubectl top, from the files of cgroup v2."""
    apply(name="busy", command=["sh", "-c", "while :; do :; done"], resources={"limits": {"cpu": "300m"}})
    ready("busy")

    def top() -> list[str]:
        lines = kubectl("top", "pod", "busy", "--no-headers", check=False).split()
        return lines if lines and int(lines[1].removesuffix("m")) > 50 else []

    print(f"       kubectl top: {' '.join(eventually('what the pod uses', top))}")
    name = json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
    summary = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{name}/proxy/stats/summary"))
    pod = next(pod for pod in summary["pods"] if pod["podRef"]["name"] == "busy")
    used = pod["containers"][0]
    same("memory is known", used["memory"]["workingSetBytes"] > 0 and used["memory"]["rssBytes"] > 0, True)
    same("stalls are told", [sorted(used[kind]["psi"]) for kind in ("cpu", "memory", "io")], [["full", "some"]] * 3)
    same("processes are counted", pod["process_stats"]["process_count"] > 0, True)
    page = kubectl("get", "--raw", f"/api/v1/nodes/{name}/proxy/metrics/cadvisor").splitlines()
    quota = [line for line in page if line.startswith("container_spec_cpu_quota") and '"busy"' in line]
    same("the quota is shown", {line.split()[-2] for line in quota}, {"30000"})
    tier = pod_cgroup("busy").parent
    same("the tier of burstable pods has cpu.weight", int((tier / "cpu.weight").read_text()) > 1, True)
    kubectl("delete", "pod", "busy", "--grace-period=0", "--force")


def limits_outlast_a_reload_of_the_hosts_systemd() -> None:
    group = pod_cgroup("limited")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "systemd-journald.service")
    same("the pod's memory.max", (group / "memory.max").read_text().strip(), "67108864")
    same("controllers", {"cpu", "memory", "pids"} <= {*(group / "cgroup.controllers").read_text().split()}, True)


def out_of_memory_is_reported() -> None:
    script = "x=$(tail /dev/zero); sleep 100000"
    apply(name="hungry", command=["sh", "-c", script], resources={"limits": {"memory": "32Mi"}})

    def terminated() -> Obj:
        statuses = get("pod", "hungry")["status"].get("containerStatuses") or [{}]
        state: Obj = statuses[0].get("state", {}).get("terminated") or {}
        return state

    state = eventually("the end of the pod", terminated)
    same("reason and code", (state["reason"], state["exitCode"]), ("OOMKilled", 137))


def identities() -> dict[str, Any]:
    found = {}
    for item in json.loads(kubectl("get", "pods", "-o", "json"))["items"]:
        statuses = item["status"].get("containerStatuses") or []
        found[item["metadata"]["name"]] = (
            item["metadata"]["uid"],
            [(s["containerID"], s["restartCount"]) for s in statuses],
        )
    return found


def pid_of(process: str) -> int:
    done = run("./hawser", "status", "-o", "json", check=False)
    rows = json.loads(done.stdout or '{"processes": []}')["processes"]
    return next((row["pid"] for row in rows if row["name"] == process and row["running"]), 0)


def a_killed_agent_finds_its_pods_again() -> None:
    before, pid = identities(), pid_of("agent")
    os.kill(pid, signal.SIGKILL)
    eventually("a new agent", lambda: pid_of("agent") not in (0, pid))
    apply(name="after-agent", command=["sleep", "100000"])
    ready("after-agent")
    now = identities()
    del now["after-agent"]
    same("containers are the same", now == before, True)


def a_killed_engine_finds_its_pods_again() -> None:
    before = identities()
    for process in ("supervisor", "agent", "apiserver", "controllers", "containerd"):
        if pid := pid_of(process):
            os.kill(pid, signal.SIGKILL)
    hawser("up", "--detach")
    apply(name="after-engine", command=["sleep", "100000"])
    ready("after-engine")
    now = identities()
    del now["after-engine"]
    same("containers are the same", now == before, True)
    same("systemd in the container", inside("deploy/legacy-app", "systemctl is-system-running"), "running")


def unit(setting: str) -> str:
    return run("systemctl", "show", "--value", f"--property={setting}", "hawser.service").stdout.strip()


def systemd_runs_an_engine_that_has_its_unit() -> None:
    before, last = identities(), pid_of("supervisor")
    hawser("service", "install")
    same("at boot", unit("UnitFileState"), "enabled")
    for how in ("installed", "restarted", "stopped and started", "killed"):
        match how:
            case "restarted":
                hawser("restart")
            case "killed":
                os.kill(last, signal.SIGKILL)
            case "stopped and started":
                run("systemctl", "stop", "hawser.service")
                same("the supervisor is gone", pid_of("supervisor"), 0)
                hawser("up", "--detach")

        def anew(old: int = last) -> int:
            pid = pid_of("supervisor")
            return pid if pid not in (0, old) else 0

        last = eventually("a new supervisor", anew)
        same(how, (unit("ActiveState"), unit("MainPID")), ("active", str(last)))
        hawser("up", "--detach")
        eventually("the same containers", lambda: _are(before))


def _are(before: dict[str, Any]) -> bool:
    with contextlib.suppress(Refuted):  # of an emulated machine kubectl's own limits may ask too much
        return identities() == before
    return False


def a_deleted_pod_leaves_no_cgroup() -> None:
    group = pod_cgroup("limited")
    kubectl("delete", "pod", "limited", f"--timeout={SLOW:.0f}s")
    eventually("the end of its cgroup", lambda: not group.exists(), 30)


def nothing_is_left_when_it_is_down() -> None:
    hawser("down", "--purge")
    left = [str(path) for path in CGROUPS.glob("hawser*")]
    left += [line for line in Path("/proc/mounts").read_text().splitlines() if "hawser" in line]
    left += [line for line in run("ip", "-o", "link").stdout.splitlines() if "hwsr" in line or "veth" in line]
    left += [line for line in run("nft", "list", "tables").stdout.splitlines() if "hawser" in line]
    left += [
        str(p)
        for p in (DATA, Path("/run/hawser"), Path("/run/hawser-runtime"), Path("/run/containerd/runc"), UNIT)
        if p.exists()
    ]
    commands = (path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline"))
    # Debian starts a containerd of its own, which is none of Hawser's business.
    left += [line for line in commands if "containerd-shim" in line or "-m hawser" in line or "/hawser/" in line]
    left += [str(path) for path in Path("/run/netns").glob("*")]
    same("left", left, [])
    same("failed units of the host", run("systemctl", "--failed", "--plain", "--no-legend").stdout, "")


FACTS = (
    the_host_has_pure_cgroup_v2,
    the_engine_starts,
    a_pod_runs_logs_and_takes_commands,
    a_deployment_rolls_out,
    limits_reach_the_kernel,
    what_is_used_is_measured,
    limits_outlast_a_reload_of_the_hosts_systemd,
    out_of_memory_is_reported,
    *RICH_FACTS,
    a_killed_agent_finds_its_pods_again,
    a_killed_engine_finds_its_pods_again,
    systemd_runs_an_engine_that_has_its_unit,
    a_deleted_pod_leaves_no_cgroup,
    nothing_is_left_when_it_is_down,
)


def diagnosis() -> None:
    """What helps to understand a failure."""
    for command in (["kubectl", "get", "pods", "-o", "wide"], ["kubectl", "get", "events"], ["dmesg", "--level=err"]):
        print(run(*command, check=False).stdout[-4000:])
    for log in sorted((DATA / "logs").glob("*.log")):
        print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))


def main() -> int:
    wrong = 0
    facts = [fact for fact in FACTS if len(sys.argv) < 2 or fact.__name__ in sys.argv]
    for fact in facts:
        started = time.monotonic()
        text = fact.__name__.replace("_", " ")
        print(f"       {text} …", flush=True)
        try:
            fact()
        except (Refuted, KeyError, IndexError, StopIteration, ValueError, OSError) as error:
            wrong += 1
            print(f"FAILED {text}: {type(error).__name__}: {error}", flush=True)
            diagnosis()
            if fact is the_engine_starts:
                break
        else:
            print(f"ok     {text} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{wrong} of {len(facts)} facts do not hold" if wrong else f"All {len(facts)} facts hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

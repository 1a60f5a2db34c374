"""Pods behave as on a kubelet: environment, volumes, probes, restart policies, endings."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Engine, Obj, eventually, pod

CONFIG: Obj = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "conf"},
    "data": {"color": "blue", "app.ini": "mode=fast\n"},
}
SECRET: Obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"token": "s3cret"}}


def run_to_end(engine: Engine, namespace: str, manifest: Obj) -> tuple[str, str]:
    """(phase, log) of a pod once it has ended."""
    engine.apply(manifest, namespace)
    name = manifest["metadata"]["name"]

    def phase() -> str:
        now = engine.get("pod", name, namespace)["status"].get("phase", "")
        return now if now in ("Succeeded", "Failed") else ""

    return eventually(phase, f"the end of {name}"), engine.kubectl("logs", name, "-n", namespace).stdout


def test_environment_from_everywhere(engine: Engine, namespace: str) -> None:
    engine.apply(CONFIG, namespace)
    engine.apply(SECRET, namespace)
    env: list[dict[str, Any]] = [
        {"name": "LITERAL", "value": "it's $(COLOR) and $$(COLOR)"},
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "color"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "BOTH", "value": "$(POD)-$(COLOR)"},
    ]
    container = {
        "env": env,
        "envFrom": [{"configMapRef": {"name": "conf"}, "prefix": "C_"}],
        "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
    }
    script = 'echo "$LITERAL|$COLOR|$TOKEN|$POD|$CPU|$BOTH|$C_color|${IP:+ip}"'
    phase, log = run_to_end(engine, namespace, pod("a", script, container=container, restartPolicy="Never"))
    assert phase == "Succeeded"
    assert log == "it's $(COLOR) and $(COLOR)|blue|s3cret|a|250|a-blue|blue|ip\n"


def test_volumes_of_every_kind(engine: Engine, namespace: str, tmp_path: Any) -> None:
    engine.apply(CONFIG, namespace)
    engine.apply(SECRET, namespace)
    (tmp_path / "host.txt").write_text("from the host\n")
    volumes = [
        {"name": "conf", "configMap": {"name": "conf", "items": [{"key": "app.ini", "path": "sub/app.ini"}]}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
        {
            "name": "about",
            "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
        },
    ]
    mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes]
    mounts.append({"name": "conf", "mountPath": "/etc/app.ini", "subPath": "sub/app.ini"})
    script = (
        "cat /v/conf/sub/app.ini /etc/app.ini /v/key/token; echo; stat -Lc %a /v/key/token; cat /v/host/host.txt;"
        "echo x > /v/scratch/x && cat /v/scratch/x; grep -c ' /v/memory tmpfs' /proc/mounts; cat /v/about/labels;"
        "echo back > /v/host/back"
    )
    phase, log = run_to_end(
        engine,
        namespace,
        pod("a", script, container={"volumeMounts": mounts}, volumes=volumes, restartPolicy="Never"),
    )
    assert phase == "Succeeded", log
    assert log.splitlines() == [
        "mode=fast",
        "mode=fast",
        "s3cret",
        "400",
        "from the host",
        "x",
        "1",
        'app="a"',
    ]
    assert (tmp_path / "back").read_text() == "back\n"


def test_config_volumes_follow_changes(engine: Engine, namespace: str) -> None:
    engine.apply(CONFIG, namespace)
    manifest = pod(
        "a",
        container={"volumeMounts": [{"name": "conf", "mountPath": "/conf"}]},
        volumes=[{"name": "conf", "configMap": {"name": "conf"}}],
    )
    engine.apply(manifest, namespace)
    engine.wait_ready("a", namespace)
    engine.kubectl("patch", "configmap", "conf", "-n", namespace, "-p", '{"data": {"color": "green"}}')

    def color() -> bool:
        # Its directory is replaced by another one at once: who has opened the old one may find nothing there.
        done = engine.kubectl("exec", "a", "-n", namespace, "--", "cat", "/conf/color", check=False)
        return done.stdout == "green"

    eventually(color, "the changed file")


def test_init_containers_run_first_and_in_order(engine: Engine, namespace: str) -> None:
    mounts = [{"name": "out", "mountPath": "/out"}]

    def init(name: str) -> Obj:
        script = f"echo {name} >> /out/log"
        return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", script], "volumeMounts": mounts}

    manifest = pod(
        "a",
        "cat /out/log",
        container={"volumeMounts": mounts},
        initContainers=[init("first"), init("second")],
        volumes=[{"name": "out", "emptyDir": {}}],
        restartPolicy="Never",
    )
    assert run_to_end(engine, namespace, manifest) == ("Succeeded", "first\nsecond\n")


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")],
)
def test_endings_without_restart(engine: Engine, namespace: str, policy: str, code: int, phase: str) -> None:
    got, _ = run_to_end(engine, namespace, pod("a", f"exit {code}", restartPolicy=policy))
    assert got == phase
    status = engine.get("pod", "a", namespace)["status"]["containerStatuses"][0]
    assert status["state"]["terminated"]["exitCode"] == code
    assert status["restartCount"] == 0


@pytest.mark.parametrize(("policy", "code"), [("Always", 0), ("Always", 2), ("OnFailure", 2)])
def test_endings_with_restart_and_back_off(engine: Engine, namespace: str, policy: str, code: int) -> None:
    engine.apply(pod("a", f"exit {code}", restartPolicy=policy), namespace)

    def backing_off() -> bool:
        status = engine.get("pod", "a", namespace)["status"].get("containerStatuses", [{}])[0]
        waiting = status.get("state", {}).get("waiting", {})
        return status.get("restartCount", 0) >= 1 and waiting.get("reason") == "CrashLoopBackOff"

    eventually(backing_off, "CrashLoopBackOff")
    # Between two tries it is something else for a moment.
    shown = ("get", "pod", "a", "-n", namespace)
    eventually(lambda: "CrashLoopBackOff" in engine.kubectl(*shown).stdout, "CrashLoopBackOff in the table")
    assert "Back-off restarting failed container" in engine.wait_event(namespace, "a", "BackOff")
    previous = engine.get("pod", "a", namespace)["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert previous["exitCode"] == code


def test_a_failing_liveness_probe_restarts_the_container(engine: Engine, namespace: str) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 2}
    manifest = pod("a", "touch /tmp/alive; sleep 3; rm /tmp/alive; sleep 100000", container={"livenessProbe": probe})
    engine.apply(manifest, namespace)
    engine.wait_event(namespace, "a", "Unhealthy", "Liveness probe failed")
    assert "failed liveness probe, will be restarted" in engine.wait_event(namespace, "a", "Killing")

    def restarted() -> bool:
        return bool(engine.get("pod", "a", namespace)["status"]["containerStatuses"][0]["restartCount"])

    eventually(restarted, "a restart")


def test_readiness_follows_its_probe_and_the_endpoints_follow_readiness(engine: Engine, namespace: str) -> None:
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    script = "while [ ! -e /tmp/go ]; do sleep 0.1; done; exec httpd -f -p 8080 -h /tmp"
    engine.apply(pod("a", script, container={"readinessProbe": probe}), namespace)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    engine.apply(service, namespace)
    engine.wait_event(namespace, "a", "Unhealthy", "Readiness probe failed")
    assert ready_addresses(engine, namespace, "a") == []
    engine.kubectl("exec", "a", "-n", namespace, "--", "touch", "/tmp/go")
    ready = engine.wait_ready("a", namespace)
    eventually(lambda: ready_addresses(engine, namespace, "a") == [ready["status"]["podIP"]], "the ready endpoint")


def ready_addresses(engine: Engine, namespace: str, service: str) -> list[str]:
    slices = engine.list("endpointslices", namespace, f"kubernetes.io/service-name={service}")
    endpoints = [e for s in slices for e in s.get("endpoints") or []]
    return [a for e in endpoints if e["conditions"].get("ready") for a in e["addresses"]]


def test_termination_is_graceful_and_hooks_run(engine: Engine, namespace: str, tmp_path: Any) -> None:
    script = "trap 'echo term >> /out/log; exit 0' TERM; touch /out/up; while :; do sleep 0.1; done"
    container = {
        "volumeMounts": [{"name": "out", "mountPath": "/out"}],
        "lifecycle": {
            "postStart": {"exec": {"command": ["sh", "-c", "echo start >> /out/log"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "echo stop >> /out/log"]}},
        },
    }
    volumes = [{"name": "out", "hostPath": {"path": str(tmp_path)}}]
    engine.apply(pod("a", script, container=container, volumes=volumes, terminationGracePeriodSeconds=20), namespace)
    engine.wait_ready("a", namespace)
    eventually((tmp_path / "up").exists, "the application")
    engine.kubectl("delete", "pod", "a", "-n", namespace, "--timeout=120s")
    assert (tmp_path / "log").read_text().split() == ["start", "stop", "term"]


def test_limits_reach_the_cgroup(engine: Engine, namespace: str) -> None:
    resources = {"limits": {"memory": "64Mi", "cpu": "500m"}}
    v1 = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null"
    v2 = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
    manifest = pod("a", f"{v1} || {v2}", container={"resources": resources}, restartPolicy="Never")
    _, log = run_to_end(engine, namespace, manifest)
    assert log.split()[:2] == [str(64 << 20), "50000"]
    assert engine.get("pod", "a", namespace)["status"]["qosClass"] == "Guaranteed"


def test_too_much_memory_is_reported_as_oomkilled(engine: Engine, namespace: str) -> None:
    container = {"resources": {"limits": {"memory": "16Mi"}}}
    script = "exec awk 'BEGIN { s = \"x\"; while (1) s = s s }'"
    phase, _ = run_to_end(engine, namespace, pod("a", script, container=container, restartPolicy="Never"))
    assert phase == "Failed"
    ended = engine.get("pod", "a", namespace)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_containers_of_a_pod_share_network_and_hostname(engine: Engine, namespace: str) -> None:
    manifest = pod("a", "echo -n hi | nc -l -p 9000; sleep 100000")
    second = {
        "name": "peer",
        "image": "busybox:1.36",
        "command": ["sh", "-c", "until nc 127.0.0.1 9000; do sleep 0.2; done; hostname; sleep 100000"],
    }
    manifest["spec"]["containers"].append(second)
    engine.apply(manifest, namespace)
    engine.wait_ready("a", namespace)

    def said() -> bool:
        return "hia\n" in engine.kubectl("logs", "a", "-c", "peer", "-n", namespace).stdout

    eventually(said, "the answer over loopback")


def test_security_context_is_applied(engine: Engine, namespace: str) -> None:
    container = {
        "securityContext": {
            "runAsUser": 1234,
            "runAsGroup": 2345,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    }
    script = "id -u; id -g; touch /x 2>/dev/null || echo read-only; grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
    _, log = run_to_end(engine, namespace, pod("a", script, container=container, restartPolicy="Never"))
    assert log.split() == ["1234", "2345", "read-only", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1"]

"""What the trial drives the product with: its commands, and waiting for what they bring about."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DATA = Path("/var/lib/hawser")
CGROUPS = Path("/sys/fs/cgroup")
SLOW = 600.0  # seconds to wait for anything
PIDS = 250  # that a pod may have
Obj = dict[str, Any]


class Refuted(Exception):
    """A fact that does not hold."""


def run(*command: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "KUBECONFIG": str(DATA / "kubeconfig" / "admin.yaml")}
    done = subprocess.run(command, cwd=ROOT, env=env, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Refuted(
            f"{' '.join(command)[:200]}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done


def hawser(*arguments: str) -> str:
    return run("./hawser", *arguments).stdout


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    return run("kubectl", *arguments, check=check, stdin=stdin).stdout.strip()


def inside(target: str, script: str) -> str:
    """What a shell script prints in a container, standard error included."""
    return run("kubectl", "exec", target, "--", "sh", "-c", f"exec 2>&1; {script}", check=False).stdout.strip()


def apply(**pod: Any) -> None:
    """Creates a pod of one busybox container, with the container's fields given."""
    name = pod.pop("name")
    container = {"name": "main", "image": "busybox:1.36", "imagePullPolicy": "Never", **pod}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    text = yaml.safe_dump(manifest)

    def answered() -> bool:
        done = run("kubectl", "apply", "-f", "-", check=False, stdin=text)
        # An emulated machine may not answer within the seconds that kubectl has for that.
        if done.returncode and "TLS handshake timeout" not in done.stderr:
            raise Refuted(f"kubectl apply: exit code {done.returncode}\n{done.stderr[-3000:]}")
        return done.returncode == 0

    eventually("an answer", answered)


def get(kind: str, name: str) -> Obj:
    found: Obj = json.loads(kubectl("get", kind, name, "-o", "json"))
    return found


def eventually(what: str, check: Callable[[], Any], seconds: float = SLOW) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := check()):
        if time.monotonic() > deadline:
            raise Refuted(f"{what} did not come in {seconds:.0f} s; last seen: {result!r}")
        time.sleep(0.5)
    return result


def same(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Refuted(f"{what}: {found!r}, wanted {wanted!r}")
    print(f"       {what}: {found}", flush=True)


def ready(pod: str) -> None:
    kubectl("wait", "--for=condition=Ready", f"pod/{pod}", f"--timeout={SLOW:.0f}s")


def pod_cgroup(pod: str) -> Path:
    uid = get("pod", pod)["metadata"]["uid"]
    return next(CGROUPS.glob(f"hawser-*/**/pod{uid}"))


def rich(name: str, command: list[str], annotations: dict[str, str] | None = None) -> Obj:
    """Runs a rich pod to its end; how its container ended."""
    asked = {f"rich.hawser.dev/{key}": value for key, value in {"init": "systemd", **(annotations or {})}.items()}
    container = {"name": "main", "image": "localhost/legacy-app:1", "imagePullPolicy": "Never", "command": command}
    spec = {"runtimeClassName": "rich", "restartPolicy": "Never", "containers": [container]}
    metadata = {"name": name, "annotations": asked}
    kubectl(
        "apply",
        "-f",
        "-",
        stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
    )

    def terminated() -> Obj:
        statuses = get("pod", name)["status"].get("containerStatuses") or [{}]
        state: Obj = statuses[0].get("state", {}).get("terminated") or {}
        return state

    state: Obj = eventually(f"the end of {name}", terminated)
    return state

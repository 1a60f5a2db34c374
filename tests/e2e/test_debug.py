"""Looking into running pods and changing them, as people do with kubectl."""

from __future__ import annotations

from .conftest import Engine, eventually, pod

IMAGE = ("--image=docker.io/library/busybox:1.36", "--image-pull-policy=IfNotPresent")


def test_kubectl_debug_joins_a_container(engine: Engine, namespace: str) -> None:
    engine.apply(pod("web", "exec sleep 1000"), namespace)
    engine.kubectl("wait", "--for=condition=Ready", "pod/web", "-n", namespace, "--timeout=120s")
    shown = "until grep -q ^sleep /proc/1/cmdline; do sleep 0.1; done; tr '\\0' ' ' </proc/1/cmdline; echo"
    command = ("--", "sh", "-c", f"{shown}; exec sleep 1000")
    engine.kubectl("debug", "web", "-n", namespace, *IMAGE, "--target=main", "-c", "look", *command)

    def logs() -> str:
        return engine.kubectl("logs", "web", "-c", "look", "-n", namespace, check=False).stdout

    assert eventually(logs, "the debugger's output") == "sleep 1000 \n"
    inside = engine.kubectl("exec", "web", "-c", "look", "-n", namespace, "--", "echo", "inside")
    assert inside.stdout == "inside\n"


def test_a_pod_is_resized_in_place(engine: Engine, namespace: str) -> None:
    amounts = {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
    engine.apply(pod("grows", container={"resources": amounts}), namespace)
    engine.kubectl("wait", "--for=condition=Ready", "pod/grows", "-n", namespace, "--timeout=120s")
    change = '{"spec":{"containers":[{"name":"main","resources":{"limits":{"memory":"64Mi"}}}]}}'
    engine.kubectl("patch", "pod", "grows", "-n", namespace, "--subresource", "resize", "--patch", change)

    def limit() -> bool:
        status = engine.get("pod", "grows", namespace)["status"]["containerStatuses"][0]
        return bool(status["resources"]["limits"]["memory"] == "64Mi" and status["restartCount"] == 0)

    eventually(limit, "the new limit")
    assert "Pod resize completed" in engine.wait_event(namespace, "grows", "ResizeCompleted")

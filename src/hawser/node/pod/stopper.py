"""Ending containers and pods: preStop, the stop signal, and taking away what a pod leaves.

Source: Kubernetes documentation, "Termination of Pods", "Container Lifecycle Hooks".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
from pathlib import Path

from hawser.api.errors import ignoring
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.node.cri.model import Container, Labels
from hawser.node.pod import configs, handlers, resources, view
from hawser.node.pod.actions import KillContainer
from hawser.node.pod.context import Context
from hawser.node.pod.observed import Memory
from hawser.node.pod.records import Records

log = logging.getLogger(__name__)

_MESSAGE_BYTES = 4096
_CGROUP_TRIES = 20
_OFFSET = re.compile(r"-?[0-9]{1,3}")
_LOOK_SECONDS = 0.1


async def kill(
    context: Context, records: Records, memory: Memory, pod: Obj, action: KillContainer, pod_ip: str
) -> None:
    """preStop within the grace period, the stop signal for the rest of it, then SIGKILL. Raises CRIError.

    Begun again with a shorter period, it neither reports nor runs the hook once more.
    """
    container = records.containers.get(action.id)
    if container is None:
        return
    context.prober.end_liveness(action.id)
    path = view.field_path(pod, action.name)
    again = action.id in memory.hooked
    memory.hooked.add(action.id)
    if not again:
        context.recorder.event(pod, "Normal", "Killing", action.message, field_path=path)
    grace = float(view.grace_period(pod) if action.grace is None else action.grace)
    loop = asyncio.get_running_loop()
    started = loop.time()
    hook = _pre_stop(pod, container)
    if hook and not again:
        spec = view.find(pod, action.name) or {"name": action.name}
        try:
            async with asyncio.timeout(grace):
                outcome = await handlers.hook(hook, handlers.Subject(spec, action.id, pod_ip, context.runtime, grace))
            if outcome.warning:
                context.recorder.event(pod, "Warning", "LifecycleHTTPFallback", outcome.message, field_path=path)
            if not outcome.ok:
                log.warning("pod %s: preStop of %s failed: %s", view.full_name(pod), action.name, outcome.message)
                context.recorder.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", field_path=path)
        except TimeoutError:
            pass
    # After a hook that took all the time the container still gets two seconds to hear the signal.
    rest = max(grace - (loop.time() - started), min(grace, 2.0))
    await _stop(context, pod, container, rest)
    context.prober.forget(action.id)
    await records.settle(action.id)


async def _stop(context: Context, pod: Obj, container: Container, seconds: float) -> None:
    """The stop signal, SIGKILL after the time. A runtime that knows no stop signal of the pod's has it sent for it."""
    spec = view.find(pod, container.labels.get(Labels.CONTAINER_NAME, "")) or {}
    wanted = (spec.get("lifecycle") or {}).get("stopSignal")
    if wanted and container.stop_signal != wanted and (number := signal_number(wanted)):
        pid = await context.runtime.pid(container.id)
        if pid:
            end = asyncio.get_running_loop().time() + seconds
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            while asyncio.get_running_loop().time() < end:
                if not (await context.runtime.container_status(container.id)).running:
                    return
                await asyncio.sleep(_LOOK_SECONDS)
            seconds = 0
    await context.runtime.stop_container(container.id, seconds)


def signal_number(name: str) -> int:
    """A signal's number, real-time ones (``SIGRTMIN+3``) included; 0 for none of this kernel."""
    base, _, offset = name.partition("+")
    if not offset:
        base, _, offset = base.partition("-")
        offset = f"-{offset}" if offset else "0"
    known = signal.Signals.__members__.get(base)
    return known.value + int(offset) if known is not None and _OFFSET.fullmatch(offset) else 0


def _pre_stop(pod: Obj, container: Container) -> Obj | None:
    spec = view.find(pod, container.labels.get(Labels.CONTAINER_NAME, ""))
    if spec is not None:
        hook: Obj | None = (spec.get("lifecycle") or {}).get("preStop")
        return hook
    # A container of a pod whose spec is gone still has its hook in its annotations.
    text = container.annotations.get(Labels.PRE_STOP)
    return json.loads(text) if text else None


async def delete_from_api(context: Context, pod: Obj) -> None:
    """Takes a pod that has ended out of the API; quiet when it, or this pod of that name, is gone. Raises APIError."""
    namespace, name = view.key(pod)
    with ignoring(404, 409):
        await context.client.delete(POD, name, namespace, grace_period=0, uid=view.uid(pod))


async def sweep(context: Context, pod: Obj | None, uid: str, records: Records) -> None:
    """Removes everything a pod leaves on the node: runtime records, volumes, cgroups, logs. Raises CRIError."""
    for container_id in records.containers:
        context.prober.forget(container_id)
    await records.remove_all()
    await context.devices.release(uid)
    context.objects.forget(uid)
    await context.volumes.remove(uid)
    if pod is not None:
        shutil.rmtree(configs.log_directory(context.machine.root, pod), ignore_errors=True)
        await remove_cgroup(context, resources.cgroup_parent(context.machine.cgroup_root, pod))


async def remove_cgroup(context: Context, parent: str) -> None:
    """Removes a pod's cgroups once the kernel has let go of the last process."""
    for _ in range(_CGROUP_TRIES):
        if context.cgroups.remove(parent):
            return
        await asyncio.sleep(0.05)
    log.warning("cgroup %s is still in use", parent)


def termination_message(container: Container, path: Path, logs: Path) -> str:
    """The last words of a container: its termination message file, or by policy the end of its log."""
    try:
        text = path.read_bytes()[:_MESSAGE_BYTES].decode(errors="replace")
    except OSError:
        text = ""
    policy = container.annotations.get(Labels.TERMINATION_POLICY)
    if text or container.exit_code == 0 or policy != "FallbackToLogsOnError":
        return text
    return _end_of_log(logs)


def _end_of_log(path: Path) -> str:
    """What a container last wrote: at most 80 lines and 2048 bytes."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4 * _MESSAGE_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    # CRI's log format is "time stream tag text"; the tag P says that the line goes on.
    rows = [parts for line in lines if len(parts := line.split(" ", 3)) == 4]
    return "".join(text if tag.startswith("P") else f"{text}\n" for _, _, tag, text in rows[-80:])[-2048:]

# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH100, PTH118
"""What is noted of a container with hooks when it is made: all that its start and its end need. Pure.

A prestart hook joins the container that was made and waits for its start (OCI's state "created"): its namespaces,
mounts, network and control group are there, its application is not. A poststop hook runs in a container of its own
with the same files, volumes, network of the pod, limits and seccomp profile, since nothing of the old one can be
joined any more. Both are root inside, and neither sees a namespace of the host.
"""

from __future__ import annotations

import os

from .edited import copied
from .hooks import Hook, Hooks
from .light import Any, NamedTuple

Spec = dict[str, Any]
_KILLED = 128 + 9  # by SIGKILL
_NAMES = {
    "HAWSER_NAMESPACE": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    "HAWSER_POD": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    "HAWSER_POD_UID": ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
    "HAWSER_CONTAINER": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
}


class Ending(NamedTuple):
    """How a container ended. Times are seconds since 1970; `started` is 0 when it never started."""

    code: int
    signal: int
    oom: bool
    started: float
    finished: float
    known: bool = True

    @property
    def reason(self) -> str:
        """The word that the pod's status has for it."""
        if not self.known:
            return "ContainerStatusUnknown"
        if not self.started:
            return "StartError"
        if self.oom:
            return "OOMKilled"
        return "Error" if self.code else "Completed"


def plan(spec: Spec, hooks: Hooks, container_id: str, bundle: str) -> Spec:
    """The note of a container. `spec` is its specification before any edit; JSON values only."""
    annotations = spec.get("annotations") or {}
    names = {key: next((annotations[n] for n in places if n in annotations), "") for key, places in _NAMES.items()}
    return {
        "id": container_id,
        "bundle": os.path.abspath(bundle),
        "names": {key: value for key, value in names.items() if value},
        "prestart": [hook.plain() for hook in hooks.prestart],
        "poststop": [hook.plain() for hook in hooks.poststop],
        "process": _process(spec),
        "terminal": bool((spec.get("process") or {}).get("terminal")),
    }


def hook_of(entry: Spec) -> Hook:
    """A hook of a note."""
    return Hook(**{**entry, "command": tuple(entry["command"]), "capabilities": tuple(entry["capabilities"])})


def _process(spec: Spec) -> Spec:
    given = spec.get("process") or {}
    user = given.get("user") or {}
    result: Spec = {
        "terminal": False,
        "user": {"uid": 0, "gid": 0, "additionalGids": list(user.get("additionalGids") or [])},
        "env": list(given.get("env") or []),
        "cwd": "/",
        "noNewPrivileges": bool(given.get("noNewPrivileges")),
        "capabilities": {"bounding": list((given.get("capabilities") or {}).get("bounding") or [])},
    }
    for key in ("rlimits", "apparmorProfile", "selinuxLabel", "oomScoreAdj"):
        if given.get(key):
            result[key] = given[key]
    return result


def process(note: Spec, phase: str, hook: Hook, ending: Ending | None = None) -> Spec:
    """The process of a hook, as OCI describes one: root, the container's capabilities and the hook's."""
    result: Spec = copied(note["process"])
    names = list(dict.fromkeys([*result["capabilities"]["bounding"], *hook.capabilities]))
    result["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    result["args"] = list(hook.command)
    told = {"HAWSER_HOOK": hook.name, "HAWSER_PHASE": phase, **note["names"]}
    if ending is not None:
        told |= told_of(ending)
    environment = dict(pair.partition("=")[::2] for pair in result["env"])
    result["env"] = [f"{name}={value}" for name, value in {"HOME": "/root", **environment, **told}.items()]
    return result


def told_of(ending: Ending) -> dict[str, str]:
    """What a poststop hook hears of the end, as variables of its environment."""
    return {
        "HAWSER_EXIT_CODE": str(ending.code),
        "HAWSER_EXIT_SIGNAL": _signal_name(ending.signal),
        "HAWSER_EXIT_REASON": ending.reason,
        "HAWSER_DURATION": f"{max(0.0, ending.finished - ending.started) if ending.started else 0.0:.3f}",
        "HAWSER_FINISHED_AT": f"{ending.finished:.3f}",
    }


def _signal_name(number: int) -> str:
    import signal  # here: its enumerations take long to load

    try:
        return signal.Signals(number).name if number else ""
    except ValueError:
        return f"SIG{number}"


def ending_of(status: int, killed: bool, kills: int, started: float, finished: float) -> Ending:
    """How a container ended whose pid 1 left `status` (a signal when `killed`); `kills` of its processes by OOM.

    kills: those since the application was started last. An init passes on 128 + the signal's number for an application
    that a signal ended.
    """
    if not started:
        return Ending(128, 0, False, 0.0, finished)  # kubelet's code for a container that could not start
    code = 128 + status if killed else status
    number = status if killed else status - 128 if 128 < status <= 128 + 64 else 0
    return Ending(code, number, kills > 0 and code == _KILLED, started, finished)


def poststop_spec(spec: Spec, note: Spec, present: Any = os.path.exists) -> Spec:
    """The specification of the containers of poststop hooks; the process is filled in later.

    spec: the container's before any edit. present: whether a path of a namespace is still there.
    """
    result: Spec = copied(spec)
    bundle = note["bundle"]
    result["root"] = {**spec["root"], "path": os.path.join(bundle, spec["root"]["path"])}
    for mount in result.get("mounts") or []:
        source = mount.get("source", "")
        if mount.get("type") == "bind" and not source.startswith("/"):
            mount["source"] = os.path.join(bundle, source)
    result.pop("hooks", None)
    linux = result.setdefault("linux", {})
    linux["cgroupsPath"] = (linux.get("cgroupsPath") or "/" + note["id"]) + "-poststop"
    for namespace in linux.get("namespaces") or []:
        if namespace.get("path") and not present(namespace["path"]):
            del namespace["path"]  # the pod's own went with its sandbox
    return result

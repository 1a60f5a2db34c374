"""Carrying out what the plan says: sandboxes and containers made in the runtime, with kubelet's events.

Each function can be cut short anywhere: the next plan starts from what the runtime then has.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from pathlib import Path
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import RUNTIME_CLASS
from hawser.api.types import Obj
from hawser.node.cri.errors import CRIError, Unavailable
from hawser.node.images.manager import PULL_REASONS, ImageError
from hawser.node.pod import configs, dns, env, handlers, ownfiles, resources, security, userns, view
from hawser.node.pod.actions import CreateSandbox, StartContainer
from hawser.node.pod.context import Context, ProbeSink
from hawser.node.pod.env import ConfigError, Sources
from hawser.node.pod.observed import Memory, Waiting
from hawser.node.pod.plan import crash_key
from hawser.node.pod.records import Records
from hawser.node.volumes.errors import NotMounted

log = logging.getLogger(__name__)

# The runtime hears of a sandbox's death a moment after the start in it has failed.
_SANDBOX_DIES_SECONDS = (0.0, 0.05)

# What a claim is waiting for happens elsewhere, and nobody tells the node of it.
_VOLUMES_WAIT_SECONDS = 10.0


class Starter:
    """Starts one pod's sandbox and containers."""

    def __init__(self, context: Context, memory: Memory, records: Records, sink: ProbeSink) -> None:
        self.context = context
        self.sink = sink
        self.memory = memory
        self.records = records

    def event(self, pod: Obj, kind: str, reason: str, message: str, container: str = "") -> None:
        """Reports an event about the pod or one of its containers."""
        path = view.field_path(pod, container) if container else ""
        self.context.recorder.event(pod, kind, reason, message, field_path=path)

    # Sandbox and volumes

    async def sandbox(self, pod: Obj, action: CreateSandbox) -> None:
        """Volumes, cgroups, then the sandbox. A failure is reported and tried again later."""
        if action.attempt:
            self.event(pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        context = self.context
        if not await self.volumes(pod):
            self._later("", Waiting("ContainerCreating"), _VOLUMES_WAIT_SECONDS)
            return
        if problem := await context.devices.prepare(pod):
            self.event(pod, "Warning", "FailedPrepareDynamicResources", problem)
            self._later("", Waiting("ContainerCreating"), _VOLUMES_WAIT_SECONDS)
            return
        handler = ""
        try:
            handler = await self._runtime_handler(pod)
            if handler:
                await context.rich.prepare(pod, handler)
            config = self._sandbox_config(pod, action.attempt, self._users(pod, handler))
            for reason, message in dns.complaints(pod, context.machine, context.dns()):
                self.event(pod, "Warning", reason, message)
            Path(config["log_directory"]).mkdir(parents=True, exist_ok=True)
            context.cgroups.create(config["linux"]["cgroup_parent"], config["linux"]["resources"])
            async with context.rush, context.sandboxes:
                sandbox_id = await context.runtime.run_pod_sandbox(config, handler)
            await self.records.sandbox(sandbox_id)
            context.counters.pods_started += 1
        except Unavailable:
            # Nobody's fault and soon over: the runtime is being started again.
            raise
        except (CRIError, OSError, ConfigError, APIError) as err:
            text = err.text if isinstance(err, CRIError) else str(err)
            context.counters.pods_failed[handler] += 1
            self.event(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}")
            self._later("", Waiting("ContainerCreating"))
            return
        self.memory.retry_at.pop("", None)

    async def volumes(self, pod: Obj, *, only_payload: bool = False) -> bool:
        """Sets volumes up, or brings their files up to date; whether all are there. What is not is reported."""
        volumes = self.context.volumes
        try:
            await (volumes.refresh(pod) if only_payload else volumes.prepare(pod))
        except NotMounted as err:
            self._not_mounted(pod, err)
            return False
        return True

    async def publish_again(self, pod: Obj) -> bool:
        """Has volumes brought up to date whose drivers want that; whether to do so again. What fails is reported."""
        try:
            return await self.context.volumes.publish_again(pod)
        except NotMounted as err:
            self._not_mounted(pod, err)
            return True

    def _not_mounted(self, pod: Obj, err: NotMounted) -> None:
        for reason, message in err.events:
            self.event(pod, "Warning", reason, message)

    async def _runtime_handler(self, pod: Obj) -> str:
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        return str((await self.context.client.get(RUNTIME_CLASS, name)).get("handler") or "")

    def _users(self, pod: Obj, handler: str) -> dict[str, Any] | None:
        context = self.context
        return userns.of(pod, context.machine.features, handler, context.folders.pods)

    def _sandbox_config(self, pod: Obj, attempt: int, users: dict[str, Any] | None) -> Obj:
        machine = self.context.machine
        pod = self.context.folders.with_groups(pod)
        return configs.sandbox(pod, attempt, machine, dns.dns_config(pod, machine, self.context.dns()), users)

    # Containers

    async def container(self, pod: Obj, action: StartContainer) -> None:
        """Image, configuration, create, start, postStart. Failures become the container's waiting state."""
        name = action.name
        spec = view.find(pod, name)
        assert spec is not None
        if action.previous:
            self.memory.crashes.next(crash_key(spec), action.previous, self.context.now())
        try:
            async with self.context.rush:
                container_id = await self._start(pod, spec, action.attempt)
        except ImageError as err:
            self._image_failed(pod, name, err)
        except _SandboxDied:
            return
        except ConfigError as err:
            self._failed(pod, name, Waiting("CreateContainerConfigError", str(err)))
        except _NotReady:
            self._later(name, Waiting("ContainerCreating"), _VOLUMES_WAIT_SECONDS)
        except _StepError as err:
            self._failed(pod, name, Waiting(err.reason, err.message))
        except APIError as err:
            self._failed(pod, name, Waiting("CreateContainerConfigError", err.message))
        except Unavailable:
            raise
        except CRIError as err:
            self._failed(pod, name, Waiting("ImageInspectError", err.text))
        else:
            self.memory.waiting.pop(name, None)
            self.memory.retry_at.pop(name, None)
            self.memory.setups.forget(name)
            await self.adopt(pod, spec, container_id)

    async def _start(self, pod: Obj, spec: Obj, attempt: int) -> str:
        context, name = self.context, spec["name"]
        sandbox = self.records.observed().sandbox
        if sandbox is None or not sandbox.ready:
            raise _StepError("CreateContainerError", "the pod's sandbox is gone")
        namespace = view.key(pod)[0]
        pull_secrets = [ref["name"] for ref in pod["spec"].get("imagePullSecrets") or () if ref.get("name")]
        maps, secrets = env.referenced(pod)
        secret_objects, config_maps = await asyncio.gather(
            context.objects.secrets(namespace, {*secrets, *pull_secrets}),
            context.objects.config_maps(namespace, maps),
        )
        if missing := [s for s in pull_secrets if s not in secret_objects]:
            text = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image "
            self.event(pod, "Warning", "FailedToRetrieveImagePullSecret", f"{text}may not succeed.")
        began = context.now()
        image = await context.images.ensure(
            spec.get("image") or "",
            spec.get("imagePullPolicy") or "",
            [secret_objects[s] for s in pull_secrets if s in secret_objects],
            lambda kind, reason, text: self.event(pod, kind, reason, text, name),
        )
        context.counters.pulled(view.uid(pod), context.now() - began)
        await self._image_volumes(pod, spec, [secret_objects[s] for s in pull_secrets if s in secret_objects])
        if not context.folders.ready(pod, spec) and not await self.volumes(pod):
            raise _NotReady
        users = self._users(pod, sandbox.runtime_handler)
        ips = context.machine.node_ips if view.host_network(pod) else sandbox.ips
        sources = Sources(
            config_maps,
            secret_objects,
            context.services(),
            context.allocatable(),
            ips,
            context.machine.node_ips,
            lambda volume: context.folders.named(pod, volume),
        )
        variables = env.environment(pod, spec, sources)
        able = sandbox.runtime_handler in context.machine.features.recursive_read_only
        mounts = context.folders.mounts(pod, spec, variables, recursive_read_only=able)
        config = configs.container(
            context.folders.with_groups(pod),
            spec,
            attempt,
            image=image,
            env=variables,
            mounts=mounts + ownfiles.mounts(pod, spec, attempt, context, ips),
            machine=context.machine,
            users=users,
            devices=context.folders.devices(pod, spec),
        )
        self._aim(pod, spec, config)
        await context.devices.add(pod, spec, config)
        sandbox_config = self._sandbox_config(pod, sandbox.attempt, users)
        (Path(sandbox_config["log_directory"]) / name).mkdir(parents=True, exist_ok=True)
        try:
            container_id = await context.runtime.create_container(sandbox.id, config, sandbox_config)
        except Unavailable:
            raise
        except CRIError as err:
            await self._check_sandbox(sandbox.id, name)
            raise _StepError("CreateContainerError", err.message) from err
        self.event(pod, "Normal", "Created", "Container created", name)
        await self._run(name, container_id, sandbox.id)
        self.event(pod, "Normal", "Started", "Container started", name)
        if sandbox.runtime_handler:
            context.rich.started(sandbox.runtime_handler)
        context.counters.started[view.container_type(pod, name)] += 1
        self._begin(pod, spec, container_id)
        await self.records.container(container_id, sandbox.id)
        return container_id

    async def _run(self, name: str, container_id: str, sandbox_id: str) -> None:
        """Starts a container that was created. Raises _StepError, _SandboxDied."""
        try:
            await self.context.runtime.start_container(container_id)
        except Unavailable:
            raise
        except CRIError as err:
            # In this order: once its end is known, the pod may be over, and the sandbox stopped for that.
            await self._check_sandbox(sandbox_id, name, container_id)
            await self.records.container(container_id, sandbox_id)
            raise _StepError("RunContainerError", err.message) from err

    async def _image_volumes(self, pod: Obj, spec: Obj, secrets: list[Obj]) -> None:
        """Pulls and mounts the images that a container has as volumes. Raises ImageError, _NotReady."""
        context, used = self.context, view.used_by(spec)
        for volume in pod["spec"].get("volumes") or ():
            if "image" not in volume or volume["name"] not in used or context.folders.has(pod, volume["name"]):
                continue
            source = volume["image"]
            report = functools.partial(self.event, pod, container=spec["name"])
            image = await context.images.ensure(
                source.get("reference") or "", source.get("pullPolicy") or "", secrets, report
            )
            try:
                await context.volumes.add_image(pod, volume, image)
            except NotMounted as err:
                self._not_mounted(pod, err)
                raise _NotReady from err

    def _aim(self, pod: Obj, spec: Obj, config: Obj) -> None:
        """An ephemeral container with a target shares its processes. Raises ConfigError."""
        name = spec.get("targetContainerName")
        if not name:
            return
        target = self.records.observed().newest(name)
        if target is None:
            raise ConfigError(f"unable to find target container {name}")
        security.share_processes(config, target.id)

    async def _check_sandbox(self, sandbox_id: str, name: str, container_id: str = "") -> None:
        """After a failed start: when the sandbox has died, the container is not to blame. Raises _SandboxDied."""
        for pause in _SANDBOX_DIES_SECONDS:
            await asyncio.sleep(pause)
            await self.records.sandbox(sandbox_id)
            sandbox = self.records.sandboxes.get(sandbox_id)
            if sandbox is None or not sandbox.ready:
                if container_id:
                    await self.records.remove_container(container_id)
                self.memory.crashes.forget(f"{name} ")
                raise _SandboxDied

    def _begin(self, pod: Obj, spec: Obj, container_id: str) -> None:
        memory = self.memory
        memory.started[container_id] = not spec.get("startupProbe")
        memory.ready[container_id] = not spec.get("readinessProbe")
        if (spec.get("lifecycle") or {}).get("postStart"):
            memory.started[container_id] = False
            memory.hooking.add(container_id)

    async def adopt(self, pod: Obj, spec: Obj, container_id: str) -> None:
        """Runs postStart of a fresh container, then its probes."""
        hook = (spec.get("lifecycle") or {}).get("postStart")
        container = self.records.containers.get(container_id)
        if container is None:
            return
        if hook:
            # Nobody is to take it for running before the hook has ended.
            self.memory.hooking.add(container_id)
            try:
                if not await self._post_start(pod, spec, container_id, hook):
                    return
            finally:
                self.memory.hooking.discard(container_id)
            self.memory.started[container_id] = not spec.get("startupProbe")
        self.context.prober.watch(self.sink, pod, spec, container, self.pod_ip(pod))

    async def _post_start(self, pod: Obj, spec: Obj, container_id: str, hook: Obj) -> bool:
        subject = handlers.Subject(spec, container_id, self.pod_ip(pod), self.context.runtime, 3600)
        outcome = await handlers.hook(hook, subject)
        if outcome.warning:
            self.event(pod, "Warning", "LifecycleHTTPFallback", outcome.message, spec["name"])
        if outcome.ok:
            return True
        # What a hook printed may be secret, and events are read by many.
        log.warning("pod %s: postStart of %s failed: %s", view.full_name(pod), spec["name"], outcome.message)
        self.event(pod, "Warning", "FailedPostStartHook", "PostStartHook failed", spec["name"])
        self.memory.doomed[container_id] = "FailedPostStartHook"
        return False

    def pod_ip(self, pod: Obj) -> str:
        """The address at which the pod's probes and hooks are reached."""
        sandbox = self.records.observed().sandbox
        if view.host_network(pod) or sandbox is None or not sandbox.ips:
            return self.context.machine.node_ip
        return sandbox.ips[0]

    # Failures

    def _failed(self, pod: Obj, name: str, why: Waiting) -> None:
        self.context.counters.start_failed[(view.container_type(pod, name), why.reason)] += 1
        self.event(pod, "Warning", "Failed", f"Error: {why.message}", name)
        if why.reason == "RunContainerError":
            # It was made and has ended: what follows is for its restart policy and the back-off of crashes to say.
            self.memory.waiting[name] = why
        else:
            self._later(name, why)

    def _image_failed(self, pod: Obj, name: str, err: ImageError) -> None:
        now = self.context.now()
        if err.reason == "InvalidImageName":
            self.event(pod, "Warning", "InspectFailed", err.message, name)
        self.event(pod, "Warning", "Failed", f"Error: {err.reason}", name)
        self.memory.pulls.next(name, now, now)
        self.memory.retry_at[name] = now + self.memory.pulls.delay(name)
        self.memory.waiting[name] = Waiting(err.reason, err.message)

    def back_off_pull(self, pod: Obj, name: str) -> None:
        """What follows a failed pull a moment later: ImagePullBackOff until the next try."""
        spec = view.find(pod, name) or {}
        why = self.memory.waiting.get(name)
        if why is None or why.reason not in PULL_REASONS:
            return
        text = f'Back-off pulling image "{spec.get("image")}"'
        self.memory.waiting[name] = Waiting("ImagePullBackOff", f"{text}: {why.reason}: {why.message}")
        self.event(pod, "Normal", "BackOff", text, name)
        self.event(pod, "Warning", "Failed", "Error: ImagePullBackOff", name)

    def _later(self, name: str, why: Waiting, longest: float = math.inf) -> None:
        now = self.context.now()
        self.memory.setups.next(name, now, now)
        self.memory.retry_at[name] = now + min(self.memory.setups.delay(name), longest)
        if name:
            self.memory.waiting[name] = why


class _SandboxDied(Exception):
    """The plan makes a new one."""


class _NotReady(Exception):
    """A volume is not there; that was reported."""


class _StepError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def parent_of(pod: Obj, context: Context) -> str:
    """The pod's cgroup."""
    return resources.cgroup_parent(context.machine.cgroup_root, pod)

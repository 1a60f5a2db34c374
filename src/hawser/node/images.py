"""Images for containers: pull policies, one pull at a time for each image, credentials.

Source: Kubernetes documentation, "Images" (pull policy, ImagePullBackOff, imagePullSecrets).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hawser.api.types import Obj
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Image

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[\w][\w.-]{{0,127}})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]{{32,}})?"
)
_DOCKER_HUB = "https://index.docker.io/v1/"

Report = Callable[[str, str, str], None]
"""Called with an event's type, reason and message."""


class ImageError(Exception):
    """The image cannot be had now. reason: of the waiting state. pulled: a pull was tried, so back-off applies."""

    def __init__(self, reason: str, message: str, *, pulled: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.pulled = pulled


def check_name(name: str) -> None:
    """Raises ImageError InvalidImageName."""
    if not _REFERENCE.fullmatch(name):
        text = f'couldn\'t parse image name "{name}": invalid reference format'
        if name != name.lower():
            text += ": repository name must be lowercase"
        raise ImageError("InvalidImageName", f'Failed to apply default image tag "{name}": {text}')


def must_pull(policy: str, image: str, present: bool) -> bool:
    """Whether a policy asks for a pull; without one, ``:latest`` and no tag mean Always."""
    if not policy:
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        policy = "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent"
    return policy == "Always" or (policy == "IfNotPresent" and not present)


def credentials(image: str, secrets: Iterable[Obj]) -> list[dict[str, str]]:
    """AuthConfigs of pull secrets that fit an image's registry, the most specific first."""
    found: list[tuple[int, dict[str, str]]] = []
    for secret in secrets:
        data = secret.get("data") or {}
        for name, inner in ((".dockerconfigjson", "auths"), (".dockercfg", "")):
            if name not in data:
                continue
            try:
                loaded = json.loads(base64.b64decode(data[name]))
            except ValueError:
                continue
            for registry, entry in (loaded.get(inner) if inner else loaded or {}).items():
                place = registry.removeprefix("https://").removeprefix("http://").rstrip("/")
                place = place.removesuffix("/v1").removesuffix("/v2")
                place = "docker.io" if place == "index.docker.io" else place
                if image.startswith(f"{place}/") or (place == "docker.io" and "." not in image.split("/")[0]):
                    found.append((len(place), _auth(entry)))
    return [auth for _, auth in sorted(found, key=lambda pair: -pair[0])]


def _auth(entry: Obj) -> dict[str, str]:
    user, password = entry.get("username") or "", entry.get("password") or ""
    if not user and entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
    auth = {"username": user, "password": password}
    if entry.get("identitytoken"):
        auth["identity_token"] = entry["identitytoken"]
    return auth


@dataclass(slots=True)
class _Pull:
    task: asyncio.Task[str]
    waiters: int = 0


class Images:
    """Gets images for containers from the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pulls: dict[str, _Pull] = {}
        # As kubelet's default, one pull at a time: they share the disk and the line.
        self._turn = asyncio.Lock()

    async def ensure(self, image: str, policy: str, secrets: Iterable[Obj], report: Report) -> Image:
        """The image, pulled when its policy asks for that. Raises ImageError, CRIError."""
        check_name(image)
        present = await self._runtime.image_status(image)
        if policy == "Never" and present is None:
            raise ImageError("ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never')
        if present is not None and (policy == "Never" or not must_pull(policy, image, True)):
            report(
                "Normal",
                "Pulled",
                f'Container image "{image}" already present on machine and can be accessed by the pod',
            )
            return present
        report("Normal", "Pulling", f'Pulling image "{image}"')
        started = time.monotonic()
        try:
            reference = await self._pull(image, credentials(image, secrets))
        except CRIError as err:
            text = f'failed to pull and unpack image "{image}": {err.message}'
            report("Warning", "Failed", f'Failed to pull image "{image}": {err.text}')
            raise ImageError("ErrImagePull", text, pulled=True) from err
        pulled = await self._runtime.image_status(reference or image)
        if pulled is None:
            raise ImageError("ImageInspectError", f'Failed to inspect image "{image}"')
        took = _duration(time.monotonic() - started)
        text = f'Successfully pulled image "{image}" in {took} ({took} including waiting).'
        report("Normal", "Pulled", f"{text} Image size: {pulled.size} bytes.")
        return pulled

    async def _pull(self, image: str, auths: list[dict[str, str]]) -> str:
        pull = self._pulls.get(image)
        if pull is None:
            pull = _Pull(asyncio.create_task(self._pull_once(image, auths), name=f"pull {image}"))
            self._pulls[image] = pull
        pull.waiters += 1
        try:
            return await asyncio.shield(pull.task)
        finally:
            pull.waiters -= 1
            if pull.task.done() or pull.waiters == 0:
                pull.task.cancel()
                self._pulls.pop(image, None)

    async def _pull_once(self, image: str, auths: list[dict[str, str]]) -> str:
        async with self._turn:
            failure: CRIError | None = None
            for auth in auths or [{}]:
                try:
                    return await self._runtime.pull_image(image, auth)
                except CRIError as err:
                    failure = err
            assert failure is not None
            raise failure


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"

"""Images for containers: pull policies, pulls in turn, credentials, and who may use what is here.

Source: Kubernetes documentation, "Images" (pull policy, ImagePullBackOff, imagePullSecrets); KEP-2535.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hawser.api import durations
from hawser.api.types import Obj
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unavailable
from hawser.node.cri.model import Image
from hawser.node.images.keyring import Credentials, credentials
from hawser.node.images.names import problem
from hawser.node.images.records import PullRecords

# Words with which a runtime begins its message; they become the container's reason.
_PREFIXES = {
    "RegistryUnavailable": "the registry is unavailable",
    "SignatureValidationFailed": "the signature validation failed",
}
PULL_REASONS = frozenset({"ErrImagePull", *_PREFIXES})
"""Reasons of a failed pull, which ImagePullBackOff follows."""

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
    if text := problem(name):
        raise ImageError("InvalidImageName", text)


def pull_policy(policy: str, image: str) -> str:
    """Always, IfNotPresent or Never; without one, ``:latest`` and no tag mean Always."""
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    return policy or ("Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent")


@dataclass(frozen=True, slots=True)
class _Pulled:
    reference: str
    used: Credentials | None
    seconds: float


@dataclass(slots=True)
class _Pull:
    task: asyncio.Task[_Pulled]
    waiters: int = 0


class Images:
    """Gets images for containers from the runtime. at_once: how many pulls run beside each other, 1 as kubelet's
    default: they share the disk and the line."""

    def __init__(self, runtime: Runtime, records: PullRecords, at_once: int = 1) -> None:
        self._runtime = runtime
        self._records = records
        self._pulls: dict[tuple[str, tuple[Credentials, ...]], _Pull] = {}
        self._turns = asyncio.Semaphore(at_once)

    async def ensure(self, image: str, policy: str, secrets: Iterable[Obj], report: Report) -> Image:
        """The image, pulled when its policy asks for that or the pod has not shown yet that it may use it. Raises
        ImageError."""
        check_name(image)
        policy = pull_policy(policy, image)
        present = None if policy == "Always" else await self._inspect(image, report)
        shown = tuple(credentials(image, secrets))
        if present is not None and not self._records.must_pull(image, present.id, shown):
            text = f'Container image "{image}" already present on machine and can be accessed by the pod'
            report("Normal", "Pulled", text)
            return present
        if policy == "Never":
            text = f'Container image "{image}" is not present with pull policy of Never'
            report("Warning", "ErrImageNeverPull", text)
            raise ImageError("ErrImageNeverPull", text)
        return await self._get(image, shown, report)

    async def _inspect(self, image: str, report: Report) -> Image | None:
        try:
            return await self._runtime.image_status(image)
        except Unavailable:
            # The runtime is being started again: nothing is said of the image.
            raise
        except CRIError as err:
            text = f'Failed to inspect image "{image}": {err.text}'
            report("Warning", "InspectFailed", text)
            raise ImageError("ImageInspectError", text) from err

    async def _get(self, image: str, shown: tuple[Credentials, ...], report: Report) -> Image:
        report("Normal", "Pulling", f'Pulling image "{image}"')
        started = time.monotonic()
        try:
            pulled = await self._pull(image, shown)
        except CRIError as err:
            # The code says nothing that the words do not say.
            text = err.message if err.code == "UNKNOWN" else err.text
            report("Warning", "Failed", f'Failed to pull image "{image}": {text}')
            raise _failure(image, text) from err
        found = await self._inspect(pulled.reference or image, report)
        if found is None:
            raise ImageError("ImageInspectError", f'Failed to inspect image "{image}": it is gone again')
        self._records.pulled(image, found.id, pulled.used)
        took, waited = durations.text(pulled.seconds), durations.text(time.monotonic() - started)
        text = f'Successfully pulled image "{image}" in {took} ({waited} including waiting).'
        report("Normal", "Pulled", f"{text} Image size: {found.size} bytes.")
        return found

    async def _pull(self, image: str, shown: tuple[Credentials, ...]) -> _Pulled:
        """One pull for all who want the same with the same right to it."""
        key = (image, shown)
        pull = self._pulls.get(key)
        if pull is None:
            pull = _Pull(asyncio.create_task(self._pull_once(image, shown), name=f"pull {image}"))
            self._pulls[key] = pull
        pull.waiters += 1
        try:
            return await asyncio.shield(pull.task)
        finally:
            pull.waiters -= 1
            if pull.task.done() or pull.waiters == 0:
                pull.task.cancel()
                if self._pulls.get(key) is pull:
                    del self._pulls[key]

    async def _pull_once(self, image: str, shown: tuple[Credentials, ...]) -> _Pulled:
        async with self._turns:
            began = time.monotonic()
            failure: CRIError | None = None
            self._records.intend(image)
            try:
                for one in shown or (None,):
                    try:
                        reference = await self._runtime.pull_image(image, dict(one.auth) if one is not None else {})
                        return _Pulled(reference, one, time.monotonic() - began)
                    except CRIError as err:
                        failure = err
                assert failure is not None
                raise failure
            except BaseException:
                self._records.failed(image)
                raise


def _failure(image: str, text: str) -> ImageError:
    for reason, why in _PREFIXES.items():
        if text.startswith(reason):
            message = f"image pull failed for {image} because {why}{text.removeprefix(reason)}"
            return ImageError(reason, message, pulled=True)
    return ImageError("ErrImagePull", text, pulled=True)

"""What a container gets of RichProfiles: asked by hawser-runtime when it makes one, answered by the node.

The API is asked each time, so a profile holds for the next container that starts. While the API server is away, a
container gets what it got the last time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hawser.api.errors import APIError
from hawser.api.kinds import NAMESPACE, POD
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import SystemClock, timestamp
from hawser.rich.profiles import merge
from hawser.rich.profiles.merge import PROFILE, Merged, ProfileError

log = logging.getLogger(__name__)

IMAGE_SECONDS = 15.0
"""So long a container waits for an agent's image; the pull goes on, and the container is tried again."""
_REMEMBERED = 1024
_STATIC = "kubernetes.io/config.hash"


class Roots(Protocol):
    """Where images' files are on this node."""

    async def files(self, image: str, policy: str) -> Obj:
        """`root`: a read-only directory with an image's files, or `layers`: those of its layers, the topmost first.
        Raises ProfileError."""


class Resolver:
    """Answers for the containers of one node.

    roots: None where images of agents cannot be had. machine: where the node's root directory is.
    """

    def __init__(self, client: Client, node: str, roots: Roots | None, machine: Path = Path("/")) -> None:
        self._client = client
        self._node = node
        self._roots = roots
        self._machine = machine
        self._last: OrderedDict[tuple[str, str], Merged | None] = OrderedDict()
        self._told: dict[str, tuple[int, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, asked: Obj) -> Obj:
        """The answer for a container: see hawser.runtime.profile for the words."""
        try:
            merged = await self._merged(asked)
            if merged is None:
                return {}
            try:
                agents = [merge.agent(entry, await self._files(name, entry)) for name, entry in merged.agents]
            except ProfileError as error:
                self._report(merged.profiles, error)
                raise
        except ProfileError as error:
            return {"error": str(error)}
        except APIError as error:
            return {"error": f"they can not be read: {error.message}"}
        self._report(merged.profiles, None)
        return _answer(merged, agents)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _merged(self, asked: Obj) -> Merged | None:
        """What profiles say of a container; what they said the last time while the API server is away."""
        key = (asked.get("uid", ""), asked.get("container", ""))
        try:
            merged = await self._found(asked)
        except APIError as error:
            if error.code not in (429, 500, 502, 503, 504) or key not in self._last:
                raise
            log.warning("container %s gets what profiles said before: %s", key[1], error.message)
            return self._last[key]
        self._last[key] = merged
        self._last.move_to_end(key)
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return merged

    async def _found(self, asked: Obj) -> Merged | None:
        profiles = await self._profiles()
        if not profiles:
            return None
        pod, namespace = await asyncio.gather(self._pod(asked), self._namespace(asked["namespace"]))
        chosen = merge.matching(profiles, namespace, pod)
        try:
            return merge.merge(chosen)
        except ProfileError as error:
            self._report(chosen, error)
            raise

    async def _profiles(self) -> list[Obj]:
        try:
            return list((await self._client.list(PROFILE)).items)
        except APIError as error:
            if error.code == 404:  # no such kind of object in this cluster
                return []
            raise

    async def _pod(self, asked: Obj) -> Obj:
        pod = await self._client.get(POD, asked["pod"], asked["namespace"])
        metadata = pod["metadata"]
        # A static pod's uid on the node is the hash of its manifest.
        if asked["uid"] not in (metadata["uid"], (metadata.get("annotations") or {}).get(_STATIC)):
            raise ProfileError(f"pod {asked['namespace']}/{asked['pod']} is another one now")
        return pod

    async def _namespace(self, name: str) -> Obj:
        found = (await self._client.list(NAMESPACE, field_selector=f"metadata.name={name}")).items
        if not found:
            raise ProfileError(f"namespace {name} is gone")
        return found[0]

    async def _files(self, profile: str, entry: Obj) -> Obj:
        if path := entry.get("hostPath"):
            place = self._machine / path.lstrip("/")
            # A link is the node's own: what it leads to is not seen from here.
            if not place.is_dir() and not place.is_symlink():
                raise ProfileError(f"agent {entry['name']}: node {self._node} has no directory {path}", profile)
            return {"root": str(path)}
        if self._roots is None:
            raise ProfileError(f"agent {entry['name']}: node {self._node} has no way to mount images", profile)
        try:
            async with asyncio.timeout(IMAGE_SECONDS):
                return await self._roots.files(entry["image"], entry.get("imagePullPolicy", ""))
        except ProfileError as error:
            raise ProfileError(f"agent {entry['name']}: {error.message}", profile) from None
        except TimeoutError:
            raise ProfileError(
                f"agent {entry['name']}: image {entry['image']} is still being pulled", profile
            ) from None

    def _report(self, profiles: Sequence[Obj], error: ProfileError | None) -> None:
        """Writes what changed of this node into the profiles' status, in the background."""
        for profile in profiles:
            metadata = profile["metadata"]
            problem = error.message if error is not None and error.profile == metadata["name"] else ""
            now = (metadata.get("generation", 0), problem)
            if (error is None or problem) and self._told.get(metadata["uid"]) != now:
                self._told[metadata["uid"]] = now
                task = asyncio.create_task(self._write(metadata, *now), name=f"status of {metadata['name']}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _write(self, metadata: Obj, generation: int, problem: str) -> None:
        row: Obj = {"node": self._node, "observedGeneration": generation, "ready": not problem}
        row["time"] = timestamp(SystemClock().now())
        if problem:
            row["problem"] = problem
        body = {
            "apiVersion": PROFILE.api_version,
            "kind": PROFILE.kind,
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "status": {"nodes": [row]},
        }
        try:
            await self._client.apply(PROFILE, body, f"hawser-rich-{self._node}", subresource="status")
        except APIError as error:
            self._told.pop(metadata["uid"], None)
            log.warning("the status of RichProfile %s is written later: %s", metadata["name"], error.message)


def _answer(merged: Merged, agents: list[Obj]) -> Obj:
    answer: Obj = {"profiles": [profile["metadata"]["name"] for profile in merged.profiles]}
    answer |= {"defaults": merged.defaults, "enable": merged.enable, "mask": merged.mask, "agents": agents}
    return answer | merged.hooks

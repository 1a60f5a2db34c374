"""What follows the commit of a CustomResourceDefinition: it is served, its names are settled, its end is seen to.

Source: Kubernetes documentation, "Finalizers" and "Deleting a CustomResourceDefinition": the objects go first.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

import orjson

from hawser.api.crd.kinds import FINALIZER
from hawser.api.errors import APIError
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION
from hawser.api.types import Obj
from hawser.apiserver.custom.resource import CustomResource
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options, timestamp
from hawser.store.base import EventType, Expired, StoreUnavailable

log = logging.getLogger("hawser.apiserver")
_AT_ONCE = 64
_LOOK_AGAIN = 5.0


class DefinitionController:
    """Follows the store; one task a definition under deletion."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._catalog = resources.catalog
        self._definitions = resources[CUSTOM_RESOURCE_DEFINITION]
        self._ending: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                start = self._definitions.store.revision
                self._resources.load_definitions()
                self._settle(group)
                try:
                    await self._follow(start, group)
                except Expired:
                    log.warning("the watch of CustomResourceDefinitions fell behind; reading them again")

    async def _follow(self, start: int, group: asyncio.TaskGroup) -> None:
        watch = self._definitions.store.watch(self._definitions.prefix, start)
        try:
            async for batch in watch:
                for event in batch:
                    crd: Obj = orjson.loads(event.record.value)
                    if event.type is EventType.DELETED:
                        self._catalog.forget(crd["metadata"]["name"])
                    else:
                        self._catalog.keep([crd])
                self._settle(group)
        finally:
            watch.close()

    def _settle(self, group: asyncio.TaskGroup) -> None:
        """Start what the definitions, as they are now, ask for."""
        now = timestamp(self._resources.now())
        for crd in self._catalog.definitions():
            name = crd["metadata"]["name"]
            if crd["metadata"].get("deletionTimestamp"):
                if FINALIZER in (crd["metadata"].get("finalizers") or ()) and name not in self._ending:
                    self._ending.add(name)
                    group.create_task(self._end(name))
            elif self._catalog.status(crd, now) != crd.get("status"):
                group.create_task(self._write_status(name))

    async def _write_status(self, name: str) -> None:
        """Names that were taken are free now, or two definitions were written at the same moment."""
        now = timestamp(self._resources.now())

        def change(old: Obj) -> Obj:
            return {**old, "metadata": dict(old["metadata"]), "status": self._catalog.status(old, now)}

        try:
            await self._definitions.update("", name, change, Options(), status=True)
        except (APIError, StoreUnavailable) as error:
            log.warning("the status of CustomResourceDefinition %s was not written: %s", name, error)

    async def _end(self, name: str) -> None:
        """Delete every object, wait until none is left, and let the definition go."""
        try:
            while (crd := self._catalog.get(name)) is not None:
                try:
                    if await self._empty(self._catalog.storage(crd), self._resources.now()):
                        await self._release(name)
                        return
                except (APIError, StoreUnavailable) as error:
                    log.warning("objects of CustomResourceDefinition %s were not deleted: %s", name, error)
                    await asyncio.sleep(1.0)
        finally:
            self._ending.discard(name)

    async def _empty(self, resource: CustomResource, _now: datetime) -> bool:
        """Delete what is there; whether nothing is left. Otherwise returns when something has changed."""
        store = resource.store
        records = store.list(resource.prefix)
        if not records:
            return True
        start = store.revision
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> None:
            namespace, _, name = key.removeprefix(resource.prefix).rpartition("/")
            async with gate:
                try:
                    await resource.delete(namespace, name, DeleteOptions(), Options())
                except APIError as error:
                    if error.reason != "NotFound":
                        raise

        await asyncio.gather(*(one(record.key) for record in records))
        if not store.count(resource.prefix):
            return True
        # Somebody's finalizers hold the rest.
        watch = store.watch(resource.prefix, max(start, store.revision))
        try:
            async with asyncio.timeout(_LOOK_AGAIN):
                await anext(watch)
        except (TimeoutError, StopAsyncIteration, Expired):
            pass
        finally:
            watch.close()
        return not store.count(resource.prefix)

    async def _release(self, name: str) -> None:
        def change(old: Obj) -> Obj:
            finalizers = [f for f in old["metadata"].get("finalizers") or () if f != FINALIZER]
            return {**old, "metadata": {**old["metadata"], "finalizers": finalizers}}

        try:
            await self._definitions.update("", name, change, Options())
        except APIError as error:
            if error.reason != "NotFound":
                raise

"""Other API servers behind this one: who they are, whether they answer, and requests passed on to them.

Source: Kubernetes documentation, "Kubernetes API Aggregation Layer" and "Configure the Aggregation Layer" (the identity
headers); the reasons and messages of the Available condition are kube-aggregator's.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web

from hawser.api import kinds
from hawser.api.errors import APIError, service_unavailable
from hawser.api.kind import Kind
from hawser.api.kinds import API_SERVICE, CUSTOM_RESOURCE_DEFINITION, ENDPOINT_SLICE, SERVICE, RemoteVersion
from hawser.api.types import Obj
from hawser.apiserver.aggregation import services, specifications
from hawser.apiserver.aggregation.services import Reference
from hawser.apiserver.aggregation.specifications import Specifications
from hawser.apiserver.callouts import CalloutError, trust
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.identity import User
from hawser.apiserver.relay import Goal, Relay
from hawser.apiserver.reply import Answer
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options, timestamp
from hawser.exposition import family
from hawser.series import Counters
from hawser.store.base import StoreUnavailable

log = logging.getLogger("hawser.apiserver")
_LOOK_AGAIN = 30.0
_LOOK_SOON = 2.0
_CHECK_SECONDS = 5.0
_DOCUMENTS = specifications.INDEX + "/"


class Aggregator:
    """Serves what APIServices give to others. credentials: the client certificate and key that we show them."""

    def __init__(self, resources: Resources, relay: Relay, credentials: tuple[Path, Path] | None = None) -> None:
        self._resources = resources
        self._relay = relay
        self._credentials = credentials
        self._remote: dict[tuple[str, str], Reference] = {}
        self._rows: dict[str, list[Kind]] = {}
        self._specifications = Specifications(self._fetch)
        self._down: set[str] = set()
        self._up: set[str] = set()
        self._outages = Counters(
            "aggregator_unavailable_apiservice_total",
            "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
            ("name", "reason"),
        )
        self._news = asyncio.Event()
        self._load()
        resources.store.follow(resources[API_SERVICE].prefix, lambda events: self._load())
        resources.store.follow(resources[CUSTOM_RESOURCE_DEFINITION].prefix, lambda events: self._news.set())

    def _load(self) -> None:
        """Read all APIServices."""
        store = self._resources.store
        found = (services.reference(orjson.loads(r.value)) for r in store.list(self._resources[API_SERVICE].prefix))
        remote = sorted((r for r in found if r is not None), key=lambda r: r.order)
        self._remote = {(r.group, r.version): r for r in remote}
        self._rows = {r.name: self._rows.get(r.name, []) for r in remote}
        self._down &= self._rows.keys()
        self._up &= self._rows.keys()
        self._specifications.keep(self._rows)
        self._publish()
        self._news.set()

    def _publish(self) -> None:
        """Show in discovery what is served elsewhere, and who does not say now what that is."""
        kinds.serve_remote(
            RemoteVersion(one.group, one.version, True, tuple(self._rows[one.name]))
            if one.name in self._up
            else RemoteVersion(one.group, one.version, False)
            for one in self._remote.values()
        )

    def serves(self, path: str) -> Reference | None:
        """Who else serves a path below /apis, or the OpenAPI document of one; None when nobody does."""
        if not self._remote:
            return None
        documented = path.startswith(_DOCUMENTS)
        parts = path.removeprefix(specifications.INDEX if documented else "").split("/", 4)
        if len(parts) < 4 or parts[1] != "apis":
            return None
        found = self._remote.get((parts[2], parts[3]))
        if documented and found is not None and not self._specifications.has(found, path.removeprefix(_DOCUMENTS)):
            return None
        return found

    async def serve(self, request: web.BaseRequest, reference: Reference, user: User) -> Answer:
        """Pass a request on. APIError 503 when nobody is there, or has not answered the last check."""
        if reference.name not in self._up:
            # Whoever is answered finds the group in discovery, too.
            raise service_unavailable("service unavailable")
        try:
            goal = self._goal(reference, request._message.path)
        except CalloutError as error:
            raise service_unavailable(f"service unavailable: {error}") from None
        return await self._relay.serve(request, goal, identity(user))

    def _goal(self, reference: Reference, path: str) -> Goal:
        address = self._resources.callouts.resolve(reference.namespace, reference.service, reference.port)
        tls = _tls(reference.bundle, reference.insecure, self._credentials)
        return Goal(address.host, address.port, path, tls, f"{reference.service}.{reference.namespace}.svc")

    async def run(self) -> None:
        """Keep the APIServices of this server and the availability of the others up to date, until cancelled."""
        while True:
            self._news.clear()
            served, settled = kinds.served(), False
            try:
                await self._settle_local()
                settled = await self._check_all()
            except (APIError, StoreUnavailable) as error:
                log.warning("APIServices: %s", error)
            # Definitions are served a little after their event.
            wait = _LOOK_AGAIN if settled and served is kinds.served() else _LOOK_SOON
            # Not wait_for: it may swallow a cancellation that comes together with news (CPython issue 86296).
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()

    async def _settle_local(self) -> None:
        """One APIService a group version of our own, as kubectl get apiservices shows them."""
        resource = self._resources[API_SERVICE]
        wanted = services.local(kinds.served())
        held: dict[str, Obj] = {}
        for record in resource.store.list(resource.prefix):
            obj: Obj = orjson.loads(record.value)
            held[obj["metadata"]["name"]] = obj
        missing = [obj for name, obj in wanted.items() if name not in held]
        gone = [
            name
            for name, obj in held.items()
            if name not in wanted
            and services.AUTOMANAGED in (obj["metadata"].get("labels") or {})
            and not obj["spec"].get("service")
        ]
        await asyncio.gather(*(resource.create("", obj, Options()) for obj in missing))
        await asyncio.gather(*(resource.delete("", name, DeleteOptions(), Options()) for name in gone))
        names = [name for name in wanted if name not in held or services.needs_report(held[name])]
        await asyncio.gather(*(self._report(name, *services.LOCAL, True) for name in names))

    async def _check_all(self) -> bool:
        """Whether all others answered."""
        found = await asyncio.gather(*(self._check(reference) for reference in self._remote.values()))
        return all(found)

    async def _check(self, reference: Reference) -> bool:
        absent = services.absent(reference, *self._service(reference))
        if absent is not None:
            return await self._lost(reference, *absent)
        try:
            rows = await self._discover(reference)
        except CalloutError as error:
            return await self._lost(reference, "FailedDiscoveryCheck", str(error))
        if reference.name in self._rows:
            self._rows[reference.name] = rows
            self._up.add(reference.name)
            self._publish()
        await self._report(reference.name, "Passed", "all checks passed", True)
        await self._specifications.look(reference)
        # It may have gone meanwhile.
        self._specifications.keep(self._rows)
        return True

    async def _lost(self, reference: Reference, reason: str, message: str) -> bool:
        """Whoever serves this is not there: always False."""
        self._up.discard(reference.name)
        self._publish()
        await self._report(reference.name, reason, message, False)
        return False

    def _service(self, reference: Reference) -> tuple[Obj | None, list[Obj]]:
        """The Service behind an APIService, None when there is none, and its EndpointSlices."""
        slices = self._resources[ENDPOINT_SLICE]
        listed = slices.store.list(f"{slices.prefix}{reference.namespace}/")
        found = (orjson.loads(record.value) for record in listed)
        service = self._resources.find(SERVICE, reference.namespace, reference.service)
        return service, [each for each in found if services.is_of(each, reference.service)]

    async def _discover(self, reference: Reference) -> list[Kind]:
        """What the other server says that it serves. CalloutError."""
        goal = self._goal(reference, reference.root)
        where = f"failing or missing response from https://{goal.host}:{goal.port}{reference.root}"
        try:
            status, body = await self._fetch(reference, reference.root, _CHECKER)
        except CalloutError as error:
            raise CalloutError(f"{where}: {error}") from None
        if status != 200:
            raise CalloutError(f"{where}: bad status from https://{goal.host}:{goal.port}{reference.root}: {status}")
        try:
            document: Any = orjson.loads(body)
            return services.rows(reference.group, reference.version, document.get("resources") or ())
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            raise CalloutError(f"{where}: the answer is not an APIResourceList") from None

    async def _fetch(self, reference: Reference, path: str, user: User | None = None) -> tuple[int, bytes]:
        """Status and body of a GET of our own. CalloutError."""
        goal = self._goal(reference, path)
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                return await self._relay.fetch(goal, identity(user or _READER))
        except APIError as error:
            raise CalloutError(error.message) from None
        except TimeoutError:
            raise CalloutError("context deadline exceeded") from None

    async def _report(self, name: str, reason: str, message: str, good: bool) -> None:
        """Write an APIService's Available condition, when it is not so already."""
        now = timestamp(self._resources.now())
        if good:
            self._down.discard(name)
        elif name not in self._down:
            self._down.add(name)
            self._outages.add(name, reason)

        def change(old: Obj) -> Obj:
            return {**old, "status": services.available(reason, message, good, now, old.get("status") or {})}

        try:
            await self._resources[API_SERVICE].update("", name, change, Options(subresource="status"), status=True)
        except APIError as error:
            # It may be gone again.
            if error.reason != "NotFound":
                raise

    def metrics(self) -> Iterator[str]:
        """Who of the others is not there, as lines of Prometheus' text format."""
        name = "aggregator_unavailable_apiservice"
        if self._remote:
            yield family(name, "gauge", "Gauge of APIServices which are marked as unavailable by APIService name.")
        for one in self._remote.values():
            yield f'{name}{{name="{one.name}"}} {int(one.name in self._down)}'
        yield from self._outages.lines()


_CHECKER = User("system:kube-aggregator", groups=("system:masters",))
_READER = User("system:aggregator", groups=("system:authenticated",))
"""Who reads OpenAPI documents, as anybody may who is known."""


def identity(user: User) -> list[tuple[str, str]]:
    """The headers that tell another server who asks."""
    headers = [("X-Remote-User", user.name)]
    if user.uid:
        headers.append(("X-Remote-Uid", user.uid))
    headers += [("X-Remote-Group", group) for group in user.groups]
    headers += [(f"X-Remote-Extra-{quote(key, safe='')}", value) for key, values in user.extra for value in values]
    return headers


@lru_cache(maxsize=64)
def _tls(bundle: str, insecure: bool, credentials: tuple[Path, Path] | None) -> ssl.SSLContext:
    """TLS to another server. CalloutError when the bundle is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif bundle:
        trust(context, bundle)
    else:
        context.load_default_certs()
    if credentials is not None:
        try:
            context.load_cert_chain(*credentials)
        except (OSError, ssl.SSLError) as error:
            raise CalloutError(f"unable to load the proxy's client certificate: {error}") from None
    return context

"""Asking others over HTTPS: admission and conversion webhooks, by URL or by Service.

Source: API reference, WebhookClientConfig: a Service is called at its port by the name NAME.NAMESPACE.svc, which is
what its certificate must be for. Its endpoints are asked directly, so that it does not matter whether this host routes
Service addresses.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass
from functools import lru_cache
from random import choice
from typing import TYPE_CHECKING

import aiohttp
import orjson
from yarl import URL

from hawser.api.encoding import dumps
from hawser.api.kinds import ENDPOINT_SLICE, SERVICE
from hawser.api.types import Obj
from hawser.apiserver.relay import Address

if TYPE_CHECKING:
    from hawser.apiserver.resources import Resources

_ANSWER_LIMIT = 10 * 1024 * 1024
_SERVICE_LABEL = "kubernetes.io/service-name"


class CalloutError(Exception):
    """The other side could not be asked, or did not answer as it must; the text is for users."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect to. shown: the URL for people; url: the one to connect to; server: the name in TLS and Host."""

    shown: str
    url: str
    server: str
    tls: ssl.SSLContext


class Callouts:
    """One pool of connections for all of them."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, config: Obj, body: Obj, seconds: int) -> bytes:
        """The body of the answer to a POST. config: WebhookClientConfig. CalloutError; at most so many seconds."""
        place = self.place(config)
        query = f"{'&' if '?' in place.url else '?'}timeout={seconds}s"
        try:
            async with asyncio.timeout(seconds):
                return await self._post(place, query, dumps(body))
        except TimeoutError:
            raise CalloutError(f'Post "{place.shown}{query}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise CalloutError(f'Post "{place.shown}{query}": {error}') from None

    async def _post(self, place: Place, query: str, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
            )
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*", "Host": place.server}
        async with self._session.post(
            URL(place.url + query, encoded=True),
            data=body,
            headers=headers,
            ssl=place.tls,
            server_hostname=place.server.partition(":")[0],
            allow_redirects=False,
        ) as answer:
            data = await answer.content.read(_ANSWER_LIMIT)
            if answer.status != 200:
                text = data[:200].decode("utf-8", "replace").strip()
                raise CalloutError(
                    f"the server responded with the status code {answer.status}" + (f" ({text})" if text else "")
                )
            if not answer.content.at_eof():
                raise CalloutError(f"the answer is longer than {_ANSWER_LIMIT} bytes")
            return data

    def place(self, config: Obj) -> Place:
        """Where a WebhookClientConfig points to. CalloutError when there is no such place."""
        tls = _trusting(config.get("caBundle") or "")
        url = config.get("url")
        if url:
            parsed = URL(url)
            if parsed.scheme != "https" or not parsed.host:
                raise CalloutError(f'"{url}" is not a URL of the form https://host:port/path')
            server = parsed.host if parsed.explicit_port is None else f"{parsed.host}:{parsed.explicit_port}"
            return Place(url, url, server, tls)
        service = config.get("service")
        if not service:
            raise CalloutError("webhook configuration must have either service or URL")
        return self._service(service, tls)

    def _service(self, service: Obj, tls: ssl.SSLContext) -> Place:
        namespace, name, port = service["namespace"], service["name"], service.get("port") or 443
        path = "/" + (service.get("path") or "").lstrip("/")
        server = f"{name}.{namespace}.svc"
        shown = f"https://{server}:{port}{path}"
        address = self.resolve(namespace, name, port)
        return Place(shown, f"https://{address.authority}{path}", server, tls)

    def resolve(self, namespace: str, name: str, port: int) -> Address:
        """A ready endpoint of a Service's port. CalloutError when there is none."""
        found = self._resources.find(SERVICE, namespace, name)
        if found is None:
            raise CalloutError(f'service "{name}" not found')
        spec = found["spec"]
        if spec.get("type") == "ExternalName":
            return Address(spec["externalName"], port)
        wanted = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if wanted is None:
            raise CalloutError(f'no service port {port} found for service "{name}"')
        ready = list(self._endpoints(namespace, name, wanted.get("name") or ""))
        if not ready:
            raise CalloutError(f'no endpoints available for service "{name}"')
        return choice(ready)

    def _endpoints(self, namespace: str, name: str, port_name: str) -> list[Address]:
        ready: list[Address] = []
        slices = self._resources[ENDPOINT_SLICE]
        for record in slices.store.list(f"{slices.prefix}{namespace}/"):
            found: Obj = orjson.loads(record.value)
            if (found["metadata"].get("labels") or {}).get(_SERVICE_LABEL) != name:
                continue
            numbers = [
                p["port"] for p in found.get("ports") or () if (p.get("name") or "") == port_name and "port" in p
            ]
            ready += [
                Address(address, number)
                for number in numbers
                for endpoint in found.get("endpoints") or ()
                if (endpoint.get("conditions") or {}).get("ready", True)
                for address in endpoint["addresses"][:1]
            ]
        return ready


@lru_cache(maxsize=64)
def _trusting(bundle: str) -> ssl.SSLContext:
    """TLS that trusts a base64 bundle of PEM certificates, or without one what this host trusts. CalloutError."""
    if not bundle:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust(context, bundle)
    return context


def trust(context: ssl.SSLContext, bundle: str) -> None:
    """Make TLS trust a base64 bundle of PEM certificates. CalloutError when it is none."""
    try:
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
    except (ValueError, ssl.SSLError) as error:
        raise CalloutError(f"unable to load root certificates: {error}") from None

"""The proxy subresources of pods, services and nodes.

Source: API reference, "proxy" operations of Pod, Service and Node; Kubernetes documentation, "Access Services
Running on Clusters": the name may be ``[SCHEME:]NAME[:PORT]``, where a service's port is a number or a name.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from posixpath import normpath
from typing import NamedTuple

from aiohttp import web

from hawser.api.errors import bad_request, service_unavailable
from hawser.api.kinds import NODE, POD, SERVICE
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.agents import Agents
from hawser.apiserver.callouts import CalloutError
from hawser.apiserver.paths import Target
from hawser.apiserver.relay import Goal, Relay
from hawser.apiserver.reply import Answer, Reply
from hawser.apiserver.resources import Resources
from hawser.apiserver.scheme import Fields
from hawser.apiserver.writes import Options

_SCHEMES = ("http", "https")


class Named(NamedTuple):
    """``[SCHEME:]NAME[:PORT]``; what is not given is empty."""

    scheme: str
    name: str
    port: str


def split(text: str) -> Named:
    """Take a name with scheme and port apart. APIError 400."""
    parts = text.split(":")
    if len(parts) == 1:
        return Named("", parts[0], "")
    if len(parts) == 2 and parts[1]:
        return Named("", parts[0], parts[1])
    if len(parts) == 3 and parts[0] in _SCHEMES:
        return Named(parts[0], parts[1], parts[2])
    raise bad_request(f'invalid request "{text}"')


class Proxies:
    """Serves them."""

    def __init__(self, resources: Resources, agents: Agents, relay: Relay) -> None:
        self._resources = resources
        self._agents = agents
        self._relay = relay

    async def serve(self, request: web.BaseRequest, target: Target) -> Answer:
        """Answer a request for a proxy subresource. APIError 400, 403, 404, 503."""
        path, mark, query = request._message.path.partition("?")
        kind = target.kind
        assert kind is not None
        # /api/v1/nodes/NAME/proxy, or with /namespaces/NAME before: names may begin with "proxy", too.
        depth = 8 if target.namespace else 6
        prefix = "/".join(path.split("/", depth)[:depth])
        below = path.removeprefix(prefix)
        options = Options(user=target.user, fields=Fields(warnings=target.warnings))
        shown: Obj = {"kind": f"{kind.kind}ProxyOptions", "apiVersion": "v1", "path": below or "/"}
        asked = Request(Operation.CONNECT, kind, target.namespace, target.name, shown, None, options, "proxy")
        await self._resources.admission.admit(asked)
        if not below and request.method in ("GET", "HEAD"):
            # Relative links of a page need the slash.
            return Reply(b"", 301, "text/plain", (("Location", f"{path}/{mark}{query}"),))
        goal = self._goal(kind.plural, target, (below or "/") + mark + query)
        uri = normpath(prefix + below) + ("/" if below.endswith("/") else "")
        return await self._relay.serve(request, replace(goal, prefix=prefix), [("X-Forwarded-Uri", uri)])

    def _goal(self, plural: str, target: Target, path: str) -> Goal:
        named = split(target.name)
        if plural == NODE.plural:
            return self._node(named, path)
        tls = _unverified() if named.scheme == "https" else None
        if plural == POD.plural:
            host, port = self._pod(target.namespace, named)
        else:
            host, port = self._service(target.namespace, named)
        return Goal(host, port or (443 if tls else 80), path, tls)

    def _node(self, named: Named, path: str) -> Goal:
        self._resources[NODE].get("", named.name)
        address = self._agents.address(named.name)
        if named.port and named.port != str(address.port):
            tls = _unverified() if named.scheme == "https" else None
            return Goal(address.host, _number(named.port), path, tls)
        return Goal(address.host, address.port, path, self._agents.tls)

    def _pod(self, namespace: str, named: Named) -> tuple[str, int]:
        self._resources[POD].get(namespace, named.name)
        pod = self._resources.find(POD, namespace, named.name) or {}
        address: str = (pod.get("status") or {}).get("podIP") or ""
        _check(address)
        if named.port:
            return address, _number(named.port)
        ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
        return address, next((port["containerPort"] for port in ports if port.get("protocol", "TCP") == "TCP"), 0)

    def _service(self, namespace: str, named: Named) -> tuple[str, int]:
        self._resources[SERVICE].get(namespace, named.name)
        service = self._resources.find(SERVICE, namespace, named.name) or {}
        ports: list[Obj] = service["spec"].get("ports") or []
        # Without a port it is the only one, or the one without a name.
        if named.port:
            chosen = next((p for p in ports if named.port in (p.get("name"), str(p["port"]))), None)
        else:
            chosen = ports[0] if len(ports) == 1 else next((p for p in ports if not p.get("name")), None)
        if chosen is None:
            raise service_unavailable(f'no service port "{named.port}" found for service "{named.name}"')
        try:
            address = self._resources.callouts.resolve(namespace, named.name, chosen["port"])
        except CalloutError as error:
            raise service_unavailable(str(error)) from None
        _check(address.host)
        return address.host, address.port


def _check(address: str) -> None:
    """APIError 400 for addresses that whoever writes endpoints and pod states must not reach through this server."""
    try:
        ip = ip_address(address)
    except ValueError:
        raise bad_request("address not allowed") from None
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise bad_request("address not allowed")


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise bad_request(f'invalid port "{text}"')
    return int(text)


@cache
def _unverified() -> ssl.SSLContext:
    """TLS to a pod, whose certificate nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

"""Subresources whose bytes come from the node agent: log, exec, attach, port forwarding.

The server finds the agent, checks that the pod and container make sense, and passes bytes through: it does not
interpret WebSocket or SPDY streams. Source: API reference of pods/log, pods/exec, pods/attach, pods/portforward; the
agent's paths are the kubelet's.
"""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import parse_qsl, quote, urlencode

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, web

from hawser.api.errors import APIError, bad_request, internal, method_not_supported
from hawser.api.kinds import POD
from hawser.api.types import Obj
from hawser.apiserver import websocket
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.agents import Agents
from hawser.apiserver.connection import Connection
from hawser.apiserver.paths import Target
from hawser.apiserver.piping import UpgradeEnd, pipe, status
from hawser.apiserver.relay import Address
from hawser.apiserver.reply import LAST_CHUNK, Answer, Finished, Reply, chunk, chunked_head, drain
from hawser.apiserver.resources import Resources
from hawser.apiserver.scheme import Fields
from hawser.apiserver.websocket import Socket
from hawser.apiserver.writes import Options

STREAMS = ("attach", "exec", "log", "portforward")
_CONNECT_SECONDS = 10.0
_PLAIN = "text/plain"
_LOG_PARAMETERS = (
    "follow",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "stream",
    "tailLines",
    "timestamps",
)
# The agent's names for which streams are wanted.
_STREAM_PARAMETERS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_DROPPED = frozenset({"host", "authorization", "content-length", "transfer-encoding", "x-forwarded-for"})
_DROPPED_PREFIXES = ("x-remote-", "impersonate-")


class Streams:
    """Serves them."""

    def __init__(self, resources: Resources, agents: Agents) -> None:
        self._resources = resources
        self._agents = agents
        self._session: ClientSession | None = None

    async def close(self) -> None:
        """Close connections to agents."""
        if self._session is not None:
            await self._session.close()

    async def serve(self, request: web.BaseRequest, target: Target) -> Answer:
        """Answer a request for a streaming subresource. APIError 400, 404, 405, 500, 502."""
        pod: Obj = orjson.loads(self._resources[POD].get(target.namespace, target.name).value)
        query = parse_qsl(request._message.path.partition("?")[2], keep_blank_values=True)
        if target.subresource == "log":
            if target.verb != "get":
                raise method_not_supported("", "pods/log", target.verb)
            return await self._log(request, pod, target.query)
        if target.verb not in ("get", "create"):
            raise method_not_supported("", f"pods/{target.subresource}", target.verb)
        node = pod["spec"].get("nodeName")
        if not node:
            raise bad_request(f"pod {target.name} does not have a host assigned")
        if "upgrade" not in request.headers.get("Connection", "").lower():
            raise bad_request("Upgrade request required")
        posted = Options(user=target.user, fields=Fields(warnings=target.warnings))
        asked = Request(
            *(Operation.CONNECT, POD, target.namespace, target.name, _connect_options(target, query), None, posted),
            target.subresource,
        )
        await self._resources.admission.admit(asked)
        path = _agent_path(target, pod, query)
        return await self._upgrade(request, self._agents.address(node), path)

    async def _log(self, request: web.BaseRequest, pod: Obj, query: dict[str, str]) -> Answer:
        container = choose_container(pod, query.get("container", ""))
        node = pod["spec"].get("nodeName")
        if not node:
            return Reply(b"", 200, _PLAIN)
        address = self._agents.address(node)
        metadata = pod["metadata"]
        path = f"/containerLogs/{metadata['namespace']}/{metadata['name']}/{container}"
        wanted = {key: query[key] for key in _LOG_PARAMETERS if key in query}
        url = f"https://{address.authority}{path}" + (f"?{urlencode(wanted)}" if wanted else "")
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(total=None, connect=_CONNECT_SECONDS))
        try:
            async with self._session.get(url, ssl=self._agents.tls) as answer:
                if answer.status != 200:
                    raise _refused(answer.status, await answer.text())
                if websocket.wanted(request):
                    return await self._send(request, answer)
                return await self._copy(request, answer.content.iter_any())
        except ClientError as error:
            raise internal(f"Get {url!r}: {error}".replace("'", '"')) from None

    async def _send(self, request: web.BaseRequest, answer: ClientResponse) -> Finished:
        """A log's pieces as messages of a WebSocket."""
        connection = cast(Connection, request.protocol)
        socket = Socket.accept(request)

        def end() -> None:
            socket.leave()
            answer.close()

        # It ends with the client, however long the log is silent, and with the server.
        socket.closed.add_done_callback(lambda _: answer.close())
        connection.on_end = end
        try:
            await socket.send(b"")
            async for piece in answer.content.iter_any():
                await socket.send(piece)
        except (ClientError, ConnectionResetError):
            pass
        finally:
            connection.on_end = None
            await socket.finish()
        return Finished(keep_alive=False)

    async def _copy(self, request: web.BaseRequest, pieces: object) -> Finished:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        connection = cast(Connection, request.protocol)
        task = asyncio.current_task()
        assert task is not None
        ended = False

        def end() -> None:
            nonlocal ended
            ended = True
            task.cancel()

        # A log that is followed may be silent for ever: its reader's leaving ends it.
        connection.on_end = end
        transport.write(chunked_head(_PLAIN, request.keep_alive))
        try:
            async for piece in cast("asyncio.StreamReader", pieces):
                transport.write(chunk(piece))
                await drain(request)
        except asyncio.CancelledError:
            if not ended or request.transport is None:
                raise
            task.uncancel()
        except ClientError:
            # The agent went away in the middle: an incomplete body is all that can tell.
            transport.close()
            return Finished(keep_alive=False)
        finally:
            connection.on_end = None
        transport.write(LAST_CHUNK)
        return Finished(request.keep_alive)

    async def _upgrade(self, request: web.BaseRequest, address: Address, path: str) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, agent = await loop.create_connection(
                    UpgradeEnd, address.host, address.port, ssl=self._agents.tls, server_hostname=address.host
                )
        except (OSError, TimeoutError) as error:
            raise APIError(500, "InternalError", f"error dialing backend: {error or 'timeout'}", details={}) from None
        try:
            assert agent.transport is not None
            agent.transport.write(_head(request, address, path))
            head = await agent.head
            code = status(head)
            if code != 101:
                raise _refused(code, (await agent.body(head)).decode(errors="replace"))
            return await pipe(request, agent, head)
        except ConnectionError as error:
            raise APIError(500, "InternalError", f"error dialing backend: {error}", details={}) from None
        finally:
            agent.close()


_CONNECT_KINDS = {"attach": "PodAttachOptions", "exec": "PodExecOptions", "portforward": "PodPortForwardOptions"}


def _connect_options(target: Target, query: list[tuple[str, str]]) -> Obj:
    """What is asked for, as admission is told of it: PodExecOptions and the like."""
    options: Obj = {"kind": _CONNECT_KINDS[target.subresource], "apiVersion": "v1"}
    for key, value in query:
        if key == "command":
            options.setdefault("command", []).append(value)
        elif key == "ports":
            options.setdefault("ports", []).extend(int(port) for port in value.split(",") if port.isdecimal())
        elif key in _STREAM_PARAMETERS:
            options[key] = value.lower() in ("true", "1")
        elif key == "container":
            options["container"] = value
    return options


def choose_container(pod: Obj, name: str) -> str:
    """The named container, or the only one. APIError 400 in Kubernetes' words."""
    spec = pod["spec"]
    regular = [container["name"] for container in spec.get("containers") or []]
    inits = [container["name"] for container in spec.get("initContainers") or []]
    ephemeral = [container["name"] for container in spec.get("ephemeralContainers") or []]
    pod_name = pod["metadata"]["name"]
    if name:
        if name not in (*regular, *inits, *ephemeral):
            raise bad_request(f"container {name} is not valid for pod {pod_name}")
        return name
    if len(regular) == 1:
        return str(regular[0])
    message = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(regular)}]"
    if inits:
        message += f" or one of the init containers: [{' '.join(inits)}]"
    if ephemeral:
        message += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise bad_request(message)


def _agent_path(target: Target, pod: Obj, query: list[tuple[str, str]]) -> str:
    """The agent's path and query for an upgrade."""
    where = f"{quote(target.namespace)}/{quote(target.name)}"
    if target.subresource == "portforward":
        ports = [("port", port) for key, value in query if key == "ports" for port in value.split(",")]
        return f"/portForward/{where}" + (f"?{urlencode(ports)}" if ports else "")
    container = choose_container(pod, target.query.get("container", ""))
    wanted = [
        (_STREAM_PARAMETERS[key], "1")
        for key, value in query
        if key in _STREAM_PARAMETERS and value.lower() in ("true", "1")
    ]
    if not wanted:
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if target.subresource == "exec":
        command = [(key, value) for key, value in query if key == "command"]
        if not command:
            raise bad_request("you must specify at least one command for the container")
        wanted = command + wanted
    return f"/{target.subresource}/{where}/{quote(container)}?{urlencode(wanted)}"


def _head(request: web.BaseRequest, address: Address, path: str) -> bytes:
    """The client's request head, for the agent: new path, without the client's credentials."""
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {address.authority}", "Content-Length: 0"]
    for key, value in request.headers.items():
        name = key.lower()
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES):
            lines.append(f"{key}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def _refused(status: int, text: str) -> APIError:
    """The agent's no, as a Status."""
    message = text.strip() or f"the node agent answered {status}"
    reasons = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict"}
    if status in reasons:
        return APIError(status, reasons[status], message)
    return internal(message)

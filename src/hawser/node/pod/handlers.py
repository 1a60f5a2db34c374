"""One check or hook: exec, httpGet, tcpSocket, grpc or sleep, with kubelet's words for what went wrong.

Source: Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes", "Container Lifecycle Hooks".
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from hawser.api import durations
from hawser.api.types import Obj
from hawser.node.cri import schema
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, DeadlineExceeded, from_status
from hawser.node.rpc.channel import Channel, Code, NotConnected, RPCError

_BODY = 10 * 1024
_REDIRECTS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it went well, and what to say about it.

    error: set when the runtime could not run it, which says nothing about the container. warning: it went well, but
    the message is to be told.
    """

    ok: bool
    message: str = ""
    error: CRIError | None = None
    warning: bool = False


def port_number(port: int | str, container: Obj) -> int:
    """A port by number or by the name that the container gives it. Raises ValueError."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for row in container.get("ports") or ():
        if row.get("name") == port:
            return int(row["containerPort"])
    raise ValueError(f'couldn\'t find port: "{port}" in container {container["name"]}')


@dataclass(frozen=True, slots=True)
class Subject:
    """The container that is checked or told something. spec: of the pod's; seconds: how long it may take."""

    spec: Obj
    id: str
    pod_ip: str
    runtime: Runtime
    seconds: float


async def run(handler: Obj, subject: Subject) -> Outcome:
    """Runs a probe's check. Never raises but for cancellation."""
    return await _first(_CHECKS, handler, subject, "missing handler")


async def hook(handler: Obj, subject: Subject) -> Outcome:
    """Runs postStart or preStop; what an HTTP server answers does not matter. Never raises but for cancellation."""
    # tcpSocket is no handler of hooks: the API takes it, and it fails (API reference, LifecycleHandler).
    return await _first(_HOOKS, handler, subject, f"invalid handler: {', '.join(handler)}")


async def _first(kinds: Mapping[str, _Kind], handler: Obj, subject: Subject, otherwise: str) -> Outcome:
    try:
        for name, kind in kinds.items():
            if (spec := handler.get(name)) is not None:
                return await kind(spec, subject)
    except ValueError as err:
        return Outcome(False, str(err))
    return Outcome(False, otherwise)


async def _exec(spec: Obj, subject: Subject) -> Outcome:
    command = spec.get("command") or []
    try:
        result = await subject.runtime.exec_sync(subject.id, command, max(1, int(subject.seconds)))
    except DeadlineExceeded:
        return Outcome(False, f'command "{" ".join(command)}" timed out')
    except CRIError as err:
        return Outcome(False, err.text, err)
    text = (result.stdout + result.stderr)[:_BODY].decode(errors="replace")
    return Outcome(result.exit_code == 0, text)


async def _sleep(spec: Obj, subject: Subject) -> Outcome:
    await asyncio.sleep(min(float(spec.get("seconds") or 0), subject.seconds))
    return Outcome(True)


async def _tcp(spec: Obj, subject: Subject) -> Outcome:
    host, port = _place(spec, subject)
    try:
        async with asyncio.timeout(subject.seconds):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except TimeoutError:
        return Outcome(False, f"dial tcp {_address(host, port)}: i/o timeout")
    except OSError as err:
        return Outcome(False, f"dial tcp {_address(host, port)}: connect: {_reason(err)}")
    return Outcome(True)


async def _http(spec: Obj, subject: Subject) -> Outcome:
    url, headers = _target(spec, subject, "kube-probe")
    try:
        async with asyncio.timeout(subject.seconds):
            status, body = await _follow(url, headers)
    except (TimeoutError, OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as err:
        return Outcome(False, f'Get "{url}": {_why(err, url)}')
    if 300 <= status < 400:
        return Outcome(True, f"Probe terminated redirects, Response body: {body}", warning=True)
    if 200 <= status < 300:
        return Outcome(True, body)
    return Outcome(False, f"HTTP probe failed with statuscode: {status}")


async def _http_hook(spec: Obj, subject: Subject) -> Outcome:
    url, headers = _target(spec, subject, "kube-lifecycle")
    try:
        async with asyncio.timeout(subject.seconds):
            try:
                await _get(urlsplit(url), headers)
            except ssl.SSLError:
                # A server that speaks plain HTTP after all: hooks fell back to it before there was HTTPS for them.
                await _get(urlsplit(url.replace("https:", "http:", 1)), headers)
                place = urlsplit(url).netloc
                text = f"request to HTTPS lifecycle hook {place} got HTTP response, retry with HTTP succeeded"
                return Outcome(True, text, warning=True)
    except (TimeoutError, OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as err:
        return Outcome(False, f'Get "{url}": {_why(err, url)}')
    return Outcome(True)


def _place(spec: Obj, subject: Subject) -> tuple[str, int]:
    """Host and port of an action. Raises ValueError for a port that the container does not have."""
    return spec.get("host") or subject.pod_ip, port_number(spec["port"], subject.spec)


def _target(spec: Obj, subject: Subject, agent: str) -> tuple[str, dict[str, str]]:
    """URL and headers of an HTTPGetAction. Raises ValueError as ``_place``."""
    host, port = _place(spec, subject)
    path = spec.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    address = _address(host, port)
    headers = {"Host": address, "User-Agent": f"{agent}/1.36", "Accept": "*/*", "Connection": "close"}
    for row in spec.get("httpHeaders") or ():
        name = next((known for known in headers if known.lower() == row["name"].lower()), row["name"])
        headers[name] = row.get("value") or ""
    url = f"{(spec.get('scheme') or 'HTTP').lower()}://{address}{path}"
    return url, {name: value for name, value in headers.items() if value}


async def _follow(url: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and body behind redirects that stay on the host; those that leave it are answers."""
    place = urlsplit(url)
    for _ in range(_REDIRECTS):
        status, body, location = await _get(place, headers)
        if status not in (301, 302, 303, 307, 308) or not location:
            return status, body
        onward = urlsplit(urljoin(place.geturl(), location))
        if onward.hostname != place.hostname:
            return status, body
        place, headers = onward, {**headers, "Host": onward.netloc}
    raise ValueError(f"stopped after {_REDIRECTS} redirects")


async def _get(place: SplitResult, headers: dict[str, str]) -> tuple[int, str, str]:
    """Status, body and Location of one answer."""
    context: ssl.SSLContext | None = None
    if place.scheme == "https":
        # Probes do not verify certificates (documentation of HTTP probes).
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = place.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(place.hostname, port, ssl=context)
    try:
        path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        first = await reader.readuntil(b"\r\n")
        status = int(first.split(None, 2)[1])
        if status < 300:
            return status, "", ""
        head, _, body = (await reader.read(_BODY)).partition(b"\r\n\r\n")
        fields = (line.partition(b":") for line in head.split(b"\r\n"))
        location = next((value.strip().decode() for name, _, value in fields if name.lower() == b"location"), "")
        return status, body.decode(errors="replace"), location
    finally:
        writer.close()


def _why(err: Exception, url: str) -> str:
    """What went wrong with a request, in the words of Go's client."""
    if isinstance(err, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    if isinstance(err, OSError):
        return f"dial tcp {urlsplit(url).netloc}: connect: {_reason(err)}"
    return str(err) if str(err).startswith("stopped after") else "EOF"


async def _grpc(spec: Obj, subject: Subject) -> Outcome:
    address, seconds = _address(subject.pod_ip, int(spec["port"])), subject.seconds
    channel = Channel(address, "kube-probe/1.36")
    try:
        check = schema.health().method("Health", "Check")
        answer = await channel.call(check, {"service": spec.get("service") or ""}, seconds=seconds)
    except NotConnected:
        text = f'timeout: failed to connect service "{address}" within {durations.text(seconds)}'
        return Outcome(False, f"{text}: context deadline exceeded")
    except RPCError as err:
        return Outcome(False, _grpc_failure(err, seconds))
    finally:
        await channel.close()
    if answer.status == 1:
        return Outcome(True, "service healthy")
    names = {number: name for name, number in schema.health().enum("ServingStatus").items()}
    return Outcome(False, f'service unhealthy (responded with "{names.get(answer.status, answer.status)}")')


def _grpc_failure(err: RPCError, seconds: float) -> str:
    if err.code == Code.UNIMPLEMENTED:
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {err.details}"
    if err.code == Code.DEADLINE_EXCEEDED:
        return f"timeout: health rpc did not complete within {durations.text(seconds)}"
    return f"error: health rpc probe failed: {from_status(err).text}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(err: OSError) -> str:
    text = err.strerror or str(err)
    return text.split("(")[0].strip().lower() if "Connect call failed" not in text else "connection refused"


_Kind = Callable[[Obj, Subject], Awaitable[Outcome]]
_CHECKS: dict[str, _Kind] = {"exec": _exec, "httpGet": _http, "tcpSocket": _tcp, "grpc": _grpc}
_HOOKS: dict[str, _Kind] = {"exec": _exec, "httpGet": _http_hook, "sleep": _sleep}

"""``hawser exec``: a command in a container, over the API's WebSocket exec (subprotocol v5.channel.k8s.io)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import termios
import threading
import tty as terminal
from collections.abc import AsyncIterator, Callable, Iterator
from enum import IntEnum
from typing import Annotated, Any, BinaryIO

import aiohttp
import typer

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.cli import context
from hawser.cli.context import Container, DataDir, Failure, Namespace, Pod
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.client.client import Client

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_PIECE = 32768


class Channel(IntEnum):
    """First byte of each message (Kubernetes' remotecommand protocol)."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


def exec_(
    pod: Pod,
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    namespace: Namespace = "default",
    container: Container = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Pass standard input.")] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="A terminal.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run a command in a container; its exit code becomes this one's.

    Examples:

      hawser exec legacy-app -- systemctl status legacy-app

      hawser exec -it legacy-app -- bash

      hawser exec -i web -- sh -c 'cat > /tmp/f' < file
    """

    async def work() -> int:
        async with context.admin(context.running(data_dir)) as client:
            return await run(client, pod, namespace, container, command, stdin=stdin, tty=tty)

    raise typer.Exit(context.run(work))


async def run(
    client: Client, pod: str, namespace: str, container: str, command: list[str], *, stdin: bool, tty: bool
) -> int:
    """Runs a command with this process's standard streams; returns its exit code.

    Raises APIError when it cannot be started, Failure when the connection breaks.
    """
    if tty and not (stdin and sys.stdin.isatty()):
        tty = False
    params = [("command", c) for c in command]
    if container:
        params.append(("container", container))
    params += [("stdin", str(stdin).lower()), ("stdout", "true"), ("stderr", str(not tty).lower())]
    params.append(("tty", str(tty).lower()))
    async with _connected(client, pod, namespace, container, params) as socket:
        with _raw_terminal() if tty else contextlib.nullcontext():
            helpers = []
            if stdin:
                helpers.append(asyncio.create_task(_send_stdin(socket)))
            if tty:
                helpers.append(asyncio.create_task(_send_sizes(socket)))
            try:
                return await _receive(socket, sys.stdout.buffer, sys.stderr.buffer)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)


@contextlib.asynccontextmanager
async def _connected(
    client: Client, pod: str, namespace: str, container: str, params: list[tuple[str, str]]
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The exec's WebSocket. A refused one does not tell why: then the pod is asked."""
    connected = False
    try:
        async with client.websocket(POD.path(namespace, pod, "exec"), params, _PROTOCOLS) as socket:
            connected = True
            yield socket
    except APIError as e:
        if connected or e.code not in (400, 404, 500):
            raise
        if why := not_running(await client.get(POD, pod, namespace), container):
            raise Failure(why, f"kubectl describe pod {pod} -n {namespace} tells more") from None
        raise


def not_running(pod: dict[str, Any], container: str) -> str:
    """Why no command can run in a pod's container ("": the first); "" when one can."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    listed = [c["name"] for c in (*spec["containers"], *(spec.get("initContainers") or ()))]
    if container and container not in listed:
        return f"pod {name} has no container {container}; it has {', '.join(listed)}"
    wanted = container or listed[0]
    status = pod.get("status") or {}
    states = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    state: dict[str, Any] = next((s.get("state") or {} for s in states if s["name"] == wanted), {})
    if "running" in state:
        return ""
    kind = next(iter(state), str(status.get("phase", "Pending")).lower())
    reason = (state.get(kind) or {}).get("reason")
    return f"container {wanted} of pod {name} does not run: {kind}" + (f", {reason}" if reason else "")


async def capture(client: Client, pod: str, namespace: str, container: str, command: list[str]) -> tuple[int, str]:
    """Runs a command; returns its exit code and what it wrote to stdout and stderr."""
    written = io.BytesIO()
    code = await converse(client, pod, namespace, container, command, written, written)
    return code, written.getvalue().decode(errors="replace")


async def converse(
    client: Client,
    pod: str,
    namespace: str,
    container: str,
    command: list[str],
    stdout: BinaryIO,
    stderr: BinaryIO,
    stdin: BinaryIO | None = None,
    sent: Callable[[int], None] = lambda _size: None,
) -> int:
    """Runs a command with these streams; returns its exit code. sent: told the size of each piece of stdin.

    Older servers can not be told where stdin ends: a command should know how much to read. Raises APIError when it
    can not be started, Failure when the connection breaks.
    """
    params = [("command", c) for c in command]
    if container:
        params.append(("container", container))
    params += [("stdout", "true"), ("stderr", "true"), ("stdin", "false" if stdin is None else "true")]
    async with _connected(client, pod, namespace, container, params) as socket:
        feeding = asyncio.create_task(_feed(socket, stdin, sent)) if stdin is not None else None
        try:
            return await _receive(socket, stdout, stderr)
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)


async def _feed(socket: aiohttp.ClientWebSocketResponse, stdin: BinaryIO, sent: Callable[[int], None]) -> None:
    while data := stdin.read(_PIECE):
        await socket.send_bytes(bytes([Channel.STDIN]) + data)
        sent(len(data))
    await _end_stdin(socket)


async def _end_stdin(socket: aiohttp.ClientWebSocketResponse) -> None:
    if socket.protocol == _PROTOCOLS[0]:
        await socket.send_bytes(bytes([Channel.CLOSE, Channel.STDIN]))


async def _receive(socket: aiohttp.ClientWebSocketResponse, stdout: BinaryIO, stderr: BinaryIO) -> int:
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel in (Channel.STDOUT, Channel.STDERR):
            stream = stdout if channel == Channel.STDOUT else stderr
            stream.write(data)
            stream.flush()
        elif channel == Channel.ERROR and data:
            return exit_code(json.loads(data))
    raise Failure("the connection to the container was lost")


def exit_code(status: dict[str, Any]) -> int:
    """The exit code a Status of the error channel tells. Raises Failure when the command could not run."""
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise Failure(status.get("message") or "the command could not be run", code=126)


async def _send_stdin(socket: aiohttp.ClientWebSocketResponse) -> None:
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(1)

    def pump() -> None:
        data = b"."
        while data and wanted.acquire():
            try:
                data = os.read(sys.stdin.fileno(), _PIECE)
            except OSError:
                data = b""
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                loop.call_soon_threadsafe(read.put_nowait, data)

    # A thread of the loop's executor would be waited for at the end, and it ends only when something more is typed.
    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while data := await read.get():
        wanted.release()
        await socket.send_bytes(bytes([Channel.STDIN]) + data)
    await _end_stdin(socket)


async def _send_sizes(socket: aiohttp.ClientWebSocketResponse) -> None:
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            size = os.get_terminal_size(sys.stdout.fileno())
            body = json.dumps({"Width": size.columns, "Height": size.lines}).encode()
            await socket.send_bytes(bytes([Channel.RESIZE]) + body)
            await changed.wait()
            changed.clear()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        terminal.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)

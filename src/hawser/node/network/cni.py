"""CNI requests and answers, and the socket on which the plugin brings them. Source: CNI specification 1.0.0."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from hawser.node.network.netlink import Address
from hawser.node.network.plugin import CNI_VERSION, SUPPORTED
from hawser.node.network.records import HostPort

log = logging.getLogger(__name__)

_LIMIT = 1 << 20


class Code(IntEnum):
    """Well-known error codes of the specification, section 5."""

    INCOMPATIBLE_VERSION = 1
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    # 100 and above are a plugin's own.
    ADDRESS_UNAVAILABLE = 100
    LINK_FAILURE = 101


class CNIError(Exception):
    """A request that failed; becomes the specification's error result."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True)
class Request:
    """One execution of the plugin. args: CNI_ARGS; ports: the portMappings capability; version: cniVersion."""

    command: str
    container_id: str
    netns: str
    interface: str
    args: dict[str, str] = field(default_factory=dict)
    ports: tuple[HostPort, ...] = ()
    version: str = CNI_VERSION


def parse(data: bytes) -> Request:
    """Decode what the plugin sent. Raises CNIError."""
    fields = data.split(b"\0", 5)
    if len(fields) != 6:
        raise CNIError(Code.DECODING_FAILURE, "the plugin's request is cut short")
    command, container_id, netns, interface, args = (part.decode("utf-8", "replace") for part in fields[:5])
    try:
        config = json.loads(fields[5] or b"{}")
        if not isinstance(config, dict):
            raise ValueError("not an object")
        mappings = (config.get("runtimeConfig") or {}).get("portMappings") or []
        # containerd writes HostPort where the specification says hostPort; readers in Go do not mind.
        lowered = [{str(key).lower(): value for key, value in mapping.items()} for mapping in mappings]
        ports = tuple(_host_port(mapping) for mapping in lowered if mapping.get("hostport"))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CNIError(Code.DECODING_FAILURE, "network configuration cannot be decoded", str(error)) from error
    version = str(config.get("cniVersion") or "0.3.1")
    if version not in SUPPORTED:
        raise CNIError(Code.INCOMPATIBLE_VERSION, f"cniVersion {version} is not supported", f"supported: {SUPPORTED}")
    if not container_id or "/" in container_id or container_id.startswith("."):
        raise CNIError(Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID is missing or not a name")
    if not interface or len(interface) > 15 or "/" in interface:
        raise CNIError(Code.INVALID_ENVIRONMENT, "CNI_IFNAME is missing or not an interface name")
    if command == "ADD" and not netns:
        raise CNIError(Code.INVALID_ENVIRONMENT, "CNI_NETNS is missing")
    pairs = (pair.partition("=") for pair in args.split(";") if pair)
    return Request(command, container_id, netns, interface, {k: v for k, _, v in pairs}, ports, version)


def _host_port(mapping: dict[str, Any]) -> HostPort:
    return HostPort(
        protocol=str(mapping.get("protocol") or "tcp").lower(),
        host_port=int(mapping["hostport"]),
        container_port=int(mapping["containerport"]),
        host_ip=str(mapping.get("hostip") or ""),
    )


def added(
    request: Request, addresses: Iterable[Address], gateways: Mapping[int, Address], host_link: str, mac: str
) -> dict[str, Any]:
    """The result of ADD: two interfaces, the pod's addresses on the second, the default routes."""
    ips: list[dict[str, Any]] = []
    routes = []
    for address in addresses:
        gateway = str(gateways[address.version])
        ip = {"address": f"{address}/{address.max_prefixlen}", "gateway": gateway, "interface": 1}
        # Results before 1.0.0 name the family.
        ips.append(ip if request.version.startswith("1.") else {**ip, "version": str(address.version)})
        routes.append({"dst": "0.0.0.0/0" if address.version == 4 else "::/0", "gw": gateway})
    return {
        "cniVersion": request.version,
        "interfaces": [
            {"name": host_link, "mac": "ee:ee:ee:ee:ee:ee"},
            {"name": request.interface, "mac": mac, "sandbox": request.netns},
        ],
        "ips": ips,
        "routes": routes,
        "dns": {},
    }


def failed(error: CNIError) -> dict[str, Any]:
    """The specification's error result."""
    body = {"cniVersion": CNI_VERSION, "code": int(error.code), "msg": error.message}
    return {**body, "details": error.details} if error.details else body


Handler = Callable[[Request], Awaitable[dict[str, Any] | None]]


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Listen for plugins at a unix socket that only root may use; handler's result is printed, None prints nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            data = await reader.read(-1)
            writer.write(await _reply(data, handler))
            await writer.drain()
        except OSError as error:
            log.debug("a CNI plugin went away: %s", error)
        finally:
            writer.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path, limit=_LIMIT, backlog=1024)
    path.chmod(0o600)
    return server


async def _reply(data: bytes, handler: Handler) -> bytes:
    try:
        result = await handler(parse(data))
    except CNIError as error:
        log.warning("CNI request failed: %s %s", error.message, error.details)
        return b"1" + json.dumps(failed(error)).encode()
    except Exception as error:
        # Whatever went wrong, the runtime must get an answer to put into the pod's events.
        log.exception("CNI request failed")
        return b"1" + json.dumps(failed(CNIError(Code.IO_FAILURE, f"hawser: {error!r}"))).encode()
    return b"0" + (json.dumps(result).encode() if result is not None else b"")

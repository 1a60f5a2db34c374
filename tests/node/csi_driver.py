"""A CSI driver for tests: volumes are folders and loop devices of this machine, every call is written down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from hawser.node.csi import tables
from hawser.node.plugins import tables as plugins
from hawser.node.rpc.messages import Message
from hawser.node.volumes import mounts

NAME = "folders.csi.hawser.test"
Obj = dict[str, Any]


class FoldersDriver:
    """Publishes ``folder/<volume id>`` by bind mounts. calls: name and request of each RPC.

    broken: why it fails to publish. unwilling: the code with which it fails to expand.
    """

    def __init__(self, folder: Path, abilities: tuple[int, ...]) -> None:
        self.folder = folder
        self.abilities = abilities
        self.calls: list[tuple[str, Obj]] = []
        self.broken = ""
        self.unwilling: grpc.StatusCode | None = None
        self.registered: Obj = {}

    def named(self, *names: str) -> list[Obj]:
        """The requests of these RPCs."""
        return [request for name, request in self.calls if name in names]

    def answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Obj:
        """One RPC."""
        self.calls.append((name, _plain(request)))
        match name:
            case "GetInfo":
                socket = str(self.folder / "driver.sock")
                return {"type": "CSIPlugin", "name": NAME, "endpoint": socket, "supported_versions": ["1.0.0"]}
            case "NotifyRegistrationStatus":
                self.registered = {"ok": request.plugin_registered, "error": request.error}
            case "NodeGetInfo":
                topology = {"segments": {f"{NAME}/zone": "z1"}}
                return {"node_id": "this-node", "max_volumes_per_node": 7, "accessible_topology": topology}
            case "NodeGetCapabilities":
                return {"capabilities": [{"rpc": {"type": ability}} for ability in self.abilities]}
            case "NodePublishVolume":
                if self.broken:
                    context.abort(grpc.StatusCode.INTERNAL, self.broken)
                self._publish(request)
            case "NodeExpandVolume" if self.unwilling is not None:
                context.abort(self.unwilling, "not today")
            case "NodeUnpublishVolume":
                target = Path(request.target_path)
                if mounts.is_mounted(target):
                    mounts.unmount(target)
                if target.exists():
                    target.rmdir()
        return {}

    def _publish(self, request: Any) -> None:
        source, target = self.folder / request.volume_id, Path(request.target_path)
        source.mkdir(exist_ok=True)
        target.mkdir(exist_ok=True)
        if mounts.is_mounted(target):
            return
        mounts.bind(str(source), target, readonly=request.readonly)


@contextmanager
def running(folder: Path, registry: Path, *abilities: int) -> Iterator[FoldersDriver]:
    """A driver that has registered its socket in the node's registry."""
    driver = FoldersDriver(folder, abilities)
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = []
    for schema, package, service, names in (
        (plugins.registration(), "pluginregistration", "Registration", ("GetInfo", "NotifyRegistrationStatus")),
        (
            tables.csi(),
            "csi.v1",
            "Node",
            tuple(f"Node{word}" for word in ("GetInfo", "GetCapabilities"))
            + tuple(f"Node{word}Volume" for word in ("Stage", "Unstage", "Publish", "Unpublish", "Expand")),
        ),
    ):
        methods = {name: _handler(driver, schema.method(service, name), name) for name in names}
        handlers.append(grpc.method_handlers_generic_handler(f"{package}.{service}", methods))
    server.add_generic_rpc_handlers(tuple(handlers))
    registry.mkdir(parents=True, exist_ok=True)
    sockets = (folder / "driver.sock", registry / f"{NAME}-reg.sock")
    for socket in sockets:
        server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield driver
    finally:
        server.stop(0).wait()
        for socket in sockets:
            socket.unlink(missing_ok=True)


def _handler(driver: FoldersDriver, method: Any, name: str) -> Any:
    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        return driver.answer(name, request, context)

    return grpc.unary_unary_rpc_method_handler(
        serve, request_deserializer=method.request.decode, response_serializer=method.response.encode
    )


def _plain(value: Any) -> Any:
    """A message as a dict of the fields that it has."""
    if isinstance(value, Message):
        return {name: _plain(one) for name, one in vars(value).items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value

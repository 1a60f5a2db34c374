"""A device plugin for tests: devices that are files of /dev, every call is written down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from hawser.node.deviceplugins import tables

NAME = "toys.hawser.test/toy"
Obj = dict[str, Any]
_CALLS = ("GetDevicePluginOptions", "GetPreferredAllocation", "Allocate", "PreStartContainer")


class ToyPlugin:
    """Has toys by their names, healthy ones and others. folder: the agent's of device plugins."""

    def __init__(self, folder: Path, name: str = NAME, *, toys: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.folder = folder
        self.name = name
        self.calls: list[tuple[str, list[str]]] = []
        self.broken = ""
        self._toys = dict.fromkeys(toys, True)
        self._news = threading.Condition()
        self._version = 0
        self._ended = False
        self._socket = folder / "toy.sock"
        self._server = grpc.server(ThreadPoolExecutor(6))
        schema = tables.deviceplugin()
        methods = {name: self._unary(schema.method("DevicePlugin", name), name) for name in _CALLS}
        stream = schema.method("DevicePlugin", "ListAndWatch")
        methods["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(
            self._watch, request_deserializer=stream.request.decode, response_serializer=stream.response.encode
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods),))

    def start(self) -> None:
        """Serves and registers."""
        self._socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix:{self._socket}")
        self._server.start()
        self.register(endpoint=self._socket.name)

    def register(self, **fields: str) -> None:
        """One registration. Raises grpc.RpcError."""
        method = tables.deviceplugin().method("Registration", "Register")
        with grpc.insecure_channel(f"unix:{self.folder}/kubelet.sock") as channel:
            ask = channel.unary_unary(method.path, request_serializer=method.request.encode)
            ask({"version": "v1beta1", "resource_name": self.name, **fields}, timeout=60)

    def stop(self) -> None:
        """Ends the plugin."""
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._server.stop(0).wait()

    def set(self, **health: bool) -> None:
        """Says how toys are."""
        with self._news:
            self._toys |= health
            self._version += 1
            self._news.notify_all()

    def named(self, name: str) -> list[list[str]]:
        """The devices of each call."""
        return [devices for called, devices in self.calls if called == name]

    def _unary(self, method: Any, name: str) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(name, request, context),
            request_deserializer=method.request.decode,
            response_serializer=method.response.encode,
        )

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Obj]:
        seen = -1
        while not self._ended and context.is_active():
            with self._news:
                self._news.wait_for(lambda known=seen: self._ended or self._version != known, 1)
                if self._version == seen:
                    continue
                seen = self._version
                states = dict(self._toys)
            # The last one is near two processors.
            numa = {name: [{"ID": node} for node in ((0, 1) if name == "c" else (0,))] for name in states}
            rows = [
                {"ID": name, "health": "Healthy" if well else "Unhealthy", "topology": {"nodes": numa[name]}}
                for name, well in states.items()
            ]
            yield {"devices": rows}

    def _answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Obj:
        if name == "GetDevicePluginOptions":
            return {"pre_start_required": True, "get_preferred_allocation_available": True}
        if name == "PreStartContainer":
            self.calls.append((name, sorted(request.devices_ids)))
            return {}
        (asked,) = request.container_requests
        if name == "GetPreferredAllocation":
            self.calls.append((name, sorted(asked.available_deviceIDs)))
            # The last ones are the nicest.
            best = sorted(asked.available_deviceIDs, reverse=True)[: asked.allocation_size]
            return {"container_responses": [{"deviceIDs": best}]}
        devices = sorted(asked.devices_ids)
        self.calls.append((name, devices))
        if self.broken:
            context.abort(grpc.StatusCode.INTERNAL, self.broken)
        answer = {
            "envs": {"TOYS": ",".join(devices), "OWN": "the plugin's"},
            "devices": [
                {"host_path": "/dev/null", "container_path": f"/dev/toy-{d}", "permissions": "rw"} for d in devices
            ],
            "mounts": [{"host_path": "/etc/hostname", "container_path": "/toy-box", "read_only": True}],
            "annotations": {"toys.hawser.test/box": "1"},
        }
        return {"container_responses": [answer]}


@contextmanager
def running(folder: Path, name: str = NAME, **options: Any) -> Iterator[ToyPlugin]:
    """A plugin that has registered."""
    plugin = ToyPlugin(folder, name, **options)
    plugin.start()
    try:
        yield plugin
    finally:
        plugin.stop()

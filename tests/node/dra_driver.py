"""A driver of dynamic resources for tests, a process of its own by ``python -m tests.node.dra_driver``.

It registers in a folder, prepares each claim with one CDI device named after it, and writes down every call. What its
``orders`` file says is done once: ``fail TEXT`` answers the next call (or the next one of that name) with this error,
``hang`` never answers it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from hawser.node.dra import health, tables
from hawser.node.plugins import tables as plugins

NAME = "toys.hawser.test"
KIND = f"{NAME}/toy"
Obj = dict[str, Any]


def _write(path: Path, value: object) -> None:
    """A file for another process, which never sees half of it."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value))
    fresh.rename(path)


class Running:
    """A driver that runs. folder: what it writes, ``calls`` and ``orders`` among it; registry: where it registers."""

    def __init__(self, folder: Path, registry: Path, cdi: Path, service: str = "v1.DRAPlugin") -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "tests.node.dra_driver", str(folder), str(registry), str(cdi), service]
        self.process = subprocess.Popen(self._command)

    def calls(self, name: str) -> list[list[str]]:
        """The names of the claims in each call of an RPC."""
        file = self.folder / "calls"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [row["claims"] for row in rows if row["call"] == name]

    def order(self, text: str, call: str = "") -> None:
        """What is to happen to the next call."""
        _write(self.folder / "orders", [call, text])

    def health(self, device: str, status: int, seconds: int = 0) -> None:
        """How a device is from now on. seconds: for how long that counts."""
        _write(self.folder / "health", [device, status, seconds])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends the process."""
        self.process.send_signal(number)
        self.process.wait(20)


@contextmanager
def running(folder: Path, registry: Path, cdi: Path, service: str = "v1.DRAPlugin") -> Iterator[Running]:
    """A driver of its own process, ended at the end."""
    made = Running(folder, registry, cdi, service)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


class _Driver:
    def __init__(self, folder: Path, cdi: Path, service: str) -> None:
        self.folder, self.cdi, self.service = folder, cdi, service
        self.socket = folder / "dra.sock"

    def answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Obj:
        if name == "GetInfo":
            return {
                "type": "DRAPlugin",
                "name": NAME,
                "endpoint": str(self.socket),
                "supported_versions": [self.service],
            }
        if name == "NotifyRegistrationStatus":
            _write(self.folder / "registered", [request.plugin_registered, request.error])
            return {}
        row = {"call": name, "claims": [claim.name for claim in request.claims]}
        with (self.folder / "calls").open("a") as file:
            file.write(json.dumps(row) + "\n")
        orders = self.folder / "orders"
        wanted, text = json.loads(orders.read_text()) if orders.exists() else ("none", "")
        if wanted in ("", name):
            orders.unlink()
            if text == "hang":
                threading.Event().wait()
            word, _, why = text.partition(" ")
            if word == "fail":
                return {"claims": [{"key": claim.uid, "value": {"error": why}} for claim in request.claims]}
            context.abort(grpc.StatusCode.INTERNAL, text)
        work = self._prepare if name == "NodePrepareResources" else self._unprepare
        return {"claims": [{"key": claim.uid, "value": work(claim)} for claim in request.claims]}

    def watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Obj]:
        """Tells what the file ``health`` says whenever it is another."""
        known = ""
        while context.is_active():
            file = self.folder / "health"
            text = file.read_text() if file.exists() else ""
            if text != known:
                known = text
                device, status, seconds = json.loads(text)
                row = {"device": {"pool_name": "pool", "device_name": device}, "health": status}
                yield {"devices": [{**row, "health_check_timeout_seconds": seconds}]}
            time.sleep(0.05)

    def _prepare(self, claim: Any) -> Obj:
        edits = {
            "env": [f"TOY_{claim.name.upper().replace('-', '_')}={claim.uid}"],
            "deviceNodes": [{"path": f"/dev/toy-{claim.name}", "hostPath": "/dev/null"}],
            "mounts": [
                {"hostPath": str(self.folder), "containerPath": f"/toy/{claim.name}", "options": ["ro", "bind"]}
            ],
        }
        spec = {"cdiVersion": "0.6.0", "kind": KIND, "devices": [{"name": claim.uid, "containerEdits": edits}]}
        self.cdi.mkdir(parents=True, exist_ok=True)
        _write(self.cdi / f"{claim.uid}.json", spec)
        device = {"pool_name": "pool", "device_name": f"toy-{claim.name}"}
        return {"devices": [{**device, "cdi_device_ids": [f"{KIND}={claim.uid}"]}]}

    def _unprepare(self, claim: Any) -> Obj:
        (self.cdi / f"{claim.uid}.json").unlink(missing_ok=True)
        return {}


def _handler(driver: _Driver, method: Any, name: str) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        lambda request, context: driver.answer(name, request, context),
        request_deserializer=method.request.decode,
        response_serializer=method.response.encode,
    )


def main(folder: Path, registry: Path, cdi: Path, service: str) -> None:
    """Serves until a signal comes."""
    driver = _Driver(folder, cdi, service)
    server = grpc.server(ThreadPoolExecutor(16))
    package = f"k8s.io.kubelet.pkg.apis.dra.{service.partition('.')[0]}"
    for schema, path, group, names in (
        (plugins.registration(), "pluginregistration", "Registration", ("GetInfo", "NotifyRegistrationStatus")),
        (tables.dra(service), package, "DRAPlugin", ("NodePrepareResources", "NodeUnprepareResources")),
    ):
        methods = {name: _handler(driver, schema.method(group, name), name) for name in names}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{path}.{group}", methods),))
    watch = health.health().method("DRAResourceHealth", "NodeWatchResources")
    told = grpc.unary_stream_rpc_method_handler(
        driver.watch, request_deserializer=watch.request.decode, response_serializer=watch.response.encode
    )
    handler = grpc.method_handlers_generic_handler("v1alpha1.DRAResourceHealth", {"NodeWatchResources": told})
    server.add_generic_rpc_handlers((handler,))
    registry.mkdir(parents=True, exist_ok=True)
    sockets = (driver.socket, registry / f"{NAME}-reg.sock")
    for socket in sockets:
        socket.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{socket}")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    ended.wait()
    for socket in sockets:
        socket.unlink(missing_ok=True)
    os._exit(0)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]), sys.argv[4])

"""Nodes of an engine on and off: what a machine's power switch does, for each node by itself.

Off is a power cut: agent, containerd, shims and containers are gone at once, with what a boot would not find again
(mounts, links, namespaces, everything below /run). Disks stay: objects are the API server's, images and logs the
node's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hawser.cli.engine import cleanup, containerd, nodenet, nodes, pki, processes
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.roles import role_name, roles
from hawser.cli.engine.settings import Settings, SettingsError
from hawser.node.network.ledger import Ledger
from hawser.node.network.links import Links, default_mtu
from hawser.node.network.nft import Nft, NftError
from hawser.node.network.plugin import forget_results
from hawser.node.network.podtable import drop_table, pod_table
from hawser.node.shutdown_request import DONE, REQUEST, Request
from hawser.runtime.install import install

_STOP_SECONDS = 60.0
_REPORT_SECONDS = 5.0


def prepare(engine: Settings, listed: Sequence[Node]) -> None:
    """Makes everything that the running further nodes need before their processes start. Idempotent.

    Raises OSError, SettingsError.
    """
    nodes.note(engine, listed)
    for node in (node for node in listed if not node.stopped):
        view = nodes.view(engine, node)
        # What shut down before boots now.
        for name in (REQUEST, DONE):
            (view.run_dir / name).unlink(missing_ok=True)
        if node.first:
            continue
        for directory in (view.log_dir, *(view.data_dir / name for name in ("agent", "images"))):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        view.run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        pki.prepare_node(engine, view, [str(address) for address in nodes.addresses(engine, node)])
        containerd.prepare(view)
        install(
            containerd.runtime_path(view),
            profiles=containerd.profiles_socket(view),
            view=containerd.view_dir(view),
            roots=containerd.kept_roots(view),
        )
    try:
        nodenet.connect(engine, listed)
    except NftError as e:
        raise SettingsError(f"the network of the nodes cannot be made: {e}") from e


def shut_down(engine: Settings, listed: Sequence[Node], grace: float, critical: float) -> list[str]:
    """Lets the agents of running nodes end their pods; the names of nodes where that took too long.

    grace: seconds for all pods, critical: the part of it that is left for those of system-critical priority.
    """
    folders = {}
    for node in (node for node in listed if not node.stopped):
        view = nodes.view(engine, node)
        pid = _processes(engine).get(role_name("agent", node), {}).get("pid")
        Request(grace, critical).write(view.run_dir)
        folders[node.name] = view.run_dir
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + grace + _REPORT_SECONDS
    while (left := [name for name, folder in folders.items() if not (folder / DONE).exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    return left


def reload(engine: Settings, supervisor: int) -> None:
    """Makes the supervisor bring its processes in line with nodes.json, and waits until it has begun with all of them.

    Raises SettingsError when it does not within a minute.
    """
    wanted = {role.name for role in roles(engine)}
    os.kill(supervisor, signal.SIGHUP)
    deadline = time.monotonic() + _STOP_SECONDS
    while _known(engine) != wanted:
        if time.monotonic() > deadline:
            raise SettingsError(f"the supervisor does not answer; its log is {engine.log_dir / 'supervisor.log'}")
        time.sleep(0.02)


def _known(engine: Settings) -> set[str]:
    return set(_processes(engine))


def _processes(engine: Settings) -> dict[str, dict[str, Any]]:
    """The supervisor's processes by name."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        found: dict[str, dict[str, Any]] = json.loads((engine.run_dir / "state.json").read_text())["processes"]
        return found
    return {}


def cut(engine: Settings, node: Node) -> list[str]:
    """Takes away what runs of a node whose agent and containerd are stopped; what is left, in words."""
    view = nodes.view(engine, node)
    sockets = cleanup.shim_sockets(view)
    directories = cleanup.mount_dirs(view)
    _kill(view)
    cleanup.unmount_below(*directories)
    left = _cut_network(engine, node)
    cleanup.remove_cgroups(view.cgroup_root)
    left += [f"cgroup {c}" for c in cleanup.cgroups(view.cgroup_root)]
    left += cleanup.told(_pids(view))
    mounted = cleanup.mounts_below(*directories)
    left += [f"mount {m}" for m in mounted]
    if not mounted:
        # The first node's directory is the supervisor's, too.
        for path in (view.run_dir / "containerd", view.run_dir / "network") if node.first else (view.run_dir,):
            shutil.rmtree(path, ignore_errors=True)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    cleanup.remove_notes(containerd.RUNTIME_NOTES / str(containerd.runc_dir(view)).lstrip("/"))
    return left


def clear(engine: Settings, listed: Sequence[Node]) -> list[str]:
    """Removes every trace of an engine whose supervisor is stopped, but its data; what is left, in words."""
    left = [line for node in listed if not node.first for line in cut(engine, node)]
    if len(listed) > 1:
        nodenet.remove(engine)
    return left + cleanup.sweep(engine)


def _cut_network(engine: Settings, node: Node) -> list[str]:
    Ledger(engine.ledger, node.name).settle(())
    config = cleanup.network_config(nodes.view(engine, node))
    try:
        if not node.first:
            nodenet.disconnect(engine, node)
        else:
            links = Links(config.link_prefix, config.gateway_link, config.gateways, default_mtu())
            try:
                links.sweep(())
            finally:
                links.close()
            nft = Nft()
            try:
                # What guards the API server's address stays.
                drops = "".join(drop_table(table.name) for table in config.service_tables)
                nft.run("".join(pod_table(spec, ()) for spec in config.table_specs) + drops)
            finally:
                nft.close()
    except (OSError, NftError) as e:
        return [f"the network of {node.name}: {e}"]
    forget_results(config.network)
    return []


def _kill(view: Settings) -> None:
    deadline = time.monotonic() + cleanup.KILL_SECONDS
    while (pids := _pids(view)) and time.monotonic() < deadline:
        still = _still(view)
        for pid in pids:
            processes.kill(pid, still)
        time.sleep(0.02)


def _still(view: Settings) -> Callable[[int], bool]:
    return lambda pid: pid in _pids(view)


def _pids(view: Settings) -> list[int]:
    """A node's processes: what runs in its cgroups, and shims and calls of its runtime."""
    return cleanup.node_pids(view.cgroup_root, _directories(view))


def _directories(view: Settings) -> tuple[Path, ...]:
    return (view.run_dir, view.data_dir / "agent", view.data_dir / "containerd")

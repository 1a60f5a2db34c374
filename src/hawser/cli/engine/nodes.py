"""The nodes of an engine: which there are, and where each one lives.

The first node is the machine itself. Every further one has a network namespace, a containerd and an agent of its own,
all below ``<data>/nodes/NAME``: a view of the engine's settings (``view``) in which only what is a node's differs, so
that whatever prepares, stops or sweeps the first node does the same for all. ``<data>/nodes.json`` says what is wanted;
it is missing as long as there is only the first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hawser.cli.engine import settings
from hawser.cli.engine.settings import Settings, SettingsError, instance_id
from hawser.node.network import layout
from hawser.node.network.layout import MOST, Network
from hawser.node.network.links import veth_name
from hawser.node.network.netlink import Address

REGION = "local"
KUBELET_PORT = 10250
NOTE = "engine.json"
"""In an engine's run directory: what it is."""
_NAMESPACES = Path("/run/netns")
"""Where `ip netns` looks, too."""


@dataclass(frozen=True, slots=True)
class Node:
    """A row of nodes.json.

    number: 1 is the machine itself; never given twice in an engine's life. zone: of the topology labels, "" for none.
    cpu: whole processors, memory: a quantity; "" for the machine's. stopped: it is powered off. partitioned: it does
    not reach the API server, nor that one it.
    """

    name: str
    number: int
    zone: str = ""
    cpu: str = ""
    memory: str = ""
    stopped: bool = False
    partitioned: bool = False

    @property
    def first(self) -> bool:
        return self.number == 1

    @property
    def labels(self) -> dict[str, str]:
        """The labels that its place gives it."""
        if not self.zone:
            return {}
        return {"topology.kubernetes.io/region": REGION, "topology.kubernetes.io/zone": self.zone}


def load(engine: Settings) -> list[Node]:
    """The nodes, the first one first. Raises SettingsError for a file that is damaged."""
    path = _path(engine)
    try:
        rows = json.loads(path.read_text())
    except FileNotFoundError:
        return [Node(engine.node_name, 1)]
    except (ValueError, OSError) as e:
        raise SettingsError(f"{path} cannot be read: {e}; restore it, or `hawser down --purge` to start anew") from e
    try:
        return from_rows(rows)
    except (TypeError, AttributeError) as e:
        raise SettingsError(f"{path} is incomplete: {e}; restore it, or `hawser down --purge` to start anew") from e


def from_rows(rows: Iterable[dict[str, Any]]) -> list[Node]:
    """The nodes of nodes.json; what a newer Hawser wrote beside is left out. Raises TypeError, AttributeError."""
    known = {f.name for f in fields(Node)}
    return [Node(**{k: v for k, v in row.items() if k in known}) for row in rows]


def known(engine: Settings) -> list[Node]:
    """The nodes, for cleaning up: where nodes.json is damaged, those that have a folder."""
    try:
        return load(engine)
    except SettingsError:
        folders = (engine.data_dir / "nodes").glob("*")
        numbers = [(f.name, f.name.rpartition("-")[2]) for f in folders]
        return [Node(engine.node_name, 1), *(Node(name, int(n)) for name, n in numbers if n.isdigit())]


def save(engine: Settings, nodes: Sequence[Node]) -> None:
    """Writes nodes.json durably."""
    path = _path(engine)
    tmp = path.with_suffix(".tmp")
    with tmp.open("w") as f:
        json.dump([asdict(node) for node in nodes], f, indent=2)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(path)


def _path(engine: Settings) -> Path:
    return engine.data_dir / "nodes.json"


def grown(nodes: Sequence[Node], total: int, zones: int = 0, cpu: str = "", memory: str = "") -> list[Node]:
    """The nodes and as many further ones as make ``total``.

    zones: nodes are dealt out to so many zones in turn; 0 goes on with the zones that there are. cpu, memory: of all
    that had none. Raises SettingsError when that are too many.
    """
    if total > MOST:
        raise SettingsError(f"an engine has at most {MOST} nodes; got {total}")
    listed = list(nodes)
    while len(listed) < total:
        number = max(node.number for node in listed) + 1
        if number > MOST:
            number = min(set(range(2, MOST + 1)) - {node.number for node in listed})
        listed.append(Node(f"{listed[0].name}-{number}", number))
    names = [f"zone-{n + 1}" for n in range(zones)] or sorted({node.zone for node in listed if node.zone})
    return [
        replace(
            node,
            zone=node.zone or (names[(node.number - 1) % len(names)] if names else ""),
            cpu=node.cpu or cpu,
            memory=node.memory or memory,
        )
        for node in listed
    ]


def note(engine: Settings, listed: Sequence[Node]) -> None:
    """Writes settings and nodes into the run directory, which exists, for whoever finds the data directory gone."""
    rows = [asdict(node) for node in listed]
    path = engine.run_dir / NOTE
    tmp = path.with_suffix(".tmp")
    tmp.write_text(json.dumps({"dataDir": str(engine.data_dir), "settings": engine.document(), "nodes": rows}))
    tmp.replace(path)


def noted(path: Path) -> tuple[Settings, list[Node]]:
    """What ``note`` wrote. Raises OSError, ValueError, KeyError, TypeError, AttributeError, SettingsError."""
    document = json.loads(path.read_text())
    return settings.from_document(Path(document["dataDir"]), document["settings"]), from_rows(document["nodes"])


def changed(nodes: Iterable[Node], name: str, **values: object) -> list[Node]:
    """The nodes with new values of one."""
    return [replace(node, **values) if node.name == name else node for node in nodes]  # type: ignore[arg-type]


def view(engine: Settings, node: Node) -> Settings:
    """The settings as a node has them: the engine's own for the first."""
    if node.first:
        return engine
    folder = engine.data_dir / "nodes" / node.name
    return replace(
        engine,
        data_dir=folder,
        instance=instance_id(folder),
        node_name=node.name,
        kubelet_listen=f"0.0.0.0:{KUBELET_PORT}",
        runtime_endpoint="",
        cni_conf_dir="",
        cni_bin_dir="",
    )


def pod_ranges(engine: Settings, node: Node) -> tuple[Network, ...]:
    """A node's parts of the pod ranges, the primary family first."""
    return tuple(layout.part(whole, node.number) for whole in wholes(engine))


def addresses(engine: Settings, node: Node) -> tuple[Address, ...]:
    """A further node's InternalIPs; the first has the machine's."""
    return () if node.first else tuple(layout.node_address(whole, node.number) for whole in wholes(engine))


def wholes(engine: Settings) -> tuple[Network, ...]:
    """The pod ranges of all nodes, one a family."""
    return tuple(ip_network(text) for text in (engine.pod_cidr, engine.pod_cidr6) if text)


def namespace(engine: Settings, node: Node) -> Path | None:
    """Where a further node's network namespace is mounted."""
    return None if node.first else _NAMESPACES / f"hawser-{engine.instance}-{node.number}"


def machine_namespace(engine: Settings) -> Path:
    """Where the machine's network namespace, the first node's, is mounted for the others."""
    return _NAMESPACES / f"hawser-{engine.instance}-1"


def link(engine: Settings, node: Node) -> str:
    """The machine's end of a further node's link."""
    return veth_name(link_prefix(engine), node.name)


def link_prefix(engine: Settings) -> str:
    """Begins the names of the links to further nodes."""
    from hashlib import sha256

    return f"hw{sha256(engine.instance.encode()).hexdigest()[:5]}n"

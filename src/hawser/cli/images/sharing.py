"""Images of one node for the others: every node has a store of its own, and what one has is copied to the rest."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hawser.cli.engine import nodes
from hawser.cli.engine.settings import Settings
from hawser.cli.images.base import containerd_socket
from hawser.cli.images.importer import IMPORT_SECONDS, NAMESPACE, ImportFailed, digests, import_archive

_SECONDS = 600.0


def sockets(engine: Settings) -> dict[str, Path]:
    """The containerd sockets of the nodes that are on, by name; the first node first."""
    running = [node for node in nodes.load(engine) if not node.stopped]
    return {node.name: containerd_socket(nodes.view(engine, node)) for node in running}


def import_everywhere(engine: Settings, archive: Path, timeout: float = IMPORT_SECONDS) -> list[str]:
    """Imports an archive on every node, each within `timeout` seconds; the names of the images in it.

    Raises ImportFailed.
    """
    names: list[str] = []
    for socket in sockets(engine).values():
        names = import_archive(archive, socket, timeout=timeout)
    return names


async def share(engine: Settings, target: Path) -> list[str]:
    """Copies to a node's containerd what it lacks of the others' images; their names. Raises ImportFailed."""
    copied = []
    sources = [socket for socket in sockets(engine).values() if socket != target and socket.is_socket()]
    for number, source in enumerate(sources):
        have, others = await asyncio.gather(asyncio.to_thread(digests, target), asyncio.to_thread(digests, source))
        # What several have by one name is the first one's to decide; later ones only add.
        lacking = sorted(n for n, digest in others.items() if (n not in have if number else have.get(n) != digest))
        if lacking:
            await asyncio.to_thread(_copy, source, target, lacking)
            copied += lacking
    return copied


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    def ctr(socket: Path, *words: str) -> list[str]:
        return ["ctr", "--address", str(socket), "--namespace", NAMESPACE, "images", *words]

    with subprocess.Popen(
        ctr(source, "export", "-", *names), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as giving:
        try:
            taking = subprocess.run(
                ctr(target, "import", "-"), stdin=giving.stdout, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            giving.kill()
            raise ImportFailed(f"copying images took longer than {_SECONDS:g} s") from None
    if taking.returncode or giving.returncode:
        raise ImportFailed(taking.stderr.strip() or f"ctr images export ended with {giving.returncode}")

"""``python -m hawser.node.writable diff|layer|image``: what changed in a container of this node, on standard output.

diff is JSON, layer a tar file of the changes, image an archive of the container's image. The node agent runs it for
who asks its API for them, and on a cluster's node `hawser rich` runs it through exec: a process of its own, because it
reads what may be gigabytes, rarely.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable

from hawser.node.cri.client import Runtime
from hawser.node.cri.endpoint import usual_endpoint
from hawser.node.cri.errors import CRIError
from hawser.node.writable import layer
from hawser.node.writable.changes import Change, changes
from hawser.node.writable.place import NoOverlay, of_process

_NAMESPACE = "k8s.io"  # of containerd, the CRI plugin's


def main(argv: list[str] | None = None) -> int:
    """Does what the command line says; the exit code. Complaints go to standard error, one line."""
    parser = argparse.ArgumentParser(prog="hawser.node.writable", description=__doc__)
    parser.add_argument("what", choices=("diff", "layer", "image"))
    parser.add_argument("--container", required=True, help="the container's id, as the runtime knows it")
    parser.add_argument("--runtime-endpoint", default=usual_endpoint())
    parser.add_argument("--root", default="", help="where the node's root directory is, if not at /")
    parser.add_argument("--without", action="append", default=[], help="a path or pattern to leave out")
    args = parser.parse_args(argv)
    container = args.container.rpartition("://")[2]
    # A descriptor for every layer of every directory on the way.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        pid, image = asyncio.run(_ask(args.runtime_endpoint, container))
        if args.what == "image":
            return _export(args.runtime_endpoint, args.root, image)
        place = of_process(pid, root=args.root)
        found = changes(place, tuple(args.without))
        if args.what == "diff":
            _tell(image, found)
            return 0
        if place.user_namespace:
            raise NoOverlay("the container has a user namespace: who owns its files on the node is not who does inside")
        layer.write(sys.stdout.buffer, found, place.attributes)
    except (CRIError, NoOverlay, OSError) as error:
        print(error.text if isinstance(error, CRIError) else error, file=sys.stderr)
        return 1
    return 0


def _tell(image: str, found: Iterable[Change]) -> None:
    """Nothing before all is known, or whoever reads would miss why it can not be told. Packed: it may be millions."""
    told = io.BytesIO()
    with gzip.open(told, "wt", 1, encoding="ascii") as packed:
        layer.tell(packed, image, found)
    told.seek(0)
    with gzip.open(told, "rt", encoding="ascii") as packed:
        shutil.copyfileobj(packed, sys.stdout)


async def _ask(endpoint: str, container: str) -> tuple[int, str]:
    """A container's process on the node, and what its image is called there."""
    async with Runtime(endpoint) as runtime:
        row = await runtime.call("ContainerStatus", {"container_id": container})
        found = await runtime.image_status(row.status.image_ref or row.status.image.image)
        names = [*found.tags, found.id] if found is not None else [row.status.image_ref]
        # The name that the pod gives, unless that means another image by now.
        asked = row.status.image.image
        return await runtime.pid(container), asked if asked in names else names[0]


def _export(endpoint: str, root: str, image: str) -> int:
    command = [
        *(["chroot", root] if root else []),
        "ctr",
        "--address",
        endpoint.removeprefix("unix://"),
        "--namespace",
        _NAMESPACE,
    ]
    try:
        return subprocess.run([*command, "images", "export", "-", image]).returncode
    except FileNotFoundError:
        print("ctr is missing on the node: only containerd's images can be read", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

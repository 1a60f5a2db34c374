"""Carrying out a commit: the node's answers are put together to an archive, which is imported or kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawser.api.kinds import POD
from hawser.cli.context import Failure
from hawser.cli.engine.settings import Settings
from hawser.cli.images.importer import ImportFailed
from hawser.cli.images.pushing import push
from hawser.cli.images.sharing import import_everywhere
from hawser.cli.releasing.push import container_of
from hawser.cli.writable.committing import check, dated, extend, kept, left_out, patterns
from hawser.cli.writable.nodeside import ask, differences
from hawser.client.client import Client


@dataclass(frozen=True)
class Commit:
    """What is made of what. epoch: seconds since 1970 for the image's date, -1: that of its newest file.

    push: it goes to the registry that the tag names.
    """

    pod: str
    namespace: str
    container: str
    tag: str
    exclude: tuple[str, ...]
    keep_identity: bool
    epoch: int
    push: bool = False


async def carry_out(
    client: Client,
    order: Commit,
    engine: Settings | None,
    output: Path | None,
    scratch: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """What was made. Raises Failure, APIError."""
    pod = await client.get(POD, order.pod, order.namespace)
    container = container_of(pod, order.container)
    say("looking at what changed")
    found = await differences(client, pod, container)
    out = patterns(order.exclude, order.keep_identity)
    without = left_out(found["changes"], out)
    changed = kept(found["changes"], without)
    check(changed, shutil.disk_usage(scratch).free)
    layer, base = scratch / "layer.tar", scratch / "image.tar"
    for path, what in ((layer, "layer"), (base, "image")):
        say(f"reading the {what}")
        with path.open("wb") as file:
            await ask(client, pod, container, what, file, out if what == "layer" else ())
    created = order.epoch if order.epoch >= 0 else dated(changed)
    told = f"hawser rich commit {order.namespace}/{order.pod} {container}"
    archive = output or scratch / "new.tar"
    say("writing the image")
    digest = await asyncio.to_thread(extend, base, layer, order.tag, created, told, archive)
    if order.push:
        await push(archive, order.tag, say)
    if engine is not None:
        say(f"importing {order.tag}")
        try:
            await asyncio.to_thread(import_everywhere, engine, archive)
        except ImportFailed as error:
            raise Failure(f"the image could not be imported: {error}") from None
    counts = {kind: sum(1 for change in changed if change["kind"] == kind) for kind in ("added", "changed", "deleted")}
    size = layer.stat().st_size
    return {"image": order.tag, "digest": digest, "base": found["image"], "layer": size, "excluded": without, **counts}

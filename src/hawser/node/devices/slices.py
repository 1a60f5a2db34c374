"""The ResourceSlices that drivers have published for this node."""

from __future__ import annotations

import asyncio
import logging

from hawser.api.errors import APIError
from hawser.api.kinds import RESOURCE_SLICE
from hawser.client.client import Client

log = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 300.0


async def wipe(client: Client, node: str, driver: str = "") -> None:
    """Deletes the node's ResourceSlices, of one driver or of all; tries until it is done."""
    selector = f"spec.nodeName={node}" + (f",spec.driver={driver}" if driver else "")
    pause = 1.0
    while True:
        try:
            await client.delete_collection(RESOURCE_SLICE, field_selector=selector)
        except APIError as err:
            if err.code == 404:
                return
            log.info("the ResourceSlices of %s are deleted later: %s", driver or node, err.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            return

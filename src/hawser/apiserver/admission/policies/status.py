"""The status of ValidatingAdmissionPolicies: what type checking makes of their expressions.

Source: kube-controller-manager, validatingadmissionpolicy-status; here it is a loop of the server, which has the types.
"""

from __future__ import annotations

import asyncio
import logging

import orjson

from hawser.api import kinds
from hawser.api.errors import APIError
from hawser.api.kinds import VALIDATING_ADMISSION_POLICY
from hawser.api.types import Obj
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options
from hawser.store.base import Expired, Record, StoreUnavailable

log = logging.getLogger("hawser.apiserver")


class PolicyStatus:
    """Follows the policies; without any it only waits."""

    def __init__(self, resources: Resources) -> None:
        self._policies = resources[VALIDATING_ADMISSION_POLICY]

    async def run(self) -> None:
        """Until it is cancelled."""
        store, prefix = self._policies.store, self._policies.prefix
        while True:
            watch = store.watch(prefix, store.revision)
            try:
                await self._settle(store.list(prefix))
                async for _ in watch:
                    await self._settle(store.list(prefix))
            except Expired:
                continue
            finally:
                watch.close()

    async def _settle(self, records: list[Record]) -> None:
        """Check those whose generation has not been looked at."""
        for record in records:
            policy: Obj = orjson.loads(record.value)
            meta = policy["metadata"]
            if (policy.get("status") or {}).get("observedGeneration") == meta.get("generation"):
                continue
            # In a thread: types of large kinds take a moment to be made.
            found = await asyncio.to_thread(_warnings, policy)
            await self._write(meta["name"], meta.get("generation"), found)

    async def _write(self, name: str, generation: int | None, found: list[Obj]) -> None:
        checked: Obj = {"expressionWarnings": found} if found else {}

        def change(old: Obj) -> Obj:
            if old["metadata"].get("generation") != generation:
                return old
            status = {**(old.get("status") or {}), "observedGeneration": generation, "typeChecking": checked}
            return {**old, "metadata": dict(old["metadata"]), "status": status}

        try:
            await self._policies.update("", name, change, Options(subresource="status"), status=True)
        except (APIError, StoreUnavailable) as error:
            log.warning("the status of ValidatingAdmissionPolicy %s was not written: %s", name, error)


def _warnings(policy: Obj) -> list[Obj]:
    # Whoever has no policies does not load the expression language.
    from hawser.api.policies.typechecking import warnings

    return warnings(policy, kinds.served())

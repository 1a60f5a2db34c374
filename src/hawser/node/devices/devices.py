"""The devices of pods: claimed ones (DRA) and those of device plugins, as pod workers see them.

Nothing of it is loaded before a driver or plugin is there, or a pod that wants one; a pod that wants none costs a look
into its spec.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Version
from hawser.node.devices import slices

if TYPE_CHECKING:
    from hawser.node.dra.manager import ClaimManager

log = logging.getLogger(__name__)

_CLAIMS = "dra_manager_state"
_CDI_FROM = (1, 7)
_CDI_ALWAYS = (2, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where devices are. root: the agent's folder; cdi: folders of CDI specs, a later one goes first."""

    root: Path
    node: str
    cdi: tuple[Path, ...]


class Devices:
    """See the module. version: of the container runtime, once it is known."""

    def __init__(self, place: Place, client: Client, runtime: Runtime, version: Callable[[], Version]) -> None:
        self._place = place
        self._client = client
        self._runtime = runtime
        self._version = version
        self._claims: ClaimManager | None = None
        self._cdi: bool | None = None
        self._wiping: asyncio.Task[None] | None = None

    def claims(self) -> ClaimManager:
        """Who prepares claims."""
        if self._claims is None:
            from hawser.node.dra.manager import ClaimManager

            self._claims = ClaimManager(self._place.root / _CLAIMS, self._client, self._place.node)
        return self._claims

    def start(self) -> None:
        """Takes up what an earlier agent has left.

        No driver has registered yet, so none of the devices that the API knows of this node can be had: drivers publish
        them anew, as under a kubelet.
        """
        if (self._place.root / _CLAIMS).exists():
            self.claims()
        self._wiping = asyncio.create_task(slices.wipe(self._client, self._place.node), name="slices of before")

    async def close(self) -> None:
        """Leaves all as it is and ends."""
        if self._wiping is not None:
            self._wiping.cancel()
        if self._claims is not None:
            await self._claims.close()

    # Of pods

    async def prepare(self, pod: Obj) -> str:
        """Has a pod's claims prepared, before its sandbox is made; what is wrong, "" when all are. Raises OSError."""
        spec, status = pod["spec"], pod.get("status") or {}
        if not spec.get("resourceClaims") and "extendedResourceClaimStatus" not in status:
            return ""
        try:
            await self.claims().prepare(pod)
        except CRIError as err:
            return f"Failed to prepare dynamic resources: prepare dynamic resources: {err.text}"
        return ""

    async def add(self, pod: Obj, spec: Obj, config: Obj) -> None:
        """Adds a container's devices to its ContainerConfig. Raises ConfigError, OSError."""
        names: list[str] = []
        if pod["spec"].get("resourceClaims") or "extendedResourceClaimStatus" in (pod.get("status") or {}):
            names = await self._claimed(pod, spec)
        if not names:
            return
        if await self._resolves_cdi():
            config["CDI_devices"] = [{"name": name} for name in names]
            return
        from hawser.node.devices import cdi

        cdi.inject(config, names, self._place.cdi)

    def holds(self, uid: str) -> bool:
        """Whether a pod has something to give back."""
        return self._claims is not None and bool(self._claims.state.of(uid))

    def uids(self) -> set[str]:
        """The pods that have something to give back."""
        return (
            set() if self._claims is None else {uid for row in self._claims.state.claims.values() for uid in row.pods}
        )

    async def release(self, uid: str) -> None:
        """Gives back what a pod had. Raises CRIError, OSError."""
        if self._claims is not None and self.holds(uid):
            await self._claims.release(uid)

    async def _claimed(self, pod: Obj, spec: Obj) -> list[str]:
        from hawser.node.pod.env import ConfigError

        try:
            found = self.claims().devices(pod, spec)
            if found is None:
                # What an agent of before had prepared is written down nowhere: drivers are asked again.
                await self.claims().prepare(pod)
                found = self.claims().devices(pod, spec)
        except CRIError as err:
            raise ConfigError(f"prepare dynamic resources: {err.text}") from err
        return found or []

    async def _resolves_cdi(self) -> bool:
        """Whether the runtime knows devices by their CDI names; one that does not passes them over without a word."""
        if self._cdi is None:
            version = self._version()
            parts = tuple(int(part) for part in version.version.lstrip("v").split(".")[:2] if part.isdigit())
            if version.name != "containerd" or parts >= _CDI_ALWAYS:
                self._cdi = True
            else:
                self._cdi = parts >= _CDI_FROM and bool((await self._runtime.config()).get("enableCDI"))
        return self._cdi

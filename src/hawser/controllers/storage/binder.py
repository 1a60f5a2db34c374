"""Claims and volumes find each other, and part again.

A binding is four writes: the volume names the claim, is Bound, the claim names the volume, is Bound. Each can be the
last one that is done: whoever looks next goes on from there. What decides is in ``decisions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hawser.api import storage
from hawser.api.errors import APIError
from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from hawser.api.pod_claims import claim_keys, claims_of
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import Informer, key_of
from hawser.controllers.storage import counts, decisions
from hawser.controllers.storage.decisions import ClaimStep

_CLAIM, _VOLUME = "claim/", "volume/"
_AGAIN = 15.0
"""Seconds after which a claim without a volume is looked at again, and told of: kube-controller-manager's resync."""


class PersistentVolumeBinder(Controller):
    """See the module."""

    name = "persistentvolume-binder-controller"
    workers = 4

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("persistentvolume-controller")
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._volumes = manager.informer(PERSISTENT_VOLUME)
        self._around = Around(self._claims, self._volumes, manager.informer(STORAGE_CLASS), manager.informer(POD))
        self._claims.on_change(self._on_claim)
        self._volumes.on_change(self._on_volume)
        self._around.classes.on_change(self._on_class)
        self._around.pods.on_change(self._on_pod)

    def exposed(self) -> Iterable[str]:
        return counts.lines(self._volumes.list(), self._claims.list())

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_CLAIM):
            claim = self._claims.get_key(key.removeprefix(_CLAIM))
            return None if claim is None else await self._claim(claim)
        volume = self._volumes.get_key(key.removeprefix(_VOLUME))
        if volume is not None:
            await self._volume(volume)
        return None

    # What makes us look

    def _on_claim(self, old: Obj | None, new: Obj | None) -> None:
        claim = new or old
        assert claim is not None
        self.queue.add(_CLAIM + key_of(claim))
        for volume in self._volumes.by_index("claim", key_of(claim)):
            self._look(volume)
        if name := claim["spec"].get("volumeName"):
            self.queue.add(_VOLUME + name)

    def _on_volume(self, old: Obj | None, new: Obj | None) -> None:
        volume = new or old
        assert volume is not None
        self._look(volume)
        for one in (old, new):
            reference = one["spec"].get("claimRef") if one is not None else None
            if reference:
                self.queue.add(f"{_CLAIM}{reference.get('namespace')}/{reference.get('name')}")
        for claim in self._claims.by_index("volume", volume["metadata"]["name"]):
            self.queue.add(_CLAIM + key_of(claim))
        if (
            new is not None
            and not new["spec"].get("claimRef")
            and (old is None or storage.phase(old) != storage.phase(new))
        ):
            # It may be what others wait for.
            for claim in self._claims.by_index("unbound", storage.class_of(new)):
                self.queue.add(_CLAIM + key_of(claim))

    def _look(self, volume: Obj) -> None:
        self.queue.add(_VOLUME + volume["metadata"]["name"])

    def _on_class(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            for name in (new["metadata"]["name"], ""):
                for claim in self._claims.by_index("unbound", name):
                    self.queue.add(_CLAIM + key_of(claim))

    def _on_pod(self, old: Obj | None, new: Obj | None) -> None:
        """Who waits for its first consumer wants to say for whom now."""
        if old is None and new is not None and not new["spec"].get("nodeName"):
            for name in claims_of(new):
                claim = self._claims.get(new["metadata"]["namespace"], name)
                if claim is not None and not claim["spec"].get("volumeName"):
                    self.queue.add(_CLAIM + key_of(claim))

    # Claims

    async def _claim(self, claim: Obj) -> float | None:
        step = decisions.of_claim(claim, self._around)
        if step.event is not None:
            self._recorder.event(claim, *step.event)
        if step.bind is not None:
            await self._bind(claim, step.bind)
            return None
        if step.assign:
            spec = {**claim["spec"], "storageClassName": step.assign}
            await self._write(self._claims, {**claim, "spec": spec})
            return None
        if step.provisioner:
            claim = await self._ask(claim, step)
        if step.phase and storage.phase(claim) != step.phase:
            await self._write(self._claims, {**claim, "status": {**_status(claim), "phase": step.phase}}, status=True)
        return _AGAIN if step.phase == "Pending" else None

    async def _ask(self, claim: Obj, step: ClaimStep) -> Obj:
        """Say who is to make the volume."""
        wanted = dict.fromkeys((storage.STORAGE_PROVISIONER_BETA, storage.STORAGE_PROVISIONER), step.provisioner)
        if all(storage.notes(claim).get(name) == value for name, value in wanted.items()):
            return claim
        return await self._write(self._claims, storage.with_annotations(claim, wanted))

    async def _bind(self, claim: Obj, volume: Obj) -> None:
        reference = volume["spec"].get("claimRef") or {}
        metadata = claim["metadata"]
        if reference.get("uid") != metadata["uid"]:
            made = {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            }
            if not reference:
                volume = storage.with_annotations(volume, {storage.BOUND_BY_CONTROLLER: "yes"})
            volume = await self._write(self._volumes, {**volume, "spec": {**volume["spec"], "claimRef": made}})
        volume = await self._phase(volume, "Bound")
        claim = await self._bind_claim(claim, volume)
        wanted = {
            **_status(claim),
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes"),
            "capacity": _grown(claim, volume),
        }
        if attributes := volume["spec"].get("volumeAttributesClassName"):
            wanted["currentVolumeAttributesClassName"] = attributes
        if wanted != _status(claim):
            await self._write(self._claims, {**claim, "status": wanted}, status=True)

    async def _bind_claim(self, claim: Obj, volume: Obj) -> Obj:
        more = {storage.BIND_COMPLETED: "yes"}
        spec = claim["spec"]
        if not spec.get("volumeName"):
            more[storage.BOUND_BY_CONTROLLER] = "yes"
            spec = {**spec, "volumeName": volume["metadata"]["name"]}
        if storage.BIND_COMPLETED in storage.notes(claim) and spec is claim["spec"]:
            return claim
        return await self._write(self._claims, storage.with_annotations({**claim, "spec": spec}, more))

    # Volumes

    async def _volume(self, volume: Obj) -> None:
        owner = await self._claim_of(volume)
        step = decisions.of_volume(volume, owner)
        if step.event is not None:
            self._recorder.event(volume, *step.event)
        if step.of_claim is not None and owner is not None:
            self._recorder.event(owner, *step.of_claim)
        if step.claim:
            reference = volume["spec"]["claimRef"]
            self.queue.add(f"{_CLAIM}{reference['namespace']}/{reference['name']}")
        if step.unbind is not None:
            volume = storage.without_annotation(volume, storage.BOUND_BY_CONTROLLER)
            spec = {key: value for key, value in volume["spec"].items() if key != "claimRef"}
            if step.unbind:
                spec["claimRef"] = step.unbind
            volume = await self._write(self._volumes, {**volume, "spec": spec})
        if step.phase:
            await self._phase(volume, step.phase, step.message)

    async def _phase(self, volume: Obj, phase: str, message: str = "") -> Obj:
        """Set a volume's phase when it is another; what else is in its status is others'."""
        if storage.phase(volume) == phase:
            return volume
        status = {key: value for key, value in _status(volume).items() if key != "message"}
        status.update({"phase": phase, **({"message": message} if message else {})})
        return await self._write(self._volumes, {**volume, "status": status}, status=True)

    async def _claim_of(self, volume: Obj) -> Obj | None:
        """The claim that a volume is bound to; the server is asked before it counts as gone."""
        reference = volume["spec"].get("claimRef") or {}
        if not reference.get("uid"):
            return None
        claim = self._claims.get(reference["namespace"], reference["name"])
        if claim is None or claim["metadata"]["uid"] != reference["uid"]:
            try:
                claim = await self._client.get(PERSISTENT_VOLUME_CLAIM, reference["name"], reference["namespace"])
            except APIError as error:
                if error.code != 404:
                    raise
                return None
        return claim if claim["metadata"]["uid"] == reference["uid"] else None

    async def _write(self, informer: Informer, obj: Obj, *, status: bool = False) -> Obj:
        written = await self._client.update(informer.kind, obj, subresource="status" if status else "")
        informer.observe(written)
        return written


class Around:
    """What the informers know, as decisions ask for it."""

    def __init__(self, claims: Informer, volumes: Informer, classes: Informer, pods: Informer) -> None:
        self._volumes = volumes
        self.classes = classes
        self.pods = pods
        claims.add_index("unbound", lambda claim: () if claim["spec"].get("volumeName") else (storage.class_of(claim),))
        claims.add_index("volume", lambda claim: filter(None, (claim["spec"].get("volumeName"),)))
        volumes.add_index("claim", _reference)
        volumes.add_index("free", lambda volume: () if volume["spec"].get("claimRef") else (storage.class_of(volume),))
        pods.add_index("waiting", _waiting)

    def volume(self, name: str) -> Obj | None:
        """See ``decisions.Surroundings``."""
        return self._volumes.get("", name)

    def candidates(self, claim: Obj) -> list[Obj]:
        """See ``decisions.Surroundings``."""
        reserved = self._volumes.by_index("claim", key_of(claim))
        return [*reserved, *self._volumes.by_index("free", storage.class_of(claim))]

    def storage_class(self, name: str) -> Obj | None:
        """See ``decisions.Surroundings``."""
        return self.classes.get("", name)

    def default_class(self) -> Obj | None:
        """See ``decisions.Surroundings``."""
        return storage.default_class(self.classes.list())

    def waiting(self, claim: Obj) -> Sequence[str]:
        """See ``decisions.Surroundings``."""
        return sorted(pod["metadata"]["name"] for pod in self.pods.by_index("waiting", key_of(claim)))


def _reference(volume: Obj) -> tuple[str, ...]:
    reference = volume["spec"].get("claimRef")
    return (f"{reference.get('namespace')}/{reference.get('name')}",) if reference else ()


def _waiting(pod: Obj) -> list[str]:
    return [] if pod["spec"].get("nodeName") or has_ended(pod) else claim_keys(pod)


def _status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def _grown(claim: Obj, volume: Obj) -> Obj:
    """The claim's capacity: the volume's, once; what an expansion has set stays."""
    held: Obj = _status(claim).get("capacity") or {}
    return held if held and storage.phase(claim) == "Bound" else volume["spec"].get("capacity") or {}

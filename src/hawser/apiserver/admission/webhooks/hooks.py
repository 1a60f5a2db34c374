"""Asking webhooks: mutating ones one after the other, validating ones all at once.

Source: Kubernetes documentation, "Dynamic Admission Control" (reinvocation policy, failure policy, side effects, audit
annotations); the texts are kube-apiserver's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson

from hawser.api.encoding import dumps
from hawser.api.errors import bad_request, forbidden, internal
from hawser.api.kind import Kind
from hawser.api.kinds import MUTATING_WEBHOOK_CONFIGURATION, NAMESPACE, VALIDATING_WEBHOOK_CONFIGURATION
from hawser.api.patch import json_patch
from hawser.api.types import Obj
from hawser.apiserver import index
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.admission.webhooks import configurations, review
from hawser.apiserver.admission.webhooks.configurations import Table, Webhook
from hawser.apiserver.admission.webhooks.matching import selects_object
from hawser.apiserver.admission.webhooks.review import Garbage, Verdict
from hawser.apiserver.callouts import CalloutError
from hawser.apiserver.resources import Resources
from hawser.apiserver.strategies import scale
from hawser.store.base import Record

if TYPE_CHECKING:
    from hawser.apiserver.admission.conditions import Conditions
    from hawser.apiserver.admission.inputs import Allows

log = logging.getLogger("hawser.apiserver")
_ROUNDS = 2
_SORTS = (MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION)

Asked = tuple[Webhook, Kind]


class Webhooks:
    """``Hooks`` of the committed webhook configurations. allows: what conditions ask when they ask the authorizer."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._callouts = resources.callouts
        self._counts = resources.admission.counts
        self.allows: Allows | None = None
        self._tables = {sort: Table() for sort in _SORTS}
        self.load()
        for sort in _SORTS:
            resources.store.follow(resources[sort].prefix, lambda events: self.load())

    def load(self) -> None:
        """Read all configurations."""
        for sort, table in self._tables.items():
            records = self._resources.store.list(self._resources[sort].prefix)
            table.load(configurations.read((orjson.loads(r.value) for r in records), review.VERSIONS))

    def wanted(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether the rules of any webhook speak of such writes."""
        for table in self._tables.values():  # noqa: SIM110 - a generator costs more than the loop
            if table.of(kind, subresource, operation):
                return True
        return False

    async def mutate(self, request: Request) -> bool:
        """Ask the mutating webhooks, in order; those that want it once more after others have changed the object."""
        asked = self._asked(MUTATING_WEBHOOK_CONFIGURATION, request)
        changed = False
        seen: dict[tuple[str, int], Obj | None] = {}
        for number in range(_ROUNDS):
            for webhook, kind in asked:
                place = (webhook.configuration, webhook.index)
                if number and not (webhook.again and place in seen and seen[place] != request.object):
                    continue
                if not await self._selected(webhook, kind, request):
                    continue
                changed |= await self._mutate(webhook, kind, request, number)
                # Its own changes are no reason to be asked again.
                seen[place] = orjson.loads(orjson.dumps(request.object)) if webhook.again else None
            if not changed or not any(webhook.again for webhook, _ in asked):
                break
        return changed

    async def _mutate(self, webhook: Webhook, kind: Kind, request: Request, number: int) -> bool:
        shown = await self._shown(request, kind, request.object)
        verdict = await self._ask(webhook, kind, request, shown, mutating=True)
        if verdict is None:
            return False
        changed = False
        if verdict.patch:
            if shown is None:
                raise internal(
                    f'admission webhook "{webhook.name}" attempted to modify the object, which is not supported'
                )
            patched = json_patch(shown, verdict.patch)
            if not isinstance(patched, dict):
                raise internal(f'admission webhook "{webhook.name}" does not leave an object')
            if patched != shown:
                await self._adopt(request, kind, patched)
                changed = True
        key = f"mutation.webhook.admission.k8s.io/round_{number}_index_{webhook.index}"
        done: Obj = {"configuration": webhook.configuration, "webhook": webhook.name, "mutated": changed}
        request.annotations[key] = dumps(done).decode()
        return changed

    async def validate(self, request: Request) -> None:
        """Ask the validating webhooks, all at once. APIError of the first in order that refuses."""
        asked = [
            (webhook, kind)
            for webhook, kind in self._asked(VALIDATING_WEBHOOK_CONFIGURATION, request)
            if await self._selected(webhook, kind, request)
        ]
        if not asked:
            return
        calls = [
            self._ask(webhook, kind, request, await self._shown(request, kind, request.object), mutating=False)
            for webhook, kind in asked
        ]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _asked(self, sort: Kind, request: Request) -> list[Asked]:
        return self._tables[sort].of(request.kind, request.subresource, request.operation)

    async def _selected(self, webhook: Webhook, kind: Kind, request: Request) -> bool:
        """Whether the webhook's selectors and conditions choose this write. APIError 403 when that cannot be told."""
        if not selects_object(webhook.objects, request.object, request.old):
            return False
        if webhook.namespaces.requirements:
            labels = self._namespace_labels(request)
            if labels is not None and not webhook.namespaces.matches(labels):
                return False
        return webhook.conditions is None or await self._meets(webhook, webhook.conditions, kind, request)

    async def _meets(self, webhook: Webhook, conditions: Conditions, kind: Kind, request: Request) -> bool:
        from hawser.apiserver.admission.inputs import Input

        new, old = [await self._shown(request, kind, obj) for obj in (request.object, request.old)]

        def namespace() -> Obj | None:
            return self._resources.find(NAMESPACE, "", request.namespace) if request.namespace else None

        outcome = conditions.match(Input(request, kind, new, old, namespace, self.allows))
        if outcome.error and not webhook.ignore:
            raise forbidden(request.kind.group, request.kind.plural, request.name, outcome.error)
        return outcome.matches

    def _namespace_labels(self, request: Request) -> dict[str, str] | None:
        """The labels of the namespace that the object is in or is; None for other cluster-scoped objects."""
        if request.kind is NAMESPACE:
            obj = request.object if request.object is not None and not request.subresource else request.old
            return ((obj or {}).get("metadata") or {}).get("labels") or {}
        if not request.kind.namespaced:
            return None
        record = self._resources.store.get(self._resources[NAMESPACE].key("", request.namespace))
        return index.of(NAMESPACE, record).labels if record is not None else {}

    async def _shown(self, request: Request, kind: Kind, obj: Obj | None) -> Obj | None:
        """An object of the request as a webhook sees it: the subresource's own, in the version it asked for."""
        if obj is None:
            return None
        if request.subresource == "scale":
            return scale.read(obj, request.kind)
        if kind is request.kind:
            return obj
        return await self._convert(obj, request.kind, kind)

    async def _adopt(self, request: Request, kind: Kind, patched: Obj) -> None:
        """Take over what a webhook made of the object that it was shown."""
        if request.subresource == "scale":
            request.object = scale.write(request.new, patched, request.kind)
        elif kind is request.kind:
            request.object = patched
        else:
            request.object = await self._convert(patched, kind, request.kind)

    async def _convert(self, obj: Obj, source: Kind, wanted: Kind) -> Obj:
        own, other = self._resources[source], self._resources[wanted]
        kept = await own.stored(obj) if own.asks else obj
        record = Record("", own.encode(kept), 0, 0)
        await other.ready([record])
        return other.load(record)

    async def _ask(
        self, webhook: Webhook, kind: Kind, request: Request, shown: Obj | None, mutating: bool
    ) -> Verdict | None:
        """The verdict of one webhook; None when it failed and that does not count. APIError for a refusal."""
        if request.dry_run and not webhook.safe:
            raise bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        uid = str(uuid4())
        old = await self._shown(request, kind, request.old)
        body = review.build(webhook.version, uid, request, kind, shown, old)
        began = time.perf_counter()
        try:
            if not webhook.version:
                raise Garbage("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
            answer = await self._callouts.post(webhook.client, body, webhook.seconds)
            verdict = review.read(answer, webhook.version, uid, mutating)
        except CalloutError as error:
            self._fail(webhook, f"failed to call webhook: {error}", request, mutating, began)
            return None
        except Garbage as error:
            self._fail(webhook, f"received invalid webhook response: {error}", request, mutating, began)
            return None
        for text in verdict.warnings:
            request.warn(text)
        for key, value in verdict.annotations.items():
            request.annotations[f"{webhook.name}/{key}"] = value
        denial = None if verdict.allowed else review.denial(webhook.name, verdict.status)
        self._counts.asked(webhook.name, mutating, request.operation, time.perf_counter() - began, denial)
        if denial is not None:
            raise denial
        return verdict

    def _fail(self, webhook: Webhook, why: str, request: Request, mutating: bool, began: float) -> None:
        text = f'failed calling webhook "{webhook.name}": {why}'
        seconds = time.perf_counter() - began
        self._counts.failed(webhook.name, mutating, request.operation, seconds, webhook.ignore)
        if not webhook.ignore:
            raise internal(text)
        log.warning("%s (ignored by its failure policy)", text)
        sort = "mutating" if mutating else "validating"
        request.annotations[f"failed-open.{sort}.webhook.admission.k8s.io/{webhook.name}"] = webhook.configuration

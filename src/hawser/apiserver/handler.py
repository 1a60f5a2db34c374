"""The way of a request: who asks, what for, may they, serve it; every failure becomes a Status."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from hawser.api.errors import APIError, internal, service_unavailable
from hawser.apiserver import backups
from hawser.apiserver.aggregation.aggregator import Aggregator
from hawser.apiserver.authentication.authenticator import Authenticator
from hawser.apiserver.authorization.base import Authorizer, attributes, enforce
from hawser.apiserver.documents import Documents
from hawser.apiserver.identity import User
from hawser.apiserver.metrics import Metrics, Requests
from hawser.apiserver.paths import Target, parse
from hawser.apiserver.presenting import present
from hawser.apiserver.proxies import Proxies
from hawser.apiserver.reply import JSON, Answer, Reply
from hawser.apiserver.reviews.dispatch import Reviews
from hawser.apiserver.streaming import STREAMS, Streams
from hawser.apiserver.verbs import Verbs
from hawser.apiserver.watching import RECORD
from hawser.store.base import StoreUnavailable

if TYPE_CHECKING:
    from hawser.apiserver.audit.recorder import Auditor, Record

log = logging.getLogger("hawser.apiserver")
_SLOW = 1.0


class Handler:
    """aiohttp's request handler."""

    def __init__(
        self,
        authenticator: Authenticator,
        authorizer: Authorizer,
        verbs: Verbs,
        documents: Documents,
        reviews: Reviews,
        streams: Streams,
        proxies: Proxies,
        aggregator: Aggregator,
        metrics: Metrics,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._verbs = verbs
        self._documents = documents
        self._reviews = reviews
        self._streams = streams
        self._proxies = proxies
        self._aggregator = aggregator
        self._metrics = metrics
        self.audit: Auditor | None = None
        """Records requests, when they are to be recorded."""

    async def __call__(self, request: web.BaseRequest) -> Answer:
        """Answer one request; never raises but for a lost connection or cancellation."""
        began = time.perf_counter()
        target = parse(request.method, request._message.path)
        counted = self._metrics.begin(target)
        try:
            answer = await self._answer(request, target)
        except BaseException:
            self._metrics.lost(counted, target)
            raise
        self._count(request, target, answer, began, counted)
        return answer

    async def _answer(self, request: web.BaseRequest, target: Target) -> Answer:
        """The answer; failures are answers, too."""
        record: Record | None = None
        try:
            user = target.user = self._authenticator.authenticate(request)
            if self.audit is not None:
                record = self._record(self.audit, request, target)
            enforce(self._authorizer, user, target)
            answer = await self._serve(request, target, user)
        except APIError as error:
            if self.audit is not None and error.code == 401 and record is None:
                record = self.audit.begin(request, target)
            answer = failure(error)
        except StoreUnavailable as error:
            answer = failure(service_unavailable(f"the store did not take the write: {error}"))
        except (ConnectionError, asyncio.CancelledError):
            if record is not None:
                record.failed()
            raise
        except Exception as error:
            log.exception("%s %s failed", request.method, target.path)
            answer = failure(internal(repr(error)))
        if record is not None:
            record.end(answer)
        if isinstance(answer, Reply):
            if target.warnings:
                answer = answer.warned(target.warnings)
            answer = await present(request, target, answer)
        return answer

    def _record(self, audit: Auditor, request: web.BaseRequest, target: Target) -> Record | None:
        """The record of a request, when it is to have one, with what the authorizer says of it."""
        record = audit.begin(request, target)
        if record is not None:
            decision = self._authorizer.allows(target.user, attributes(target))
            record.decided(decision.allowed, decision.reason)
            request[RECORD] = record
        return record

    async def _serve(self, request: web.BaseRequest, target: Target, user: User) -> Answer:
        kind = target.kind
        if target.verb == "create" and self._reviews.serves(target):
            return await self._reviews.serve(request, target, user)
        if kind is not None:
            if target.subresource in STREAMS and target.subresource in kind.subresources:
                return await self._streams.serve(request, target)
            if target.subresource == "proxy" and "proxy" in kind.subresources:
                return await self._proxies.serve(request, target)
            return await self._verbs.serve(request, target, kind)
        if target.path == backups.PATH and target.verb == "get":
            return await backups.serve(request, self._documents.store)
        elsewhere = self._aggregator.serves(target.path)
        if elsewhere is not None:
            return await self._aggregator.serve(request, elsewhere, user)
        return self._documents.serve(request, target)

    def _count(self, request: web.BaseRequest, target: Target, answer: Answer, began: float, counted: Requests) -> None:
        took = time.perf_counter() - began
        streaming = target.verb == "watch" or not isinstance(answer, Reply)
        code, size = (answer.status, len(answer.body)) if isinstance(answer, Reply) else (200, 0)
        self._metrics.end(counted, target, code, -1.0 if streaming else took, size)
        if code >= 500 or (took > _SLOW and not streaming):
            log.warning("%s %s: %d in %.3f s", request.method, target.path, code, took)


def failure(error: APIError) -> Reply:
    """The answer that an APIError is."""
    headers = list(error.headers.items())
    if error.code == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="hawser"'))
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        headers.append(("Retry-After", str(retry)))
    return Reply(orjson.dumps(error.status), error.code, JSON, headers or None)

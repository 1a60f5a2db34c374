"""The way of a request: who asks, what for, may they, serve it; every failure becomes a Status."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from aiohttp import web

from hawser.api.encoding import dumps
from hawser.api.errors import APIError, internal, service_unavailable
from hawser.apiserver import deadlines
from hawser.apiserver.authentication import impersonation
from hawser.apiserver.authentication.authenticator import Authenticator
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.authorization.base import attributes, enforce
from hawser.apiserver.flowcontrol.control import NOWHERE, FlowControl, Place
from hawser.apiserver.framing import by_lines
from hawser.apiserver.identity import User
from hawser.apiserver.metrics import Metrics, Requests
from hawser.apiserver.paths import Target, parse
from hawser.apiserver.presenting import present, settled
from hawser.apiserver.reply import JSON, Answer, Reply
from hawser.apiserver.routes import Routes
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
        access: Access,
        routes: Routes,
        flow: FlowControl,
        metrics: Metrics,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = access.authorizer
        self._policy = access.policy
        self._routes = routes
        self._metrics = metrics
        self._flow = flow
        self.audit: Auditor | None = None
        """Records requests, when they are to be recorded."""

    async def __call__(self, request: web.BaseRequest, target: Target | None = None) -> Answer:
        """Answer one request; never raises but for a lost connection or cancellation.

        target: what it asks for, when its first line has been read already.
        """
        began = time.perf_counter()
        if target is None:
            target = parse(request.method, request._message.path)
        counted = self._metrics.begin(target)
        try:
            answer = await self._answer(request, target)
        except BaseException:
            self._metrics.lost(counted)
            raise
        self._count(request, target, answer, began, counted)
        return answer

    async def _answer(self, request: web.BaseRequest, target: Target) -> Answer:
        """The answer; failures are answers, too."""
        record: Record | None = None
        place = NOWHERE
        try:
            seconds = deadlines.asked(target) if target.query else None
            user = target.user = self._authenticator.authenticate(request)
            if self.audit is not None:
                record = self.audit.begin(request, target)
            if by_lines(request, _impersonates):
                user = target.user = impersonation.acting(request._message.raw_headers, user, self._authorizer)
            place = self._flow.place(user, target)
            if record is not None:
                self._decided(record, request, target)
            if place.cleared != self._policy.generation:
                lasting = enforce(self._authorizer, user, target)
                place.cleared = self._policy.generation if lasting and place is not NOWHERE else -1
            serving = self._serve(request, target, user, place)
            answer = await serving if seconds is None else await deadlines.within(seconds, serving)
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
            for key, value in (target.annotations or {}).items():
                record.annotate(key, value)
            record.end(answer)
        if isinstance(answer, Reply):
            if place.headers:
                answer.headers = (*answer.headers, *place.headers) if answer.headers else place.headers
            if target.warnings:
                answer = answer.warned(target.warnings)
            if not settled(request, target, answer):
                answer = await present(request, target, answer)
        return answer

    async def _serve(self, request: web.BaseRequest, target: Target, user: User, place: Place) -> Answer:
        """Serve a request once its priority level has a seat for it. APIError 429."""
        level, counts = place.level, place.counts
        if level is None:
            if counts is not None:
                counts.dispatched += 1
            return await self._routes.serve(request, target, user)
        assert counts is not None
        flow = self._flow
        waited = 0.0 if flow.enters(level, counts) else await flow.enter(level, place, counts, target)
        began = time.perf_counter()
        flow.executing[target] = (place, began, waited)
        try:
            return await self._routes.serve(request, target, user)
        finally:
            del flow.executing[target]
            flow.leave(level, counts, time.perf_counter() - began)

    def _decided(self, record: Record, request: web.BaseRequest, target: Target) -> None:
        """Put what the authorizer says of a request into its record."""
        decision = self._authorizer.allows(target.user, attributes(target))
        record.decided(decision.allowed, decision.reason)
        request[RECORD] = record

    def _count(self, request: web.BaseRequest, target: Target, answer: Answer, began: float, counted: Requests) -> None:
        took = time.perf_counter() - began
        streaming = target.verb == "watch" or not isinstance(answer, Reply)
        code, size = (answer.status, len(answer.body)) if isinstance(answer, Reply) else (200, 0)
        self._metrics.end(counted, code, -1.0 if streaming else took, size)
        if code >= 500 or (took > _SLOW and not streaming):
            log.warning("%s %s: %d in %.3f s", request.method, target.path, code, took)


def _impersonates(request: web.BaseRequest) -> bool:
    return impersonation.asked(request._message.raw_headers)


def failure(error: APIError) -> Reply:
    """The answer that an APIError is."""
    headers = list(error.headers.items())
    if error.code == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="hawser"'))
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        headers.append(("Retry-After", str(retry)))
    return Reply(dumps(error.status), error.code, JSON, tuple(headers))

"""Which part of the server serves a request."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from aiohttp import web

from hawser.apiserver import backups
from hawser.apiserver.aggregation.aggregator import Aggregator
from hawser.apiserver.documents import Documents
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.proxies import Proxies
from hawser.apiserver.reply import Answer
from hawser.apiserver.reviews.dispatch import Reviews
from hawser.apiserver.streaming import STREAMS, Streams
from hawser.apiserver.usage.metrics_api import MetricsAPI
from hawser.apiserver.verbs import Verbs


@dataclass(frozen=True, slots=True)
class Routes:
    """The parts."""

    verbs: Verbs
    documents: Documents
    reviews: Reviews
    streams: Streams
    proxies: Proxies
    aggregator: Aggregator
    usage: MetricsAPI

    def serve(self, request: web.BaseRequest, target: Target, user: User) -> Awaitable[Answer]:
        """The answer to a request that may be made, to be awaited. APIError, now or then.

        No coroutine of its own: each costs every request.
        """
        kind = target.kind
        if target.verb == "create" and self.reviews.serves(target):
            return self.reviews.serve(request, target, user)
        if kind is not None:
            if target.subresource in STREAMS and target.subresource in kind.subresources:
                return self.streams.serve(request, target)
            if target.subresource == "proxy" and "proxy" in kind.subresources:
                return self.proxies.serve(request, target)
            return self.verbs.serve(request, target, kind)
        if target.path == backups.PATH and target.verb == "get":
            return backups.serve(request, self.documents.store)
        elsewhere = self.aggregator.serves(target.path)
        if elsewhere is not None:
            return self.aggregator.serve(request, elsewhere, user)
        measured = self.usage.serves(target)
        if measured is not None:
            return self.usage.serve(request, target, measured)
        return _said(self.documents.serve(request, target))


async def _said(answer: Answer) -> Answer:
    """An answer that is there already."""
    return answer

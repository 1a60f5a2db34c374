"""What the server counts: requests, those in flight, watch events. Counting is a dict lookup and an addition.

Names and labels are those of Kubernetes' metrics reference, so that its dashboards work; ``exposition.py`` writes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from hawser.api.kinds import Kind
from hawser.apiserver.paths import Target
from hawser.exposition import SECONDS, Histogram, exponential

EVENT_SIZES = exponential(1024.0, 2.0, 8)
SIZES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
TERMINATING = (429, 504)
"""Codes by which a server ends a request in self-defence."""
_READING = frozenset({"get", "list", "head", "options"})
_SIZED = frozenset({"get", "list"})
_VERBS = {"create": "POST", "update": "PUT"}
_CONNECT = frozenset({"exec", "attach", "portforward", "proxy"})
_LONG = _CONNECT | {"log"}
_HEALTH = ("/livez", "/readyz", "/healthz")


class Requests:
    """What is counted of the requests that share labels.

    flight: what those are that run now: "mutating", "readOnly", or "" for those that take long by nature.
    """

    __slots__ = ("codes", "durations", "flight", "labels", "running", "sizes")

    def __init__(self, labels: str, flight: str, sized: bool) -> None:
        self.labels = labels
        self.flight = flight
        self.codes: dict[int, int] = {}
        self.running = 0
        self.durations = Histogram()
        self.sizes = Histogram(SIZES) if sized else None


class Metrics:
    """Counters of one server.

    requests: by their labels. extra: functions that give more lines of text.
    """

    def __init__(self) -> None:
        self.requests: dict[str, Requests] = {}
        self._found: dict[tuple[str, ...], Requests] = {}
        self.extra: list[Callable[[], Iterable[str]]] = []

    def begin(self, target: Target) -> Requests:
        """A request came; ``end`` is to be called with what this returns."""
        kind = target.kind
        if kind is None:
            # Other paths are anybody's to invent: they share one set of labels.
            key: tuple[str, ...] = (target.verb, target.path if target.path.startswith(_HEALTH) else "")
        else:
            query = target.query
            # Texts, because a row of the kind table costs more to hash.
            key = (
                target.verb,
                target.group,
                target.resource,
                kind.version,
                target.subresource,
                "name" if target.name else "namespace" if target.namespace else "",
                query.get("dryRun", "") if query else "",
            )
        found = self._found.get(key)
        if found is None:
            found = self._new(key, target)
        found.running += 1
        return found

    def _new(self, key: tuple[str, ...], target: Target) -> Requests:
        """Where requests with such words are counted; once there are too many of those, all others together."""
        crowded = len(self._found) >= _MOST
        labels = _OTHER if crowded else _labels(target)
        found = self.requests.get(labels)
        if found is None:
            reads = target.verb in _READING
            flight = "readOnly" if reads else "mutating"
            if target.verb == "watch" or target.subresource in _LONG:
                flight = ""
            found = self.requests[labels] = Requests(labels, flight, target.verb in _SIZED)
        if not crowded:
            self._found[key] = found
        return found

    def end(self, requests: Requests, code: int, seconds: float, size: int) -> None:
        """A request was answered. seconds: negative for those that have no duration; size: of the answer's body."""
        requests.running -= 1
        codes = requests.codes
        codes[code] = codes.get(code, 0) + 1
        if seconds >= 0:
            durations = requests.durations
            durations.buckets[bisect_left(SECONDS, seconds)] += 1
            durations.total += seconds
            if requests.sizes is not None:
                requests.sizes.observe(size)

    def lost(self, requests: Requests) -> None:
        """The peer of a request is gone, or its handler was cancelled: nothing was answered."""
        self.end(requests, 0, -1.0, 0)


_MOST = 5_000
_OTHER = 'verb="other",dry_run="",group="",version="",resource="",subresource="",scope="",component="apiserver"'


def _labels(target: Target) -> str:
    """As kube-apiserver labels requests: verbs are those of HTTP, health checks have their path as subresource."""
    verb = _plain(_VERBS.get(target.verb, target.verb.upper()))
    dry_run = target.query.get("dryRun", "")
    subresource = target.subresource
    scope = version = group = resource = ""
    if target.kind is not None:
        group, resource, version = target.group, target.resource, target.kind.version
        if subresource in _CONNECT:
            verb = "CONNECT"
        named = target.name or target.verb == "create"
        scope = "resource" if named else "namespace" if target.namespace else "cluster"
    elif target.path.startswith(_HEALTH):
        subresource = target.path
    return (
        f'verb="{verb}",dry_run="{_plain(dry_run)}",group="{group}",version="{version}",resource="{resource}",'
        f'subresource="{_plain(subresource)}",scope="{scope}",component="apiserver"'
    )


def _plain(text: str) -> str:
    """A label's value that a client may have made up."""
    return text if text.replace("/", "").replace("-", "").isalnum() else ""


class Sent:
    """Watch events that were sent of one kind."""

    __slots__ = ("sizes",)

    def __init__(self) -> None:
        self.sizes = Histogram(EVENT_SIZES)

    @property
    def events(self) -> int:
        """How many."""
        return sum(self.sizes.buckets)

    def observe(self, events: list[bytes]) -> None:
        """Count these."""
        buckets = self.sizes.buckets
        for event in events:
            size = len(event)
            buckets[bisect_left(EVENT_SIZES, size)] += 1
            self.sizes.total += size


SENT: dict[tuple[str, str, str], Sent] = {}
"""By group, version and resource."""


def sent(kind: Kind) -> Sent:
    """The counter of a kind's watch events."""
    return SENT.setdefault((kind.group, kind.version, kind.plural), Sent())

"""What the server counts: requests, those in flight, watch events. Counting is a dict lookup and an addition.

Names and labels are those of Kubernetes' metrics reference, so that its dashboards work; ``exposition.py`` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hawser.api.kinds import Kind
from hawser.apiserver.paths import Target
from hawser.store.timing import Histogram

SIZES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
TERMINATING = (429, 504)
"""Codes by which a server ends a request in self-defence."""
_READING = frozenset({"get", "list", "head", "options"})
_SIZED = frozenset({"get", "list"})
_VERBS = {"create": "POST", "update": "PUT"}
_CONNECT = frozenset({"exec", "attach", "portforward", "proxy"})
_HEALTH = ("/livez", "/readyz", "/healthz")


class Requests:
    """What is counted of the requests that share labels."""

    __slots__ = ("codes", "durations", "labels", "running", "sizes")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.codes: dict[int, int] = {}
        self.running = 0
        self.durations: Histogram | None = None
        self.sizes: Histogram | None = None


class Metrics:
    """Counters of one server.

    requests: by their labels. mutating, reading: requests in flight. extra: functions that give more lines of text.
    """

    def __init__(self) -> None:
        self.requests: dict[str, Requests] = {}
        self._found: dict[tuple[str, ...], Requests] = {}
        self.mutating = 0
        self.reading = 0
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
        if target.verb == "watch" or target.subresource in _CONNECT:
            found.running += 1
        elif target.verb in _READING:
            self.reading += 1
        else:
            self.mutating += 1
        return found

    def _new(self, key: tuple[str, ...], target: Target) -> Requests:
        """Where requests with such words are counted; once there are too many of those, all others together."""
        if len(self._found) >= _MOST:
            return self.requests.setdefault(_OTHER, Requests(_OTHER))
        labels = _labels(target)
        found = self._found[key] = self.requests.setdefault(labels, Requests(labels))
        return found

    def end(self, requests: Requests, target: Target, code: int, seconds: float, size: int) -> None:
        """A request was answered. seconds: negative for those that have no duration; size: of the answer's body."""
        if target.verb == "watch" or target.subresource in _CONNECT:
            requests.running -= 1
        elif target.verb in _READING:
            self.reading -= 1
        else:
            self.mutating -= 1
        codes = requests.codes
        codes[code] = codes.get(code, 0) + 1
        if seconds < 0:
            return
        durations = requests.durations
        if durations is None:
            durations = requests.durations = Histogram()
        durations.observe(seconds)
        if target.verb in _SIZED:
            sizes = requests.sizes
            if sizes is None:
                sizes = requests.sizes = Histogram(SIZES)
            sizes.observe(size)

    def lost(self, requests: Requests, target: Target) -> None:
        """The peer of a request is gone, or its handler was cancelled: nothing was answered."""
        self.end(requests, target, 0, -1.0, 0)


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

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0


SENT: dict[tuple[str, str, str], Sent] = {}
"""By group, version and resource."""


def sent(kind: Kind) -> Sent:
    """The counter of a kind's watch events."""
    return SENT.setdefault((kind.group, kind.version, kind.plural), Sent())

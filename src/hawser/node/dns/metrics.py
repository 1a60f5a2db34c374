"""What the DNS server counts, under CoreDNS' names, so that its dashboards and alerts work here."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

from hawser.node.dns.wire import Rcode, Type

# CoreDNS' plugin.TimeBuckets: 0.25 ms, doubled 15 times.
_BUCKETS = tuple(0.00025 * 2**i for i in range(16))
_MORE = {15: "MX", 35: "NAPTR", 43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 65: "HTTPS", 255: "ANY"}
_NAMES = {int(t): t.name for t in Type} | _MORE


class Metrics:
    """Counts of one server. cached: how many answers are kept."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._responses: Counter[tuple[int, str]] = Counter()
        self._durations = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0
        self.hits: Counter[str] = Counter()
        self.misses = 0
        self.cached: Callable[[], int] = lambda: 0

    def hit(self, denial: bool) -> None:
        """An answer came from the cache."""
        self.hits["denial" if denial else "success"] += 1

    def answered(self, protocol: str, kind: int, zone: str, rcode: int, seconds: float) -> None:
        """A question of some type was answered. protocol: udp or tcp; zone: the own one, or "."."""
        self._requests[protocol, _NAMES.get(kind, "other"), zone] += 1
        self._responses[rcode, zone] += 1
        self._durations[bisect_left(_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def text(self) -> str:
        """Prometheus' text format."""
        lines = ["# HELP coredns_dns_requests_total Counter of DNS requests made per zone, protocol and family."]
        lines.append("# TYPE coredns_dns_requests_total counter")
        for (protocol, kind, zone), count in sorted(self._requests.items()):
            labels = f'family="1",proto="{protocol}",server="dns://:53",type="{kind}",view="",zone="{zone}"'
            lines.append(f"coredns_dns_requests_total{{{labels}}} {count}")
        lines.append("# HELP coredns_dns_responses_total Counter of response status codes.")
        lines.append("# TYPE coredns_dns_responses_total counter")
        for (rcode, zone), count in sorted(self._responses.items()):
            name = Rcode(rcode).name if rcode in list(Rcode) else str(rcode)
            labels = f'plugin="",rcode="{name}",server="dns://:53",view="",zone="{zone}"'
            lines.append(f"coredns_dns_responses_total{{{labels}}} {count}")
        lines += self._histogram()
        lines.append("# HELP coredns_cache_hits_total The count of cache hits.")
        lines.append("# TYPE coredns_cache_hits_total counter")
        for kind_of, count in sorted(self.hits.items()):
            labels = f'server="dns://:53",type="{kind_of}",view="",zones="."'
            lines.append(f"coredns_cache_hits_total{{{labels}}} {count}")
        for name, kind_of_metric, text, value in (
            ("coredns_cache_misses_total", "counter", "The count of cache misses.", self.misses),
            ("coredns_cache_entries", "gauge", "The number of elements in the cache.", self.cached()),
        ):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind_of_metric}"]
            lines.append(f'{name}{{server="dns://:53",view="",zones="."}} {value}')
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "coredns_dns_request_duration_seconds"
        labels = 'server="dns://:53",view="",zone="."'
        lines = [
            f"# HELP {name} Histogram of the time (in seconds) each request took per zone.",
            f"# TYPE {name} histogram",
        ]
        total = 0
        for bound, count in zip((*_BUCKETS, None), self._durations, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{"+Inf" if bound is None else f"{bound:g}"}"}} {total}')
        return [*lines, f"{name}_sum{{{labels}}} {self._seconds:g}", f"{name}_count{{{labels}}} {total}"]

"""What admission counts: how long plugins and webhooks take, and whom they refuse.

Names, labels and buckets are those of Kubernetes' metrics reference. A step is what all plugins do to a write
before it is validated ("admit") or after that ("validate"); webhooks are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.errors import APIError
from hawser.apiserver.admission.base import Operation
from hawser.exposition import Histogram
from hawser.series import Counters, Histograms

ADMIT, VALIDATE = "admit", "validate"
_SORTS = {True: "admit", False: "validating"}
"""What webhooks are called: mutating or not."""
_EDGES = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_PREFIX = "apiserver_admission_"
_LABELS = ("type", "operation", "rejected")
_UNREACHABLE = 503


class Counts:
    """Of one server."""

    def __init__(self) -> None:
        text = "Admission {} latency histogram in seconds, broken out for each operation and type (validate or admit)."
        named = ("name", *_LABELS)
        self.steps = Histograms(_PREFIX + "step_admission_duration_seconds", text.format("sub-step"), _LABELS, _EDGES)
        self.controllers = Histograms(
            _PREFIX + "controller_admission_duration_seconds", text.format("controller"), named, _EDGES
        )
        self.webhooks = Histograms(
            _PREFIX + "webhook_admission_duration_seconds", text.format("webhook"), named, (*_EDGES, 10.0, 25.0)
        )
        self.requests = Counters(
            _PREFIX + "webhook_request_total",
            "Admission webhook request total, identified by name, type, operation, status code and whether rejected.",
            ("name", "type", "operation", "code", "rejected"),
        )
        self.rejections = Counters(
            _PREFIX + "webhook_rejection_count",
            "Admission webhook rejection count, identified by name, type, operation, sort of error and rejection code.",
            ("name", "type", "operation", "error_type", "rejection_code"),
        )
        self.opened = Counters(
            _PREFIX + "webhook_fail_open_count",
            "Admission webhook fail open count, identified by name and broken out for each admission type.",
            ("name", "type"),
        )
        self.checks = Counters(
            "apiserver_validating_admission_policy_check_total",
            "Validation admission policy check total, labeled by policy, binding and enforcement action taken.",
            ("policy", "policy_binding", "error_type", "enforcement_action"),
        )

    def lines(self) -> Iterator[str]:
        """Everything, in Prometheus' text format."""
        for found in (self.steps, self.controllers, self.webhooks):
            yield from found.lines()
        for counted in (self.requests, self.rejections, self.opened, self.checks):
            yield from counted.lines()

    def step(self, name: str, operation: Operation, step: str) -> tuple[Histogram, Histogram]:
        """Where the seconds of a plugin are counted, or with an empty name of a whole step: admitted, refused."""
        family, start = (self.controllers, (name,)) if name else (self.steps, ())
        return family.of(*start, step, operation, "false"), family.of(*start, step, operation, "true")

    def asked(self, webhook: str, mutating: bool, operation: Operation, seconds: float, error: APIError | None) -> None:
        """A webhook answered. error: its refusal."""
        code = 200 if error is None else min(error.code, 600)
        if error is not None:
            self.rejections.add(webhook, _SORTS[mutating], operation, "no_error", str(code))
        self._seen(webhook, mutating, operation, seconds, code, error is not None)

    def failed(self, webhook: str, mutating: bool, operation: Operation, seconds: float, ignored: bool) -> None:
        """A webhook could not be asked, or did not answer as it must. ignored: by its failure policy."""
        if ignored:
            self.opened.add(webhook, _SORTS[mutating])
        else:
            self.rejections.add(webhook, _SORTS[mutating], operation, "calling_webhook_error", str(_UNREACHABLE))
        self._seen(webhook, mutating, operation, seconds, _UNREACHABLE, not ignored)

    def _seen(
        self, webhook: str, mutating: bool, operation: Operation, seconds: float, code: int, rejected: bool
    ) -> None:
        said = "true" if rejected else "false"
        self.requests.add(webhook, _SORTS[mutating], operation, str(code), said)
        self.webhooks.of(webhook, _SORTS[mutating], operation, said).observe(seconds)

"""PodSecurity: pods, workloads and namespaces against the pod security standards.

Source: Kubernetes documentation, "Pod Security Admission"; KEP-2579; audit annotations reference.
"""

from __future__ import annotations

from hawser.api import kinds
from hawser.api.errors import invalid
from hawser.api.kind import Kind
from hawser.api.kinds import NAMESPACE, POD
from hawser.api.podsecurity.levels import EVERYTHING, PREFIX, Level, Policy, Rule, policy_of, stricter
from hawser.api.podsecurity.workloads import Exemptions, existing, significant, template
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.committed import Committed

_WORKLOADS = frozenset(
    (
        *(kinds.REPLICATION_CONTROLLER, kinds.POD_TEMPLATE, kinds.REPLICA_SET, kinds.DEPLOYMENT),
        *(kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.JOB, kinds.CRON_JOB),
    )
)
_POD_PARTS = frozenset(("", "ephemeralcontainers", "resize"))


class PodSecurity(Plugin):
    """See the module."""

    name = "PodSecurity"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._defaults = EVERYTHING
        self._exempt = Exemptions()

    def configure(self, defaults: Policy, exemptions: Exemptions) -> None:
        """Set what holds for namespaces without labels, and whom nothing holds for."""
        self._defaults, self._exempt = defaults, exemptions

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Pods and what makes them, and namespaces."""
        if operation not in (Operation.CREATE, Operation.UPDATE):
            return False
        if kind is POD:
            return subresource in _POD_PARTS
        return not subresource and (kind is NAMESPACE or kind in _WORKLOADS)

    def validate(self, request: Request) -> None:
        """APIError 403 for a pod that violates what is enforced, 422 for labels that mean nothing."""
        if request.kind is NAMESPACE:
            self._namespace(request)
            return
        labels = self._committed.labels(NAMESPACE, request.namespace)
        policy, errors = policy_of(labels, self._defaults)
        if policy.idle and not errors:
            if request.kind is POD:
                request.annotations[PREFIX + "enforce-policy"] = str(policy.enforce)
            return
        pod = template(request.kind.kind, request.new)
        if pod is None or self._is_exempt(request, pod):
            return
        if errors:
            request.annotations[PREFIX + "error"] = f"Failed to parse policy: {'; '.join(map(str, errors))}"
        self._pod(request, policy, pod)

    def _is_exempt(self, request: Request, pod: Obj) -> bool:
        exempt = self._exempt
        dimension = ""
        if request.namespace in exempt.namespaces:
            dimension = "namespace"
        elif request.user.name in exempt.users:
            dimension = "user"
        elif (pod.get("spec") or {}).get("runtimeClassName") in exempt.runtime_classes:
            dimension = "runtimeClass"
        elif request.kind is POD and request.old is not None and not significant(request.new, request.old):
            return True
        if dimension:
            request.annotations[PREFIX + "exempt"] = dimension
        return bool(dimension)

    def _pod(self, request: Request, policy: Policy, pod: Obj) -> None:
        # A server without labelled namespaces never needs the checks.
        from hawser.api.podsecurity.checks import details, violations

        metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        found: dict[Rule, str] = {}

        def said(rule: Rule) -> str:
            if rule not in found:
                found[rule] = details(violations(rule, metadata, spec))
            return found[rule]

        if request.kind is POD:
            request.annotations[PREFIX + "enforce-policy"] = str(policy.enforce)
        if said(policy.audit):
            request.annotations[PREFIX + "audit-violations"] = (
                f'would violate PodSecurity "{policy.audit}": {said(policy.audit)}'
            )
        if request.kind is POD and said(policy.enforce):
            raise refused(request, f'violates PodSecurity "{policy.enforce}": {said(policy.enforce)}')
        if said(policy.warn):
            request.warn(f'would violate PodSecurity "{policy.warn}": {said(policy.warn)}')

    def _namespace(self, request: Request) -> None:
        labels = request.new["metadata"].get("labels")
        before = request.old["metadata"].get("labels") if request.old is not None else None
        if request.old is not None and labels == before:
            return
        policy, errors = policy_of(labels, self._defaults)
        name = request.new["metadata"]["name"]
        was, old_errors = policy_of(before, self._defaults)
        if errors and (request.old is None or list(map(str, errors)) != list(map(str, old_errors))):
            raise invalid("", NAMESPACE.kind, name, errors)
        rule = policy.enforce
        if request.old is None:
            self._tell_exempt(request, name, policy)
            return
        if rule == was.enforce or rule.level is Level.PRIVILEGED:
            return
        if rule.version == was.enforce.version and not stricter(rule.level, was.enforce.level):
            return
        if name in self._exempt.namespaces:
            self._tell_exempt(request, name, policy)
            return
        pods = list(self._committed.once(POD, name))
        for text in existing(name, rule, pods, self._exempt.runtime_classes):
            request.warn(text)

    def _tell_exempt(self, request: Request, name: str, policy: Policy) -> None:
        """A policy that has no effect should not be trusted."""
        if name in self._exempt.namespaces and not policy.idle and policy != self._defaults:
            labels = request.new["metadata"].get("labels") or {}
            text = ", ".join(
                f"{mode}={rule}"
                for mode, rule in (("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn))
                if rule.level is not Level.PRIVILEGED
                and not labels.keys().isdisjoint((PREFIX + mode, f"{PREFIX}{mode}-version"))
            )
            request.warn(f'namespace "{name}" is exempt from Pod Security, and the policy ({text}) will be ignored')

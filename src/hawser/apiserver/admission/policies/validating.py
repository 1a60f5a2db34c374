"""ValidatingAdmissionPolicy: expressions that must be true of what is written.

Source: Kubernetes documentation, "Validating Admission Policy"; KEP-3488. The sentences are kube-apiserver's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hawser.api.encoding import dumps
from hawser.api.errors import APIError
from hawser.api.kinds import VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Request
from hawser.apiserver.admission.policies.base import Policies
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.committed import Committed

if TYPE_CHECKING:
    from hawser.apiserver.admission.inputs import Input
    from hawser.apiserver.admission.policies.compiled import Binding, Check, Policy
    from hawser.apiserver.admission.policies.evaluation import Evaluation
    from hawser.apiserver.resources import Resources

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_MESSAGE_SIZE = 5 * 1024
_ANNOTATION_SIZE = 10 * 1024
_INVALID, _SPENT = "invalid_error", "out_of_budget"
_FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request is not to be written. binding: None when the policy itself is at fault.

    error: why there is no decision of the expression's own, as metrics say it.
    """

    policy: str
    binding: str | None
    message: str
    reason: str = ""
    index: int = 0
    error: str = "no_error"

    def refusal(self, request: Request) -> APIError:
        """As the client is told."""
        bound = f" with binding '{self.binding}'" if self.binding is not None else ""
        message = f"ValidatingAdmissionPolicy '{self.policy}'{bound} denied request: {self.message}"
        made = refused(request, message)
        reason = self.reason or "Invalid"
        details = {**(made.details or {})}
        details["causes"] = [*(details.get("causes") or ()), {"message": message}]
        return APIError(_CODES.get(reason, 422), reason, made.message, details=details)


class ValidatingAdmissionPolicy(Policies):
    """The plugin."""

    name = "ValidatingAdmissionPolicy"

    def __init__(self, resources: Resources, committed: Committed) -> None:
        super().__init__(resources, committed, VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING)

    def validate(self, request: Request) -> None:
        """APIError of the first policy in order of names that denies."""
        denials: list[Denial] = []
        for policy, bindings in self.bound(request):
            self._policy(policy, bindings, request, denials)
        if denials:
            raise denials[0].refusal(request)

    def _policy(self, policy: Policy, bindings: tuple[Binding, ...], request: Request, denials: list[Denial]) -> None:
        annotations: dict[str, list[str]] = {}
        given: Input | None = None
        for binding, kind, params in self.invocations(policy, bindings, request):
            if isinstance(params, str):
                if not policy.ignore:
                    what = "binding" if binding is not None else "policy"
                    name = binding.name if binding is not None else None
                    denials.append(Denial(policy.name, name, f"failed to configure {what}: {params}"))
                continue
            assert binding is not None
            given = given or self.given(request, kind)
            for param in params:
                found = _evaluate(policy, binding.name, given, param, annotations)
                denials += _act(found, binding, request)
                self._count(found, binding)
        for key, values in annotations.items():
            request.annotations[f"{policy.name}/{key}"] = ", ".join(values)

    def _count(self, found: list[Denial], binding: Binding) -> None:
        checks = self._resources.admission.counts.checks
        for denial in found:
            for action in binding.actions:
                checks.add(denial.policy, binding.name, denial.error, action.lower())


def _act(found: list[Denial], binding: Binding, request: Request) -> list[Denial]:
    """What a binding makes of decisions: those that deny."""
    denied = []
    for denial in found:
        if "Deny" in binding.actions:
            denied.append(denial)
        if "Audit" in binding.actions:
            request.annotations[_FAILURE_KEY] = _audited(denial, binding)
        if "Warn" in binding.actions:
            request.warn(
                f"Validation failed for ValidatingAdmissionPolicy '{denial.policy}' with binding "
                f"'{binding.name}': {denial.message}"
            )
    return denied


def _audited(denial: Denial, binding: Binding) -> str:
    shown = {
        "message": denial.message,
        "policy": denial.policy,
        "binding": binding.name,
        "expressionIndex": denial.index,
        "validationActions": list(binding.actions),
    }
    return dumps([shown]).decode()


def _evaluate(
    policy: Policy, binding: str, given: Input, param: Obj | None, annotations: dict[str, list[str]]
) -> list[Denial]:
    """The decisions of a policy with one parameter that are no admission; collects annotations."""
    from hawser.apiserver.admission.policies.evaluation import Evaluation, OutOfBudgetError

    if policy.conditions:
        outcome = policy.conditions.match(given, [param] if policy.param_kind is not None else ())
        if outcome.error:
            return [] if policy.ignore else [Denial(policy.name, binding, outcome.error, error=_INVALID)]
        if not outcome.matches:
            return []
    evaluation = Evaluation(policy, given, param)
    try:
        found = [
            denial
            for index, check in enumerate(policy.checks)
            if (denial := _decide(evaluation, policy, binding, check, index)) is not None
        ]
        return found + _annotate(evaluation, policy, binding, annotations)
    except OutOfBudgetError as error:
        return [] if policy.ignore else [Denial(policy.name, binding, str(error), error=_SPENT)]


def _decide(evaluation: Evaluation, policy: Policy, binding: str, check: Check, index: int) -> Denial | None:
    from hawser.apiserver.admission.policies.evaluation import Failure

    try:
        value = evaluation.value(check.source["expression"], check.program)
    except Failure as error:
        return None if policy.ignore else Denial(policy.name, binding, str(error), index=index, error=_INVALID)
    if value is True:
        return None
    message = _message(evaluation, check)
    return Denial(policy.name, binding, message, check.source.get("reason") or "Invalid", index)


def _message(evaluation: Evaluation, check: Check) -> str:
    """Of messageExpression, message or the expression, the first that says something."""
    from hawser.apiserver.admission.policies.evaluation import Failure

    made: Any = ""
    if check.message is not None:
        try:
            made = evaluation.value(check.source["messageExpression"], check.message)
        except Failure:
            made = ""
    text: str = made.strip() if isinstance(made, str) else ""
    if text and "\n" not in text and len(text.encode()) <= _MESSAGE_SIZE:
        return text
    given = (check.source.get("message") or "").strip()
    return str(given) or f"failed expression: {check.source['expression'].strip()}"


def _annotate(evaluation: Evaluation, policy: Policy, binding: str, annotations: dict[str, list[str]]) -> list[Denial]:
    from hawser.apiserver.admission.policies.evaluation import Failure

    denials = []
    for key, source, program in policy.annotations:
        try:
            value = evaluation.value(source, program)
        except Failure as error:
            if not policy.ignore:
                denials.append(Denial(policy.name, binding, str(error), error=_INVALID))
            continue
        text = value.strip()[:_ANNOTATION_SIZE] if isinstance(value, str) else ""
        if text and text not in annotations.setdefault(key, []):
            annotations[key].append(text)
    return denials

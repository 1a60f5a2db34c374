"""MutatingAdmissionPolicy: expressions that say how to change what is written.

Source: Kubernetes documentation, "Mutating Admission Policy"; KEP-3962. The sentences are kube-apiserver's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.kinds import MUTATING_ADMISSION_POLICY, MUTATING_ADMISSION_POLICY_BINDING
from hawser.api.strategic import clone
from hawser.api.types import Obj
from hawser.apiserver import scheme
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.admission.policies.base import Policies
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.committed import Committed
from hawser.apiserver.strategies import scale

if TYPE_CHECKING:
    from hawser.apiserver.admission.policies.compiled import Binding, Compiled, Policy
    from hawser.apiserver.admission.policies.evaluation import Evaluation
    from hawser.apiserver.resources import Resources

_ROUNDS = 2


class MutatingAdmissionPolicy(Policies):
    """The plugin."""

    name = "MutatingAdmissionPolicy"

    def __init__(self, resources: Resources, committed: Committed) -> None:
        super().__init__(resources, committed, MUTATING_ADMISSION_POLICY, MUTATING_ADMISSION_POLICY_BINDING)

    def mutate(self, request: Request) -> None:
        """Apply every policy in order of names; once more those that want it when later ones changed the object."""
        bound = self.bound(request)
        if not bound or request.operation not in (Operation.CREATE, Operation.UPDATE) or request.object is None:
            return
        problems: list[tuple[str, str]] = []
        left: dict[str, Obj | None] = {}
        for round_ in range(_ROUNDS):
            if round_:
                bound = [one for one in bound if one[0].again and left.get(one[0].name) != request.object]
            for policy, bindings in bound:
                found = self._policy(policy, bindings, request)
                if not policy.ignore:
                    problems += found
                if policy.again:
                    left[policy.name] = clone(request.object)
        if problems:
            raise _error(request, problems)

    def _policy(self, policy: Policy, bindings: tuple[Binding, ...], request: Request) -> list[tuple[str, str]]:
        """Why a policy could not do what it should: (message, reason)."""
        problems = []
        for binding, kind, params in self.invocations(policy, bindings, request):
            if binding is None:
                problems.append((f'policy "{policy.name}" denied request: {params}', ""))
                continue
            lead = f"policy '{policy.name}' with binding '{binding.name}' denied request: "
            if isinstance(params, str):
                problems.append((lead + params, ""))
                continue
            for param in params:
                message = self._mutations(policy, kind, param, request)
                if message:
                    problems.append((lead + message, "Invalid"))
        return problems

    def _mutations(self, policy: Policy, kind: Kind, param: Obj | None, request: Request) -> str:
        """Carry out all mutations of a policy; what went wrong, or nothing."""
        from hawser.apiserver.admission.policies.evaluation import Evaluation, Failure, OutOfBudgetError
        from hawser.apiserver.admission.policies.patches import PatchError

        given = self.given(request, kind)
        if policy.conditions:
            outcome = policy.conditions.match(given, [param] if policy.param_kind is not None else ())
            if outcome.error or not outcome.matches:
                return outcome.error
        problem = ""
        for form, source, program in policy.mutations:
            evaluation = Evaluation(policy, self.given(request, kind), param)
            try:
                self._mutate(form, evaluation, source, program, kind, request)
            except (Failure, OutOfBudgetError, PatchError) as error:
                problem = problem or str(error)
        return problem

    def _mutate(
        self, form: str, evaluation: Evaluation, source: str, program: Compiled, kind: Kind, request: Request
    ) -> None:
        from hawser.apiserver.admission.policies import patches

        shown = self.shown(request, kind, request.object)
        if shown is None:
            return
        value = evaluation.value(source, program)
        made = patches.patched(shown, value) if form == "JSONPatch" else patches.configured(kind, shown, value)
        if made == shown:
            return
        if request.subresource == "scale":
            request.object = scale.write(request.new, made, request.kind)
            return
        scheme.read(kind, made, scheme.Fields(scheme.STRICT))
        request.object = made if kind is request.kind else self.converted(made, kind, request.kind)


def _error(request: Request, problems: list[tuple[str, str]]) -> APIError:
    """As the client is told: the first problem, with all of them as causes."""
    base = refused(request, problems[0][0])
    details = {**(base.details or {}), "causes": [{"message": message} for message, _ in problems]}
    return APIError(403, problems[0][1] or "Forbidden", problems[0][0], details=details)

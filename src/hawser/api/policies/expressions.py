"""The expressions of admission policies, compiled: what they may name and what they must evaluate to.

Source: API reference, ValidatingAdmissionPolicy and MutatingAdmissionPolicy; Kubernetes documentation, "Validating
Admission Policy" and "Mutating Admission Policy". Whether an expression can be compiled does not depend on objects:
``object``, ``oldObject`` and ``params`` may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hawser.api.cel.declarations import Environment, function
from hawser.api.cel.program import CompileError, Program, compile_expression, functions
from hawser.api.cel.request_types import VARIABLES
from hawser.api.cel.types import BOOL, DYN, NULL, STRING, Field, Shape, Type, list_of
from hawser.api.types import Obj

OBJECT = Type("object", "Object")
"""What ApplyConfiguration expressions make; messages below it are named after the way to them (Object.spec)."""
JSON_PATCH = Type(
    "object",
    "JSONPatch",
    shape=Shape(fields={"op": Field("op", STRING), "path": Field("path", STRING), "from": Field("from", STRING),
                        "value": Field("value", DYN)}),
)  # fmt: skip
_MESSAGES = {"Object": OBJECT, "JSONPatch": JSON_PATCH}
_VARIABLES_TYPE = "kubernetes.variables"


class ExpressionError(ValueError):
    """An expression that cannot be compiled, in kube-apiserver's words."""


@dataclass(slots=True)
class Scope:
    """What the expressions of one policy may name. params: whether there are any. types: of variables so far.

    given: the types of object, oldObject and params where they are known (type checking).
    """

    params: bool = False
    mutating: bool = False
    given: dict[str, Type] = field(default_factory=dict)
    types: dict[str, Field] = field(default_factory=dict)

    def environment(self, authorizer: bool = True, variables: bool = True) -> Environment:
        """The names, in the order in which evaluation gives their values."""
        known = {name: self.given.get(name, one) for name, one in VARIABLES.items()}
        if not authorizer:
            known = {name: one for name, one in known.items() if not name.startswith("authorizer")}
        if self.params:
            known["params"] = self.given.get("params", DYN)
        if variables and self.types:
            known["variables"] = Type("object", _VARIABLES_TYPE, shape=Shape(fields=dict(self.types)))
        if not self.mutating:
            return Environment(known, functions())
        return Environment(known, {**functions(), **_PATCH_FUNCTIONS}, _MESSAGES)

    def compile(self, source: str, wanted: Sequence[Type], authorizer: bool = True, variables: bool = True) -> Program:
        """A program. ExpressionError."""
        try:
            return compile_expression(source, self.environment(authorizer, variables), wanted)
        except CompileError as error:
            raise ExpressionError(f"compilation failed: {error}") from None
        except ValueError as error:
            raise ExpressionError(str(error)) from None

    def variable(self, entry: Obj) -> Program:
        """A variable, which later expressions may name. ExpressionError; it is of any type then."""
        name = entry.get("name", "")
        self.types.setdefault(name, Field(name, DYN))
        known = {key: one for key, one in self.types.items() if key != name}
        before, self.types = self.types, known
        # Patches are what mutations make, not variables.
        mutating, self.mutating = self.mutating, False
        try:
            program = self.compile(entry.get("expression", ""), ())
        finally:
            self.types, self.mutating = before, mutating
        self.types[name] = Field(name, program.result)
        return program


def _escape_key(text: str) -> str:
    """A key as a JSON pointer has it (RFC 6901)."""
    return text.replace("~", "~0").replace("/", "~1")


_PATCH_FUNCTIONS = {"jsonpatch.escapeKey": [function("jsonpatch.escapeKey(string) -> string", _escape_key)]}
VALIDATION = (BOOL,)
MESSAGE = (STRING,)
AUDIT = (STRING, NULL)
APPLY = (OBJECT,)
PATCH = (list_of(JSON_PATCH),)

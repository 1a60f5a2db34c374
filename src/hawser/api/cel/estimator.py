"""The most that an expression can cost, told from its types' limits before it is ever evaluated.

Source: cel-go's cost estimator; Kubernetes refuses rules by it when they are written.
"""

from __future__ import annotations

from dataclasses import dataclass

from hawser.api.cel.checker import Checked
from hawser.api.cel.compiler import LIST_COST, MAP_COST, STRUCT_COST
from hawser.api.cel.estimates import Estimate, Operand, estimate
from hawser.api.cel.sizes import MOST, NOTHING, ONE, UNKNOWN, Range, exactly
from hawser.api.cel.syntax import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select, Struct
from hawser.api.cel.types import Type, is_optional

_SCALARS = frozenset(("bool", "int", "uint", "double", "timestamp", "duration", "type", "null"))
_HOLDERS = frozenset(("map", "object", "dyn", "error", "opaque"))


@dataclass(slots=True)
class _Known:
    """What is known of a node's value. limits: the declared type that it came from, which has its limits."""

    size: Range | None = None
    limits: Type | None = None
    item: _Known | None = None


def worst_cost(checked: Checked, variables: dict[str, Type]) -> int:
    """The most that an expression costs. variables: with the limits of their schemas, by name."""
    return _Estimator(checked, variables).cost(checked.root)[0].most


class _Estimator:
    def __init__(self, checked: Checked, variables: dict[str, Type]) -> None:
        self._checked = checked
        self._seen: dict[int, tuple[Range, _Known]] = {}
        self._scopes: list[dict[str, _Known]] = [{name: _declared(one) for name, one in variables.items()}]

    def cost(self, node: Node) -> tuple[Range, _Known]:
        """The cost of a node and what is known of its value; macros have nodes in several places."""
        found = self._seen.get(id(node))
        if found is None:
            found = self._seen[id(node)] = self._cost(node)
        return found

    def _cost(self, node: Node) -> tuple[Range, _Known]:
        match node:
            case Literal():
                size = len(node.value) if isinstance(node.value, str | bytes) else 1
                return NOTHING, _Known(exactly(size))
            case Ident():
                return ONE, self._lookup(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListNode():
                return self._list(node)
            case MapNode():
                made = [self.cost(part)[0] for key, value, _ in node.entries for part in (key, value)]
                return sum(made, exactly(MAP_COST)), _Known(exactly(len(node.entries)))
            case Struct():
                return sum((self.cost(one[1])[0] for one in node.fields), exactly(STRUCT_COST)), _Known()
            case Fold():
                return self._fold(node)
        raise AssertionError(node)

    def _lookup(self, node: Ident) -> _Known:
        for scope in reversed(self._scopes):
            if node.name in scope:
                return scope[node.name]
        return self._typed(node)

    def _typed(self, node: Node) -> _Known:
        """By its type alone."""
        return _Known(ONE if self._checked.type(node).kind in _SCALARS else None)

    def _select(self, node: Select) -> tuple[Range, _Known]:
        if id(node) in self._checked.names:
            return ONE, self._typed(node)
        cost, holder = self.cost(node.operand)
        if node.test:
            return cost, _Known(ONE)
        if self._checked.type(node.operand).kind in _HOLDERS:
            cost = cost + ONE
        return cost, self._field(node, holder, node.field)

    def _field(self, node: Node, holder: _Known, name: str) -> _Known:
        limits = holder.limits
        if limits is not None and limits.kind == "object" and name in limits.shape.fields:
            return _declared(limits.shape.fields[name].type)
        if limits is not None and limits.kind == "map":
            return _declared(limits.params[1])
        return self._typed(node)

    def _list(self, node: ListNode) -> tuple[Range, _Known]:
        cost = exactly(LIST_COST)
        item: Range | None = None
        for one in node.items:
            own, known = self.cost(one)
            cost = cost + own
            size = known.size or UNKNOWN
            item = size if item is None else item | size
        return cost, _Known(exactly(len(node.items)), None, _Known(item) if item is not None else None)

    def _operand(self, node: Node, known: _Known) -> Operand:
        given = self._checked.type(node)
        item = None
        if given.kind == "list" and given.params[0].kind in ("string", "bytes"):
            item = (known.item.size if known.item is not None else None) or UNKNOWN
        size = known.size or (ONE if given.kind in _SCALARS else UNKNOWN)
        return Operand(size, given.kind == "list", item)

    def _call(self, node: Call) -> tuple[Range, _Known]:
        if node.function == "_?._":
            cost, holder = self.cost(node.args[0])
            chosen = node.args[1]
            assert isinstance(chosen, Literal)
            return cost + ONE, self._field(node, holder, chosen.value)
        forms = self._checked.overloads[id(node)]
        nodes = [node.target, *node.args] if node.target is not None and forms[0].method else list(node.args)
        made = [self.cost(one) for one in nodes if one is not None]
        costs = [cost for cost, _ in made]
        name = forms[0].name
        match name:
            case "_&&_" | "_||_":
                return Range(costs[0].least, (costs[0] + costs[1]).most), _Known(ONE)
            case "_?_:_":
                either = (made[1][1].size or UNKNOWN) | (made[2][1].size or UNKNOWN)
                return costs[0] + (costs[1] | costs[2]), _Known(either, made[1][1].limits, made[1][1].item)
            case "dyn":
                return costs[0] + ONE, made[0][1]
            case "_[_]" | "_[?_]":
                return sum(costs, ONE), self._indexed(node, made[0][1])
        operands = [self._operand(one, known) for one, (_, known) in zip(nodes, made, strict=True) if one is not None]
        found: Estimate | None = None
        for form in forms:
            one = estimate(name, form.id, operands)
            found = one if found is None else Estimate(found.cost | one.cost, one.size)
        assert found is not None
        item = made[0][1].item if made and name in ("_+_", "slice", "reverse", "sort", "distinct") else None
        size = found.size if found.size is not None else self._typed(node).size
        return sum(costs, found.cost), _Known(size, None, item)

    def _indexed(self, node: Node, holder: _Known) -> _Known:
        limits = holder.limits
        if limits is not None and limits.kind in ("list", "map"):
            return _declared(limits.params[-1])
        return holder.item or self._typed(node)

    def _fold(self, node: Fold) -> tuple[Range, _Known]:
        cost, holder = self.cost(node.range)
        if node.macro in ("optMap", "optFlatMap", "bind"):
            self._scopes.append({node.variables[0]: holder})
            own, known = self.cost(node.result)
            self._scopes.pop()
            return cost + own + exactly(3), known
        start, accumulator = self.cost(node.start)
        given = self._checked.type(node.range)
        key, item = self._entries(given, holder)
        if len(node.variables) == 2:
            scope = {node.variables[0]: key, node.variables[1]: item}
        else:
            scope = {node.variables[0]: key if given.kind == "map" else item}
        self._scopes.append({node.accumulator: _Known(accumulator.size if isinstance(node.start, Literal) else None)})
        self._scopes.append(scope)
        turn = self.cost(node.condition)[0]
        step, _ = self.cost(node.step)
        value = self.cost(node.parts[-1])[1] if node.macro == "map" else item
        if node.macro == "sortBy":
            turn = turn + (holder.size or UNKNOWN)
        self._scopes.pop()
        result, _ = self.cost(node.result)
        self._scopes.pop()
        count = holder.size or UNKNOWN
        total = cost + start + result + count * (turn + step)
        if isinstance(node.start, Literal):
            return total, _Known(ONE)
        return total, _Known(count, None, value)

    def _entries(self, given: Type, holder: _Known) -> tuple[_Known, _Known]:
        limits = holder.limits
        if limits is not None and limits.kind == "list":
            return _Known(ONE), _declared(limits.params[0])
        if limits is not None and limits.kind == "map":
            return _declared(limits.params[0]), _declared(limits.params[1])
        kind = given.params[-1].kind if given.params else ""
        unknown = holder.item or _Known(ONE if kind in _SCALARS else None)
        return (_Known(ONE), unknown) if given.kind == "list" else (_Known(), unknown)


def _declared(given: Type) -> _Known:
    """By a declared type: from nothing to its largest size. Scalars of a schema count nothing in comparisons."""
    if is_optional(given):
        given = given.params[0]
    most = given.shape.most
    if most is None and given.kind in ("string", "bytes", "list", "map", "dyn", "opaque"):
        return _Known(None, given)
    return _Known(Range(0, min(most or 0, MOST)), given)

"""The parser of CEL expressions: precedence climbing over a list of tokens; macros expand as they are read.

Source: CEL language definition, "Syntax". Operators become calls of cel-go's internal names, which messages show, and
every node keeps the place that cel-go points to (of calls the parenthesis, of selections the dot).
"""

from __future__ import annotations

from hawser.api.cel import macros
from hawser.api.cel.syntax import Call, CompileError, Ident, ListNode, Literal, MapNode, Node, Select, Source, Struct
from hawser.api.cel.tokens import LIMIT, Token, tokenize
from hawser.api.cel.values import INT_MAX

_EXPECTED = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_RELATIONS = {"==": "_==_", "!=": "_!=_", "<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "in": "@in"}
_BINARY: dict[str, tuple[int, str]] = {
    **{text: (1, name) for text, name in _RELATIONS.items()},
    "+": (2, "_+_"), "-": (2, "_-_"), "*": (3, "_*_"), "/": (3, "_/_"), "%": (3, "_%_"),
}  # fmt: skip
RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
     "namespace", "return", "var", "void", "while")
)  # fmt: skip
"""Words that are no names."""
DEPTH = 60
"""How deep parentheses nest, and (times two) how deep a tree is: evaluation recurses."""


class _Problem(Exception):
    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at


def parse(text: str) -> Node:
    """The tree of an expression. Raises CompileError with every lexical error or the first of syntax."""
    source = Source(text)
    if len(text) > LIMIT:
        raise CompileError(source, [(0, f"expression code point size exceeds limit: size: {len(text)}, limit {LIMIT}")])
    tokens, problems = tokenize(text)
    if problems:
        raise CompileError(source, problems)
    try:
        parser = _Parser(tokens)
        found = parser.expression()
        parser.end()
    except _Problem as problem:
        raise CompileError(source, [(problem.at, str(problem))]) from None
    except macros.MacroError as problem:
        raise CompileError(source, [(problem.at, str(problem))]) from None
    if _depth(found) > 2 * DEPTH:
        raise CompileError(source, [(0, "expression recursion limit exceeded: 250")])
    return found


def _depth(root: Node) -> int:
    """The longest path of a tree, without recursion."""
    deepest = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting.extend((below, depth + 1) for below in macros.children(node))
    return deepest


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, kind: str) -> Token | None:
        return self._take() if self._token.kind == kind else None

    def _expect(self, kind: str) -> Token:
        if self._token.kind != kind:
            self._fail(f"'{kind}'" if kind != "ident" else "IDENTIFIER")
        return self._take()

    def _fail(self, expected: str) -> None:
        token = self._token
        raise _Problem(token.at, f"Syntax error: mismatched input '{token.text}' expecting {expected}")

    def end(self) -> None:
        if self._token.kind == "eof":
            return
        token = self._token
        last = self._tokens[self._next + 1].kind == "eof"
        raise _Problem(
            token.at, f"Syntax error: {'extraneous' if last else 'mismatched'} input '{token.text}' expecting <EOF>"
        )

    def expression(self) -> Node:
        """A ternary and all that binds tighter."""
        self._depth += 1
        if self._depth > DEPTH:
            raise _Problem(self._token.at, "expression recursion limit exceeded: 250")
        condition = self._logical("||")
        if self._token.kind == "?":
            mark = self._take()
            yes = self._logical("||")
            self._expect(":")
            condition = Call(mark.at, "_?_:_", None, [condition, yes, self.expression()])
        self._depth -= 1
        return condition

    def _logical(self, operator: str) -> Node:
        """A chain of || or &&, as a balanced tree (evaluation must not go as deep as the chain is long)."""
        terms = [self._logical("&&") if operator == "||" else self._binary(1)]
        places = []
        while self._token.kind == operator:
            places.append(self._take().at)
            terms.append(self._logical("&&") if operator == "||" else self._binary(1))
        return _balanced(f"_{operator}_", terms, places)

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while (found := _BINARY.get(self._token.kind)) is not None and found[0] >= least:
            token = self._take()
            left = Call(token.at, found[1], None, [left, self._binary(found[0] + 1)])
        return left

    def _unary(self) -> Node:
        token = self._token
        if token.kind not in ("!", "-"):
            return self._member()
        count = 0
        while self._token.kind == token.kind:
            self._take()
            count += 1
        number = self._token
        if token.kind == "-" and type(number.value) in (int, float) and number.kind == "literal" and count % 2:
            self._take()
            return self._postfix(Literal(token.at, -number.value))
        operand = self._member()
        return Call(token.at, "!_" if token.kind == "!" else "-_", None, [operand]) if count % 2 else operand

    def _member(self) -> Node:
        token = self._token
        if token.kind == "literal":
            self._take()
            if type(token.value) is int and token.value > INT_MAX:
                raise _Problem(token.at, "invalid int literal")
            return self._postfix(Literal(token.at, token.value))
        return self._postfix(self._primary())

    def _primary(self) -> Node:
        token = self._token
        match token.kind:
            case "(":
                self._take()
                inner = self.expression()
                self._expect(")")
                return inner
            case "[":
                self._take()
                return self._list(token.at)
            case "{":
                self._take()
                return self._map(token.at)
            case "ident" | ".":
                return self._named()
        self._fail(_EXPECTED)
        raise AssertionError

    def _named(self) -> Node:
        """An identifier, a call of a function or a message."""
        leading = self._accept(".")
        token = self._expect("ident")
        if token.text in RESERVED:
            raise _Problem(token.at, f"reserved identifier: {token.text}")
        name = f".{token.text}" if leading else token.text
        if mark := self._accept("("):
            args = self._arguments()
            return macros.expand(mark.at, name, None, args) or Call(mark.at, name, None, args)
        return Ident(leading.at if leading else token.at, name)

    def _postfix(self, node: Node) -> Node:
        while True:
            token = self._token
            if token.kind == ".":
                self._take()
                optional = self._accept("?")
                if self._token.kind != "ident":
                    self._fail("IDENTIFIER" if optional else "{'?', IDENTIFIER}")
                name = self._take()
                if optional:
                    node = Call(token.at, "_?._", None, [node, Literal(name.at, name.text)])
                elif mark := self._accept("("):
                    args = self._arguments()
                    node = macros.expand(mark.at, name.text, node, args) or Call(mark.at, name.text, node, args)
                else:
                    node = Select(token.at, node, name.text)
            elif token.kind == "[":
                self._take()
                function = "_[?_]" if self._accept("?") else "_[_]"
                index = self.expression()
                self._expect("]")
                node = Call(token.at, function, None, [node, index])
            elif token.kind == "{" and (name_of := _qualified(node)) is not None:
                self._take()
                node = self._struct(token.at, name_of)
            else:
                return node

    def _arguments(self) -> list[Node]:
        made: list[Node] = []
        if self._accept(")"):
            return made
        while True:
            made.append(self.expression())
            if not self._accept(","):
                self._expect(")")
                return made

    def _list(self, at: int) -> Node:
        items: list[Node] = []
        optional = set()
        while self._token.kind != "]":
            if self._accept("?"):
                optional.add(len(items))
            items.append(self.expression())
            if not self._accept(","):
                break
        self._expect("]")
        return ListNode(at, items, frozenset(optional))

    def _map(self, at: int) -> Node:
        entries = []
        while self._token.kind != "}":
            optional = self._accept("?") is not None
            key = self.expression()
            self._expect(":")
            entries.append((key, self.expression(), optional))
            if not self._accept(","):
                break
        self._expect("}")
        return MapNode(at, entries)

    def _struct(self, at: int, name: str) -> Node:
        fields = []
        while self._token.kind != "}":
            optional = self._accept("?") is not None
            token = self._expect("ident")
            mark = self._expect(":")
            fields.append((token.text, self.expression(), optional, mark.at))
            if not self._accept(","):
                break
        self._expect("}")
        return Struct(at, name, fields)


def _qualified(node: Node) -> str | None:
    """The dotted name that a message may have."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test:
        before = _qualified(node.operand)
        return f"{before}.{node.field}" if before is not None else None
    return None


def _balanced(function: str, terms: list[Node], places: list[int]) -> Node:
    if not places:
        return terms[0]
    middle = (len(places) - 1) // 2
    return Call(
        places[middle],
        function,
        None,
        [
            _balanced(function, terms[: middle + 1], places[:middle]),
            _balanced(function, terms[middle + 1 :], places[middle + 1 :]),
        ],
    )

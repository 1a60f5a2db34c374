"""Tokens of CEL. Source: CEL language definition, "Syntax" (lexis) and "String and Bytes Values"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hawser.api.cel.values import UInt

LIMIT = 100_000
"""The longest expression, in characters (that of Kubernetes' parser)."""


@dataclass(frozen=True, slots=True)
class Token:
    """kind: ident, literal, or an operator's own text; eof at the end."""

    kind: str
    text: str
    at: int
    value: Any = None


_ESCAPED = (
    r'"""(?:\\.|[^\\])*?"""',
    r"'''(?:\\.|[^\\])*?'''",
    r'"(?:\\.|[^\\"\n\r])*"',
    r"'(?:\\.|[^\\'\n\r])*'",
)
_VERBATIM = (r'"""[\s\S]*?"""', r"'''[\s\S]*?'''", r'"[^"\n\r]*"', r"'[^'\n\r]*'")
_STRING = rf"[bB]?(?:{'|'.join(_ESCAPED)})"
_RAW = rf"(?:[rR][bB]?|[bB][rR])(?:{'|'.join(_VERBATIM)})"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
      | (?P<raw>{_RAW})
      | (?P<string>{_STRING})
      | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
      | (?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
      | (?P<int>0x[0-9a-fA-F]+|[0-9]+)
      | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{{}}])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


def tokenize(text: str) -> tuple[list[Token], list[tuple[int, str]]]:
    """The tokens of an expression, and what is wrong with its characters."""
    found: list[Token] = []
    problems: list[tuple[int, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            problems.append((at, f"Syntax error: token recognition error at: '{text[at : at + 1]}'"))
            at += 1
            continue
        kind, piece = match.lastgroup, match.group()
        try:
            if kind == "ident":
                found.append(_word(piece, at))
            elif kind == "op":
                found.append(Token(piece, piece, at))
            elif kind != "space":
                found.append(Token("literal", piece, at, _literal(kind or "", piece)))
        except ValueError as error:
            problems.append((at, str(error)))
        at = match.end()
    found.append(Token("eof", "<EOF>", len(text)))
    return found, problems


def _word(text: str, at: int) -> Token:
    if text in _WORDS:
        return Token("literal", text, at, _WORDS[text])
    return Token("in" if text == "in" else "ident", text, at)


def _literal(kind: str, text: str) -> Any:
    match kind:
        case "float":
            return float(text)
        case "int" | "uint":
            digits = text.rstrip("uU") if kind == "uint" else text
            number = int(digits, 16 if digits.startswith("0x") else 10)
            if kind == "uint":
                if number >= 2**64:
                    raise ValueError("invalid uint literal")
                return UInt(number)
            if number > 2**63:
                raise ValueError("invalid int literal")
            return number
    prefix = re.match(r"[rRbB]*", text)
    marks = prefix.group().lower() if prefix else ""
    body = text[len(marks) :]
    edge = 3 if body.startswith(('"""', "'''")) else 1
    body = body[edge:-edge].replace("\r\n", "\n").replace("\r", "\n")
    if "r" not in marks:
        body = _unescape(body, "b" in marks)
        return body.encode("latin-1") if "b" in marks else body
    return body.encode() if "b" in marks else body


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip


def _unescape(text: str, binary: bool) -> str:
    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        if code in _SIMPLE:
            return _SIMPLE[code]
        if len(code) == 1 or (binary and code[0] in "uU"):
            raise ValueError(f"invalid {'bytes' if binary else 'string'} literal: unable to unescape string")
        point = int(code, 8) if code[0].isdigit() else int(code[1:], 16)
        if point > 0x10FFFF or 0xD800 <= point < 0xE000:
            raise ValueError("invalid string literal: invalid unicode code point")
        return chr(point)

    if not binary:
        return _ESCAPE.sub(one, text)
    # Bytes: what is written is UTF-8, what is escaped is a byte; latin-1 holds both for the caller.
    made = []
    at = 0
    for match in _ESCAPE.finditer(text):
        made.append(text[at : match.start()].encode().decode("latin-1"))
        made.append(one(match))
        at = match.end()
    made.append(text[at:].encode().decode("latin-1"))
    return "".join(made)

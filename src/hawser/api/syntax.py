"""What Kubernetes says of JSON and YAML that cannot be read: the words of Go's decoders.

Source: Go's encoding/json (scanner.go, SyntaxError) and go.yaml.in/yaml, whose parser is libyaml's. Looked at only when
reading has failed: this is slow.
"""

from __future__ import annotations

import re

END = "unexpected end of JSON input"
_TOO_DEEP = "exceeded max depth"
_SPACE = re.compile(rb"[ \t\r\n]*")


class _Wrong(Exception):
    """The complaint."""


def complaint(data: bytes) -> str:
    """The first thing that Go finds wrong with JSON; empty when that is nothing."""
    try:
        at = _space(data, _value(data, _space(data, 0)))
        if at < len(data):
            raise _at(data, at, "after top-level value")
    except _Wrong as wrong:
        return str(wrong)
    except RecursionError:
        return _TOO_DEEP
    return ""


def _at(data: bytes, at: int, where: str) -> _Wrong:
    """The complaint of a character at a place, or of the end."""
    if at >= len(data):
        return _Wrong(END)
    character = chr(data[at])
    match character:
        case "'":
            shown = r"'\''"
        case '"':
            shown = "'\"'"
        case _:
            shown = f"'{_shown(character)}'"
    return _Wrong(f"invalid character {shown} {where}")


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}


def _shown(character: str) -> str:
    """As strconv.Quote shows it."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 0x80 else f"\\u{ord(character):04x}"


def _space(data: bytes, at: int) -> int:
    found = _SPACE.match(data, at)
    return found.end() if found else at


def _value(data: bytes, at: int) -> int:
    """Where a value ends that begins here."""
    first = data[at : at + 1]
    if first == b"{":
        return _members(data, at + 1)
    if first == b"[":
        return _items(data, at + 1)
    if first == b'"':
        return _string(data, at + 1)
    if first in (b"-", *(b"%d" % digit for digit in range(10))):
        return _number(data, at)
    for word in (b"true", b"false", b"null"):
        if first == word[:1]:
            return _word(data, at, word)
    raise _at(data, at, "looking for beginning of value")


def _members(data: bytes, at: int) -> int:
    at = _space(data, at)
    if data[at : at + 1] == b"}":
        return at + 1
    while True:
        if data[at : at + 1] != b'"':
            raise _at(data, at, "looking for beginning of object key string")
        at = _space(data, _string(data, at + 1))
        if data[at : at + 1] != b":":
            raise _at(data, at, "after object key")
        at = _space(data, _value(data, _space(data, at + 1)))
        if data[at : at + 1] == b"}":
            return at + 1
        if data[at : at + 1] != b",":
            raise _at(data, at, "after object key:value pair")
        at = _space(data, at + 1)


def _items(data: bytes, at: int) -> int:
    at = _space(data, at)
    if data[at : at + 1] == b"]":
        return at + 1
    while True:
        at = _space(data, _value(data, at))
        if data[at : at + 1] == b"]":
            return at + 1
        if data[at : at + 1] != b",":
            raise _at(data, at, "after array element")
        at = _space(data, at + 1)


_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')


def _string(data: bytes, at: int) -> int:
    while True:
        found = _PLAIN.match(data, at)
        at = found.end() if found else at
        match data[at : at + 1]:
            case b'"':
                return at + 1
            case b"\\":
                at = _escape(data, at + 1)
            case _:
                raise _at(data, at, "in string literal")


def _escape(data: bytes, at: int) -> int:
    if data[at : at + 1] != b"u":
        if data[at : at + 1] not in (b'"', b"\\", b"/", b"b", b"f", b"n", b"r", b"t"):
            raise _at(data, at, "in string escape code")
        return at + 1
    for place in range(at + 1, at + 5):
        if data[place : place + 1] not in _HEXADECIMAL:
            raise _at(data, place, r"in \u hexadecimal character escape")
    return at + 5


_HEXADECIMAL = tuple(bytes((digit,)) for digit in b"0123456789abcdefABCDEF")
_DIGITS = re.compile(rb"[0-9]*")


def _number(data: bytes, at: int) -> int:
    if data[at : at + 1] == b"-":
        at += 1
    at = at + 1 if data[at : at + 1] == b"0" else _digits(data, at, "in numeric literal")
    if data[at : at + 1] == b".":
        at = _digits(data, at + 1, "after decimal point in numeric literal")
    if data[at : at + 1] in (b"e", b"E"):
        at += 1
        if data[at : at + 1] in (b"+", b"-"):
            at += 1
        at = _digits(data, at, "in exponent of numeric literal")
    return at


def _digits(data: bytes, at: int, where: str) -> int:
    found = _DIGITS.match(data, at)
    if found is None or found.end() == at:
        raise _at(data, at, where)
    return found.end()


def _word(data: bytes, at: int, word: bytes) -> int:
    for offset in range(1, len(word)):
        if data[at + offset : at + offset + 1] != word[offset : offset + 1]:
            text, expected = word.decode(), chr(word[offset])
            raise _at(data, at + offset, f"in literal {text} (expecting '{expected}')")
    return at + len(word)


def yaml_complaint(body: bytes) -> str:
    """What go-yaml says of YAML that cannot be parsed; empty when libyaml has nothing to say of it."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(body)
    try:
        loader.get_single_node()
    except yaml.composer.ComposerError as error:
        at = error.problem_mark.index + 1 if error.problem_mark else 0
        found = re.match(r"[\w-]*", body.decode("utf-8", "replace")[at:])
        return f"yaml: unknown anchor '{found.group() if found else ''}' referenced"
    except yaml.MarkedYAMLError as error:
        # The line of a scanner's error is counted from one, of a parser's from nought, and the first is not said.
        mark = error.context_mark if error.context_mark and error.context_mark.line else error.problem_mark
        line = mark.line if mark else 0
        if line and isinstance(error, yaml.scanner.ScannerError):
            line += 1
        return f"yaml: {f'line {line}: ' if line else ''}{error.problem}"
    except yaml.YAMLError:
        return "yaml: control characters are not allowed"
    finally:
        loader.dispose()
    return ""

"""Quoting for the files that carry an application into a container: systemd units, environment files, shell words.

Rules: systemd.service(5) "Command lines", systemd.syntax(7) "Quoting", systemd.unit(5) "Specifiers",
systemd.exec(5) "EnvironmentFile=", POSIX shell 2.2.2 "Single-Quotes".
"""

from __future__ import annotations

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "%": "%%"}


def unit_word(text: str, dollars: bool = True) -> str:
    """One word of ExecStart= that systemd reads back as exactly `text`.

    `dollars` is False for the executable's path, the one word in which systemd expands no variables.
    """
    out = []
    for char in text:
        if char == "$" and dollars:
            out.append("$$")
        elif char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif ord(char) < 0x20 or ord(char) == 0x7F:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def unit_line(text: str) -> str:
    """The value of a setting that takes the rest of its line, WorkingDirectory= for one.

    Raises ValueError for what such a setting can not say: a line break, or white space at either end.
    """
    if "\n" in text or text != text.strip() or text.endswith("\\"):
        raise ValueError(f"systemd has no way to write the path {text!r}")
    return text.replace("%", "%%")


def exec_line(path: str, argv: list[str]) -> str:
    """The value of ExecStart= that runs `path` with exactly `argv`, argv[0] included."""
    return " ".join([unit_word("@" + path, dollars=False), *(unit_word(word) for word in argv)])


def fits_unit_environment(name: str, value: str) -> bool:
    """Whether systemd accepts the variable: a C identifier; of the control characters only tab and newline.

    Kubernetes allows more (names with dots and dashes); what does not fit travels by env(1).
    """
    if not (name.isascii() and name.isidentifier()):
        return False
    return not any((ord(c) < 0x20 and c not in "\t\n") or ord(c) == 0x7F for c in value)


def environment_line(name: str, value: str) -> str:
    """One assignment of an EnvironmentFile=, without a line end after it."""
    for char in '\\"`$':
        value = value.replace(char, "\\" + char)
    return f'{name}="{value}"'


def shell_word(text: str) -> str:
    """One word of a POSIX shell command that is exactly `text`."""
    return "'" + text.replace("'", "'\"'\"'") + "'"

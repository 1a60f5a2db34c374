"""Make src/hawser/node/cri/fields.json, the data table of CRI's messages, from Kubernetes' api.proto.

Usage: python tools/cri_fields.py /usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto > fields.json
(the file comes in Debian's golang-k8s-cri-api-dev; the table that is checked in is made from 0.36.4-1 of sid).

Only facts leave the .proto: names, field numbers and types. The output's shape:

    {"package": "runtime.v1",
     "enums": {"Protocol": {"TCP": 0, ...}},
     "messages": {"VersionRequest": {"version": [1, "string"]}, "X": {"labels": [3, "map<string,string>"]}},
     "services": {"RuntimeService": {"Version": ["VersionRequest", "VersionResponse"],
                                     "GetContainerEvents": ["GetEventsRequest", "stream ContainerEventResponse"]}}}

Repeated fields' types start with "repeated ". Nested enums are written as Outer.Inner.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r'"[^"]*"|[\w.]+|[{}()<>\[\]=;,]')
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def parse(text: str) -> dict[str, Any]:
    """The table of one proto3 file without oneof, reserved, extensions or nested messages (CRI's has none)."""
    tokens = iter(_TOKEN.findall(_COMMENT.sub("", text)))
    table: dict[str, Any] = {"package": "", "enums": {}, "messages": {}, "services": {}}
    for token in tokens:
        match token:
            case "package":
                table["package"] = next(tokens)
            case "enum":
                name = next(tokens)
                table["enums"][name] = _enum(tokens)
            case "message":
                name = next(tokens)
                table["messages"][name] = _message(tokens, name, table["enums"])
            case "service":
                name = next(tokens)
                table["services"][name] = _service(tokens)
            case "syntax" | "option" | "import":
                _skip(tokens)
    return table


def _skip(tokens: Any) -> None:
    for token in tokens:
        if token == ";":
            return


def _enum(tokens: Any) -> dict[str, int]:
    values: dict[str, int] = {}
    assert next(tokens) == "{"
    for token in tokens:
        if token == "}":
            break
        assert next(tokens) == "="
        values[token] = int(next(tokens))
        _skip(tokens)
    return values


def _message(tokens: Any, name: str, enums: dict[str, Any]) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    nested: set[str] = set()
    assert next(tokens) == "{"
    for token in tokens:
        if token == "}":
            break
        if token == "enum":
            inner = next(tokens)
            nested.add(inner)
            enums[f"{name}.{inner}"] = _enum(tokens)
            continue
        kind = token
        if token == "repeated":
            kind = f"repeated {next(tokens)}"
        elif token == "map":
            assert next(tokens) == "<"
            key, _, value = next(tokens), next(tokens), next(tokens)
            assert next(tokens) == ">"
            kind = f"map<{key},{value}>"
        if kind in nested:
            kind = f"{name}.{kind}"
        field = next(tokens)
        assert next(tokens) == "=", (name, field)
        fields[field] = [int(next(tokens)), kind]
        _skip(tokens)
    return fields


def _service(tokens: Any) -> dict[str, list[str]]:
    methods: dict[str, list[str]] = {}
    assert next(tokens) == "{"
    for token in tokens:
        if token == "}":
            break
        assert token == "rpc"
        method = next(tokens)
        types = []
        for _ in range(2):
            while (word := next(tokens)) in ("(", "returns"):
                pass
            types.append(f"stream {next(tokens)}" if word == "stream" else word)
            assert next(tokens) == ")"
        methods[method] = types
        assert next(tokens) == "{"
        assert next(tokens) == "}"
    return methods


def _render(table: dict[str, Any]) -> str:
    """JSON with one message, enum or method a line: diffs of a newer version stay readable."""
    lines = [f' "package": {json.dumps(table["package"])}']
    for part in ("enums", "messages"):
        rows = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in table[part].items()]
        lines.append(f' "{part}": {{\n' + ",\n".join(rows) + "\n }")
    services = []
    for name, methods in table["services"].items():
        rows = [f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in methods.items()]
        services.append(f'  "{name}": {{\n' + ",\n".join(rows) + "\n  }")
    lines.append(' "services": {\n' + ",\n".join(services) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(_render(parse(Path(sys.argv[1]).read_text())))

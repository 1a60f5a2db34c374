"""Makes ``fields.json``: the field numbers of Kubernetes' protobuf messages, as a data table.

``python -m hawser.apiserver.protobuf.generate K8S_IO > fields.json``, where K8S_IO is the folder with ``api/``,
``apimachinery/``, ``apiextensions-apiserver/`` and ``kube-aggregator/`` (Debian's golang-k8s-*-dev packages put it at
/usr/share/gocode/src/k8s.io).
The .proto files tell numbers and types; the tags in types.go tell what they cannot: JSON names, which fields are
inlined in JSON, and which scalars are pointers (so that zero is a value).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_FIELD = re.compile(r"^  (?:(optional|repeated|required) )?(map<(\w+), ([\w.]+)>|[.\w]+) (\w+) = (\d+)", re.MULTILINE)
_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_TAG = re.compile(
    r"^\s+(?:\w+ )?\s*(\S+)\s+`json:\"([^\"]*)\"[^`]*? protobuf:\"\w+,\d+,\w+(?:,[^\"]*?name=(\w+))?", re.MULTILINE
)
_SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double", "float"}
_ALPHA = re.compile(r"/v\d+(?:alpha|beta)\d+/")


def table(root: Path) -> dict[str, dict[str, list[str]]]:
    """{message: {field number: [JSON name, type, shape]}}.

    type: a scalar's or a message's name. shape: "" for one value, "*" where zero is a value, "[]", "{}" for maps with
    text keys, "." when the message's fields are inlined in JSON.
    """
    found: dict[str, dict[str, list[str]]] = {}
    paths = [*root.glob("api*/**/generated.proto"), *root.glob("kube-aggregator/**/generated.proto")]
    for path in sorted(paths):
        if _ALPHA.search(str(path)):
            continue
        package = ".".join(["io", "k8s", *path.parent.relative_to(root).parts])
        tags = _tags(path.parent)
        for name, body in _MESSAGE.findall(path.read_text()):
            found[f"{package}.{name}"] = dict(_fields(package, name, body, tags))
    return found


def _fields(
    package: str, message: str, body: str, tags: dict[tuple[str, str], tuple[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    for label, kind, _, value, name, number in _FIELD.findall(body):
        pointer, json_tag = tags.get((message, name), ("", name))
        json_name, *options = json_tag.split(",")
        shape = "[]" if label == "repeated" else "{}" if value else ""
        if "inline" in options or (not json_name and not shape):
            shape = "."
        elif not shape and pointer.startswith("*"):
            shape = "*"
        yield number, [json_name or name, _type(package, value or kind), shape]


def _type(package: str, name: str) -> str:
    if name in _SCALARS:
        return name
    if name.startswith((".k8s.io", "k8s.io")):
        return "io.k8s" + name.lstrip(".").removeprefix("k8s.io")
    return f"{package}.{name}"


def _tags(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(message, protobuf field) -> (Go type, JSON tag)."""
    tags = {}
    for path in folder.glob("*.go"):
        if path.name.startswith(("generated", "zz_")):
            continue
        for struct, body in _STRUCT.findall(path.read_text()):
            for kind, json_tag, field in _TAG.findall(body):
                # An embedded struct's field may have no name of its own: it is called as its type.
                tags[(struct, field or kind[0].lower() + kind[1:])] = (kind, json_tag)
    return tags


if __name__ == "__main__":
    json.dump(table(Path(sys.argv[1])), sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")

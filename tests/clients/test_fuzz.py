"""Odd requests of every shape: whatever is sent, the server answers, never with a failure of its own, and lives on."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hawser.api import decoding, definitions, kinds
from hawser.api.kind import Kind
from hawser.apiserver.protobuf import frames

from ..apiserver.conftest import Api, Server
from .conftest import lasting
from .samples import Obj, sample

SEEDS = range(6)
ROUNDS = 100
TEXTS = ["", "a", "A_b", "None", "10.0.0.1", "Always", "a/b", "-", "ü", "%", "50%", "\x00", "a" * 300]
SCALARS: dict[Any, list[Any]] = {
    decoding.BOOLEAN: [True, False],
    decoding.INT32: [-1, 0, 80, 2**31 - 1],
    decoding.INT64: [-1, 0, 2**63 - 1],
    decoding.DOUBLE: [0, 1.5],
    decoding.BYTES: ["", "eA=="],
    decoding.TIME: ["2026-01-01T00:00:00Z"],
    decoding.MICRO_TIME: ["2026-01-01T00:00:00.000000Z"],
    decoding.QUANTITY: ["0", "-1", "1500m", "1Gi"],
    decoding.INT_OR_STRING: [0, -1, "25%", "http"],
}
ANYTHING: list[Any] = [None, True, -1, 2**70, 1.5, "", "x", [], {}, [None], {"": None}, {"a": [{}]}]
RAW = [b"", b"{", b"null", b"[]", b"\xff\xfe", b"k8s\x00", b"k8s\x00\xff", b"1", b"- a\n- b", b"{}" * 2, b"[" * 20000]
CONTENTS = [
    *("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/merge-patch+json"),
    *("application/json-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"),
    *("application/apply-patch+cbor", "text/plain", "", "/;q=", "application/json; charset=utf-9"),
]
ACCEPTS = [
    *("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "", "text/html", ";;,q=x"),
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
]
OPTIONS: dict[str, list[str]] = {
    "limit": ["0", "1", "-1", "x", "9" * 30],
    "continue": ["", "x", "eyJ2IjoibWV0YSJ9", "%00"],
    "resourceVersion": ["", "0", "1", "-1", "x"],
    "resourceVersionMatch": ["", "Exact", "NotOlderThan", "x"],
    "labelSelector": ["a", "a=b", "a in (b,", "!", "a==b,c!=d", "ü"],
    "watch": ["false", "0"],
    "fieldSelector": ["metadata.name=a", "nope=1", "=", "spec.nodeName!=a"],
    "dryRun": ["All", "x", ""],
    "fieldManager": ["a", "", "x" * 200, "\x01"],
    "force": ["true", "x"],
    "pretty": ["true", "x"],
    "fieldValidation": ["Strict", "Warn", "Ignore", "x"],
    "timeoutSeconds": ["0", "-1", "x"],
    "propagationPolicy": ["Orphan", "Foreground", "x"],
    "gracePeriodSeconds": ["0", "-1", "x"],
    "timeout": ["1s", "x", "-5s"],
    "includeObject": ["None", "Object", "x"],
    "allowWatchBookmarks": ["true", "x"],
}
NAMES = [*["fuzz-0"] * 6, "fuzz-1", "fuzz-2", "fuzz-3", "", "%2e%2e", "a%2Fb"]
VERBS = [*["POST"] * 8, "GET", "GET", *["PUT"] * 3, *["PATCH"] * 6, "DELETE", "OPTIONS", "HEAD", "TRACE"]
HEADERS = [{}, {"If-Match": "x"}, {"X-HTTP-Method-Override": "DELETE"}, {"Accept-Encoding": "gzip;q=x"}]


def odd(node: Any, rng: random.Random, depth: int) -> Any:
    """A value that is mostly of a type, sparse and unusual."""
    if rng.random() < 0.02:
        return rng.choice(ANYTHING)
    match node:
        case decoding.Struct():
            names = list(node.fields) if depth else []
            chosen = {*rng.sample(names, min(len(names), rng.randint(0, 5)))}
            chosen.update(name for name in ("spec", "template", "containers") if name in names)
            return {name: odd(node.fields[name], rng, depth - 1) for name in sorted(chosen)}
        case decoding.Array():
            return [odd(node.item, rng, depth) for _ in range(rng.randint(0, 2 if depth else 0))]
        case decoding.Map():
            return {rng.choice(TEXTS): odd(node.item, rng, depth) for _ in range(rng.randint(0, 2))}
        case decoding.Opaque():
            return rng.choice(ANYTHING)
    return rng.choice(SCALARS.get(node, TEXTS))


def body(kind: Kind, rng: random.Random, space: str) -> Obj:
    """A whole object: a good one with parts of an odd one."""
    obj = sample(kind, f"fuzz-{rng.randint(0, 3)}", space)
    if rng.random() < 0.4:
        return obj
    strange = odd(decoding.node(definitions.definition_name(kind.gvk)), rng, 6)
    if isinstance(strange, dict):
        for key in rng.sample(sorted(strange), min(len(strange), 2)):
            mixes = isinstance(strange[key], dict) and isinstance(obj.get(key), dict)
            obj[key] = {**obj[key], **strange[key]} if mixes and rng.random() < 0.8 else strange[key]
    return obj


def patch(rng: random.Random, obj: Obj) -> Any:
    """Operations of a JSON patch, or a part of an object for the other patches."""
    if rng.random() < 0.6:
        keys = sorted(obj)
        return {key: obj[key] for key in rng.sample(keys, rng.randint(0, len(keys)))} | (
            {"$patch": rng.choice(["delete", "replace", "x"])} if rng.random() < 0.2 else {}
        )
    paths = ["", "/", "/metadata/labels", "/spec", "/spec/0", "/metadata/annotations/a~1b", "a", "/spec/-", "/~2"]
    operations = ["add", "remove", "replace", "move", "copy", "test", "x"]
    return [
        {"op": rng.choice(operations), "path": rng.choice(paths), "from": "/metadata", "value": rng.choice(ANYTHING)}
        for _ in range(rng.randint(0, 3))
    ]


def request(rng: random.Random, space: str) -> dict[str, Any]:
    """One request as arguments of a session."""
    kind = rng.choice([row for row in kinds.KINDS if row.kind not in _SPARED])
    verb = rng.choice(VERBS)
    name = (
        rng.choice([*(f"fuzz-{n}" for n in range(4)), *["fuzz-0"] * 6, "", "%2e%2e", "a%2Fb"]) if verb != "POST" else ""
    )
    path = kind.path(space if kind.namespaced else "", name or None, rng.choice([*[""] * 9, *_parts(kind), "x"]))
    if name == "" and verb == "DELETE" and not kind.namespaced:
        path += "/fuzz-1"
    options = {key: rng.choice(OPTIONS[key]) for key in rng.sample(sorted(OPTIONS), rng.choice([0, 0, 0, 1, 2]))}
    content = rng.choice([*CONTENTS[:3] * 9, *CONTENTS]) if verb != "PATCH" else rng.choice(CONTENTS[3:7])
    obj: Any = body(kind, rng, space if kind.namespaced else "")
    if verb == "POST" and isinstance(obj.get("metadata"), dict):
        # Kubernetes itself calls that an internal error.
        obj["metadata"].pop("resourceVersion", None)
    if verb == "PATCH" and "apply" not in content:
        obj = patch(rng, obj)
    data = _encoded(obj, content, rng) if verb not in ("GET", "HEAD", "TRACE") else None
    headers = {"Accept": rng.choice([*ACCEPTS[:4] * 5, *ACCEPTS]), "Content-Type": content, **rng.choice(HEADERS)}
    headers["Authorization"] = f"Bearer {rng.choice(['admin-token'] * 40 + ['joe-token'])}"
    return {"method": verb, "path": path, "params": options, "data": data, "headers": headers}


def _parts(kind: Kind) -> list[str]:
    """Subresources. A proxy to what has no address is an internal error in Kubernetes, too."""
    return [part for part in kind.subresources if part != "proxy"]


# Those that all the rest depends on are left in peace, and those without samples.
_SPARED = (
    *("Binding", "ComponentStatus", "Namespace", "CustomResourceDefinition", "APIService"),
    *("MutatingWebhookConfiguration",),
    *("ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    *("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "FlowSchema", "PriorityLevelConfiguration"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own: what odd requests leave behind, such as rights of others, is in nobody's way."""
    with lasting(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


def _encoded(obj: Any, content: str, rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return rng.choice(RAW)
    if "protobuf" in content:
        try:
            return frames.document(obj) or b""
        except Exception:  # odd values have no such form
            return bytes(rng.randbytes(rng.randint(0, 60)))
    return yaml.safe_dump(obj).encode() if "yaml" in content else json.dumps(obj).encode()


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_request_makes_the_server_fail_or_hang(api: Api, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        sent = request(rng, api.namespace)
        shown = {**sent, "data": (sent["data"] or b"")[:2000]}
        url = api.server.url + sent.pop("path")
        try:
            async with (
                asyncio.timeout(120),
                api.session.request(sent.pop("method"), url, ssl=api.tls, **sent) as answer,
            ):
                text = b"" if answer.status == 101 else await answer.read()
        except TimeoutError:
            pytest.fail(f"no answer to {shown}")
        # 501, 503 and 504 are said on purpose: of what is not there, of what is busy, and of who is not reached.
        assert answer.status < 500 or answer.status in (501, 503, 504), f"{shown}\n{text[:1000]!r}"
    assert (await api.get("/readyz")).status == 200

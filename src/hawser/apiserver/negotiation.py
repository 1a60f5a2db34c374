"""Which form of an object a client takes (Accept), and which form a body has (Content-Type).

Source: API concepts, "Alternate representations of resources" and "Receiving resources as Tables".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

from hawser.api.encoding import dumps
from hawser.api.errors import APIError, Unreadable, not_acceptable, unsupported_media_type


class As(StrEnum):
    """The shape of an answer."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"


class Media(StrEnum):
    """The encoding of an answer: its Content-Type."""

    JSON = "application/json"
    YAML = "application/yaml"
    PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True, slots=True)
class Form:
    """A negotiated answer form.

    meta: the API version of tables and bare metadata. pretty: for people to read. plain: whether stored bytes can be
    handed out as they are.
    """

    shape: As = As.OBJECT
    media: Media = Media.JSON
    meta: str = "meta.k8s.io/v1"
    pretty: bool = False
    plain: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.shape is As.OBJECT and self.media is Media.JSON and not self.pretty)

    @property
    def content_type(self) -> str:
        """The Content-Type of an answer."""
        return str(self.media)

    @property
    def line(self) -> bool:
        """Whether a line end follows an answer."""
        return self.media is Media.JSON and not self.pretty


PLAIN = Form()
_STREAMS = (Media.JSON, Media.PROTOBUF)
_SHAPES = {str(shape): shape for shape in As if shape}
_VERSIONS = ("v1", "v1beta1")


@lru_cache(maxsize=512)
def accepted(accept: str, custom: bool = False, stream: bool = False) -> Form:
    """The form for an Accept header: the client's favourite that can be served. APIError 406 when none can.

    custom: for custom resources, which have no protobuf form but of their metadata. stream: for a watch.
    Source: kube-apiserver's content negotiation: by q, then the less general first, then as they are written.
    """
    if not accept:
        return PLAIN
    for main, sub, parameters in clauses(accept):
        for media in Media:
            if (main, sub) in ((media.partition("/")[0], media.partition("/")[2]), ("application", "*"), ("*", "*")):
                form = _form(media, parameters, custom)
                if form is not None and (not stream or media in _STREAMS):
                    return form
    if stream:
        raise _not_acceptable(f"{media};stream=watch" for media in _STREAMS)
    raise _not_acceptable(Media)


def accept_whole(accept: str) -> None:
    """APIError 406 where a client wants tables or bare metadata of what has neither."""
    if accepted(accept).shape is not As.OBJECT:
        raise _not_acceptable(Media)


@lru_cache(maxsize=256)
def document_media(accept: str) -> Media:
    """The encoding of a Status or another object that is no resource's; JSON when nothing accepted can be served."""
    for main, sub, parameters in clauses(accept):
        for media in Media:
            if f"{main}/{sub}" in (media, "application/*", "*/*") and not parameters.keys() & {"as", "g", "v"}:
                return media
    return Media.JSON


@lru_cache(maxsize=256)
def preferred(accept: str, content_types: tuple[str, ...]) -> str:
    """The first of some content types that a client takes best; empty if it takes none of them."""
    for main, sub, _ in clauses(accept or "*/*"):
        for content_type in content_types:
            if main == "*" or f"{main}/{sub}" == content_type or (sub == "*" and content_type.startswith(f"{main}/")):
                return content_type
    return ""


def pretty(query: dict[str, str], agent: str) -> bool:
    """Whether JSON is for people: when the query says so, or by the agent (curl, wget, browsers)."""
    if "pretty" in query:
        return query["pretty"].lower() in ("1", "t", "true")
    return agent.startswith(("curl", "Wget", "Mozilla/5.0"))


def clauses(accept: str) -> list[tuple[str, str, dict[str, str]]]:
    """(type, subtype, parameters) of an Accept header's items, best first."""
    clauses = []
    for item in accept.split(","):
        media, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        main, _, sub = media.lower().partition("/")
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((-quality, main == "*", sub == "*", main, sub or "*", parameters))
    clauses.sort(key=lambda clause: clause[:3])
    return [clause[3:] for clause in clauses]


def _form(media: Media, parameters: dict[str, str], custom: bool) -> Form | None:
    """The form that a clause asks for, or None when this encoding does not have it."""
    if parameters.get("stream") and (parameters["stream"] != "watch" or media is Media.YAML):
        return None
    human = parameters.get("pretty") == "1" and media is Media.JSON
    if not parameters.keys() & {"as", "g", "v"}:
        return None if custom and media is Media.PROTOBUF else Form(media=media, pretty=human)
    shape = _SHAPES.get(parameters.get("as", ""))
    version = parameters.get("v", "")
    if shape is None or version not in _VERSIONS or parameters.get("g") != "meta.k8s.io":
        return None
    if shape is As.TABLE and media is Media.PROTOBUF:
        return None
    return Form(shape, media, f"meta.k8s.io/{version}", human)


def _not_acceptable(types: Iterable[str]) -> APIError:
    return not_acceptable("only the following media types are accepted: " + ", ".join(types))


def decode(body: bytes, content_type: str, lines: list[str] | None = None) -> Any:
    """The value of a JSON, YAML or protobuf body; lines: see ``decode_yaml``.

    Raises Unreadable; APIError 415 for other types.
    """
    return decoded(body, media(content_type), lines)


def media(content_type: str) -> str:
    """The type of a body, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def decoded(body: bytes, media: str, lines: list[str] | None = None) -> Any:
    """As ``decode``, once the type is known."""
    match media:
        case "" | "application/json":
            return decode_json(body)
        case "application/yaml":
            return decode_yaml(body, lines)
        case "application/vnd.kubernetes.protobuf":
            from hawser.apiserver.protobuf import wire

            return wire.decode(body)
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


_EXPLAINED = 1 << 16
"""Bytes of a body in which the fault is searched for Go's words of it: that is slow, and others wait."""


def decode_json(body: bytes) -> Any:
    """The value of a JSON body. Raises Unreadable."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        from hawser.api import syntax

        # What Go takes and this reader does not: bytes that are no UTF-8, halves of surrogate pairs.
        if len(body) <= _EXPLAINED and (why := syntax.complaint(body)):
            raise Unreadable(why) from None
        try:
            text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
            return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        except (ValueError, RecursionError):
            raise Unreadable(str(error)) from None


def decode_yaml(body: bytes, lines: list[str] | None = None) -> Any:
    """The value of a YAML body. Raises Unreadable.

    lines: takes what a strict reader says of keys that occur twice.
    """
    import yaml

    if any(found.group().count(b"[") + found.group().count(b"{") >= _DEPTH for found in _OPENED.finditer(body)):
        raise Unreadable(_TOO_DEEP)
    try:
        # JSON's types only: a round trip also turns YAML dates back into text.
        loader = _loader()(body)
        try:
            node = loader.get_single_node()
            if node is not None and _size(node, {}) > _MOST_NODES:
                raise ValueError("yaml: document contains excessive aliasing")
            if lines is not None:
                lines += dict.fromkeys(_repeated_keys(node))
            value = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
        return orjson.loads(orjson.dumps(value))
    except RecursionError:
        # To look at it once more, from without, would take very long.
        raise Unreadable(_TOO_DEEP) from None
    except yaml.YAMLError as error:
        from hawser.api import syntax

        raise Unreadable((len(body) <= _EXPLAINED and syntax.yaml_complaint(body)) or f"yaml: {error}") from None
    except (TypeError, ValueError) as error:
        raise Unreadable(f"yaml: {str(error).removeprefix('yaml: ')}") from None


_OPENED = re.compile(rb"[\[{][\[{\s]*+")
_DEPTH = 300
"""Deeper than this reader goes, which would need seconds to find that out."""
_TOO_DEEP = "yaml: exceeded max depth of 10000"
_MOST_NODES = 1_000_000
# A plain document of the largest size that is taken has no more; one with aliases may be worth endlessly many.


def _size(node: Any, known: dict[int, int]) -> int:
    """How many nodes a composed YAML document has with every alias written out. ValueError when it contains itself."""
    found = known.get(id(node))
    if found is not None:
        if found == 0:
            raise ValueError("yaml: anchor contains itself")
        return found
    known[id(node)] = 0
    size = 1
    if not isinstance(node.value, str):
        for item in node.value:
            parts = item if isinstance(item, tuple) else (item,)
            size += sum(_size(part, known) for part in parts)
    known[id(node)] = size
    return size


def _repeated_keys(node: Any) -> Iterator[str]:
    """``line 3: key "x" already set in map`` for every key of a composed document that its mapping had before."""
    if node is None or isinstance(node.value, str):
        return
    seen = set()
    for item in node.value:
        if not isinstance(item, tuple):
            yield from _repeated_keys(item)
            continue
        key, value = item
        if key.value in seen:
            yield f'line {value.start_mark.line + 1}: key "{key.value}" already set in map'
        if isinstance(key.value, str):
            seen.add(key.value)
        yield from _repeated_keys(value)


@lru_cache(maxsize=1)
def _loader() -> Any:
    """A safe loader that leaves dates as text, as Kubernetes' YAML reader does."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def encode_yaml(value: bytes) -> bytes:
    """JSON bytes as YAML."""
    import yaml

    return bytes(yaml.safe_dump(orjson.loads(value), sort_keys=True, allow_unicode=True), "utf-8")


def encode_pretty(value: bytes) -> bytes:
    """JSON bytes for people to read."""
    return dumps(orjson.loads(value), orjson.OPT_INDENT_2)

"""Which form of an object a client takes (Accept), and which form a body has (Content-Type).

Source: API concepts, "Alternate representations of resources" and "Receiving resources as Tables".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

from hawser.api.errors import bad_request, not_acceptable, unsupported_media_type
from hawser.api.types import Obj


class As(StrEnum):
    """The shape of an answer."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Form:
    """A negotiated answer form."""

    shape: As = As.OBJECT
    yaml: bool = False

    @property
    def plain(self) -> bool:
        """Whether stored bytes can be handed out as they are."""
        return self.shape is As.OBJECT and not self.yaml


PLAIN = Form()
_JSON = frozenset({"application/json", "application/*", "*/*"})
_YAML = frozenset({"application/yaml"})
# Every client that prefers protobuf also reads JSON by Content-Type; this server only speaks JSON and YAML.
_PROTOBUF = frozenset({"application/vnd.kubernetes.protobuf"})
_SHAPES = {str(shape): shape for shape in As if shape}


@lru_cache(maxsize=256)
def accepted(accept: str) -> Form:
    """The form for an Accept header: its first item that can be served. APIError 406 when none can."""
    if not accept:
        return PLAIN
    fallback = None
    for item in accept.split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        values = dict(part.split("=", 1) for part in parameters if "=" in part)
        wanted = values.get("as", "")
        if wanted and (wanted not in _SHAPES or values.get("v") != "v1" or values.get("g") != "meta.k8s.io"):
            continue
        shape = _SHAPES.get(wanted, As.OBJECT)
        media = media.lower()
        if media in _JSON:
            return Form(shape)
        if media in _YAML:
            return Form(shape, yaml=True)
        if media in _PROTOBUF and fallback is None:
            fallback = Form(shape)
    if fallback is not None:
        return fallback
    raise not_acceptable(
        "only the following media types are accepted: application/json, application/yaml, "
        "application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    )


def decode(body: bytes, content_type: str) -> Any:
    """The value of a JSON, YAML or protobuf body. APIError 400 when it cannot be read, 415 for other types."""
    media = content_type.partition(";")[0].strip().lower()
    if media in ("", "application/json") or media == "application/x-www-form-urlencoded":
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise bad_request(f"the request body is not valid JSON: {error}") from None
    if media in ("application/yaml", "application/x-yaml", "text/yaml"):
        return decode_yaml(body)
    if media in _PROTOBUF:
        from hawser.apiserver.protobuf import wire

        return wire.decode(body)
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def decode_yaml(body: bytes) -> Any:
    """The value of a YAML body. APIError 400 when it cannot be read."""
    import yaml

    try:
        # JSON's types only: a round trip also turns YAML dates back into text.
        return orjson.loads(orjson.dumps(yaml.load(body, Loader=_loader())))
    except (yaml.YAMLError, TypeError) as error:
        raise bad_request(f"the request body is not valid YAML: {error}") from None


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


def as_object(value: Any) -> Obj:
    """APIError 400 unless a decoded body is an object."""
    if not isinstance(value, dict):
        raise bad_request("the request body must be an object")
    return value

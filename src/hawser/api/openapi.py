"""The OpenAPI documents: /openapi/v3, one document a group version below it, and /openapi/v2.

Documents are built when they are first asked for, all of a form at once, and kept compressed; a server that nobody
asks has none. Source: API concepts, "OpenAPI interface definition".
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import operator
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from hawser.api import kinds
from hawser.api.crd import publish
from hawser.api.crd.kinds import CustomKind
from hawser.api.definitions import VERSION, raw_document
from hawser.api.kinds import Kind
from hawser.api.spec import paths, schemas, version2, version3
from hawser.api.types import Obj

JSON = "application/json"
_INFO = {"title": "Kubernetes", "version": f"v{VERSION}"}
# Level 6 costs twice the time of level 1 and saves a third of what is kept.
_COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class Document:
    """An encoded document.

    compressed: the body in gzip form, to send as it is with ``Content-Encoding: gzip``.
    etag: quoted, of the content; ``hash`` is the same without quotes, as the index's URLs have it.
    """

    content_type: str
    compressed: bytes
    etag: str

    @property
    def body(self) -> bytes:
        """The document itself."""
        return gzip.decompress(self.compressed)

    @property
    def hash(self) -> str:
        return self.etag.strip('"')


def _pack(body: bytes, content_type: str) -> Document:
    digest = hashlib.sha512(body).hexdigest().upper()
    return Document(content_type, gzip.compress(body, _COMPRESSION, mtime=0), f'"{digest}"')


def forms(path: str) -> tuple[str, ...]:
    """The media types that the document at a URL path can be asked for; none where it comes as it is."""
    if path.startswith("/openapi/v3/"):
        return JSON, *version3.ACCEPTED_PROTOBUF
    return (JSON, *version2.ACCEPTED_PROTOBUF) if path == "/openapi/v2" else ()


def find(path: str, media: str = JSON) -> Document | None:
    """The document at a URL path: /openapi/v2, /openapi/v3 or one below it; None when there is none.

    media: one of its forms. The first call for a form takes about 50 ms, later ones nothing.
    """
    path = path.strip("/")
    if path == "openapi/v2":
        return v2(protobuf=media in version2.ACCEPTED_PROTOBUF)
    if path == "openapi/v3":
        return index()
    if path.startswith("openapi/v3/"):
        return v3(path.removeprefix("openapi/v3/"), protobuf=media in version3.ACCEPTED_PROTOBUF)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What another server behind this one says of itself.

    urls: of its OpenAPI 3 documents by group version, as its own index has them. paths, definitions: of its OpenAPI 2
    document; where a definition's name is known here, it is Kubernetes' own and stays as it is.
    """

    urls: dict[str, str]
    paths: dict[str, Obj]
    definitions: dict[str, Obj]


_elsewhere: tuple[Part, ...] = ()


def serve_remote(parts: tuple[Part, ...]) -> None:
    """Set what other servers say of themselves; what was set before is forgotten."""
    global _elsewhere
    if parts != _elsewhere:
        _elsewhere = parts


def index() -> Document:
    """/openapi/v3: where the document of each group version is."""
    return _newest("v3", _index)


_made: dict[str, tuple[tuple[Kind, ...], tuple[Part, ...], Document]] = {}


def _newest(name: str, make: Callable[[tuple[Kind, ...]], Document]) -> Document:
    """A document over everything, made anew once custom resources or other servers have changed.

    Rows may be equal and yet differ.
    """
    served = kinds.served()
    known = _made.get(name)
    if known is None or known[0] is not served or known[1] is not _elsewhere:
        known = _made[name] = (served, _elsewhere, make(served))
    return known[2]


def _index(served: tuple[Kind, ...]) -> Document:
    documents = {**_v3_documents(), **_custom_documents(served)}
    listed = {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={document.hash}"} for path, document in documents.items()
    }
    for part in _elsewhere:
        listed |= {path: {"serverRelativeURL": url} for path, url in part.urls.items() if path not in listed}
    return _pack(orjson.dumps({"paths": listed}), JSON)


def v3(group_version: str, *, protobuf: bool = False) -> Document | None:
    """The OpenAPI 3 document of ``api/v1`` or ``apis/GROUP/VERSION``; None when it is not served."""
    found = _custom_documents(kinds.served()).get(group_version) or _v3_documents().get(group_version)
    return _message(found) if found is not None and protobuf else found


@functools.lru_cache(maxsize=64)
def _message(document: Document) -> Document:
    """An OpenAPI 3 document as protobuf, which has the same tag."""
    body = gzip.compress(version3.encode(orjson.loads(document.body)), _COMPRESSION, mtime=0)
    return Document(version3.PROTOBUF_TYPE, body, document.etag)


def v2(*, protobuf: bool = False) -> Document:
    """/openapi/v2: everything in one document, as JSON or as the protobuf message that kubectl asks for."""
    return _newest(f"v2 {protobuf}", lambda served: _v2_document(protobuf, served))


def _v2_document(protobuf: bool, served: tuple[Kind, ...]) -> Document:
    definitions = raw_document()["$defs"]
    definitions |= publish.definitions((kind for kind in served if isinstance(kind, CustomKind)), v2=True)
    names = _names(definitions)
    spoken = paths.spoken_definitions(served, names)
    document: Obj = {
        "swagger": "2.0",
        "info": _INFO,
        "paths": version2.v2_paths(paths.paths(served, names)),
        "definitions": schemas.v2_schemas(definitions, spoken),
    }
    for part in _elsewhere:
        document["paths"] = part.paths | document["paths"]
        document["definitions"] = part.definitions | document["definitions"]
    encode: Callable[[Obj], bytes] = version2.encode if protobuf else orjson.dumps
    return _pack(encode(document), version2.PROTOBUF_TYPE if protobuf else JSON)


@functools.cache
def _v3_documents() -> dict[str, Document]:
    definitions = raw_document()["$defs"]
    names = _names(definitions)
    made = {}
    for group, versions in kinds.groups():
        for version in versions:
            rows = [kind for kind in kinds.KINDS if (kind.group, kind.version) == (group, version)]
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            made[path] = _pack(orjson.dumps(_v3(rows, definitions, names)), JSON)
    return made


_custom: dict[str, tuple[list[Kind], Document]] = {}


def _custom_documents(served: tuple[Kind, ...]) -> dict[str, Document]:
    """The documents of group versions with custom resources; those whose rows are the same are not made again."""
    wanted: dict[str, list[Kind]] = {}
    for kind in served:
        if isinstance(kind, CustomKind):
            wanted.setdefault(f"apis/{kind.group}/{kind.version}", []).append(kind)
    for path in _custom.keys() - wanted.keys():
        del _custom[path]
    definitions: dict[str, Obj] = {}
    for path, rows in wanted.items():
        known = _custom.get(path)
        if known is not None and len(known[0]) == len(rows) and all(map(operator.is_, known[0], rows)):
            continue
        definitions = definitions or _shared_definitions()
        own = definitions | publish.definitions(kind for kind in rows if isinstance(kind, CustomKind))
        beside = [k for k in kinds.KINDS if (k.group, k.version) == (rows[0].group, rows[0].version)]
        if beside:
            own = raw_document()["$defs"] | own
        _custom[path] = (rows, _pack(orjson.dumps(_v3([*beside, *rows], own, _names(own))), JSON))
    return {path: document for path, (_, document) in _custom.items()}


@functools.cache
def _shared_definitions() -> dict[str, Obj]:
    """What the definitions of custom resources refer to."""
    definitions = raw_document()["$defs"]
    wanted = [*paths.COMMON, *paths.OF_CUSTOM]
    return {name: definitions[name] for name in schemas.reachable(definitions, wanted)}


def _v3(rows: list[Kind], definitions: dict[str, Obj], names: paths.Names) -> Obj:
    spoken = paths.spoken_definitions(rows, names)
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths.paths(rows, names),
        "components": {"schemas": schemas.v3_schemas(definitions, spoken)},
    }


def _names(definitions: dict[str, Obj]) -> paths.Names:
    """The definition names by GVK."""
    found: paths.Names = {}
    for name, schema in definitions.items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return found

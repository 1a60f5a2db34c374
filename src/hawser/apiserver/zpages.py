"""/statusz and /flagz: what this server is, and how it was started, for whoever looks into it.

Source: KEP-4827 and KEP-4828 (beta and on in v1.36); kube-apiserver's pages of the same names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from hawser.api import discovery
from hawser.api.encoding import dumps
from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.apiserver import negotiation
from hawser.apiserver.negotiation import Media
from hawser.apiserver.reply import Reply
from hawser.apiserver.writes import timestamp
from hawser.exposition import started

_COMPONENT = "apiserver"
_GROUP = "config.k8s.io"
_VERSIONS = ("v1beta1", "v1alpha1")
_TEXT = "text/plain; charset=utf-8"
_HEAD = """
{} {}
Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.
"""  # noqa: E501
_NOT_FOR_DEBUGGING = frozenset(("", "apis", "api", "openid", "openapi", ".well-known"))


def statusz(paths: Iterable[str], accept: str) -> Reply:
    """What runs here, since when. paths: all that is served beside resources. APIError 406."""
    began = datetime.fromtimestamp(started(), UTC)
    seconds = max(0, int(time.time() - began.timestamp()))
    version = discovery.version_document()
    folders = sorted({path.split("/")[1] for path in paths} - _NOT_FOR_DEBUGGING)
    page: Obj = {
        "startTime": timestamp(began),
        "uptimeSeconds": seconds,
        "goVersion": version["goVersion"],
        "binaryVersion": version["gitVersion"].removeprefix("v").partition("+")[0],
        "emulationVersion": f"{version['emulationMajor']}.{version['emulationMinor']}",
        "paths": [f"/{folder}" for folder in folders],
    }
    up = f"{seconds // 3600} hr {seconds // 60 % 60:02} min {seconds % 60:02} sec"
    lines = [
        f"Started: {began:%a %b} {began.day:2} {began:%H:%M:%S UTC %Y}",
        f"Up: {up}",
        f"Go version: {page['goVersion']}",
        f"Binary version: {page['binaryVersion']}",
        f"Emulation version: {page['emulationVersion']}",
        f"Paths: {' '.join(page['paths'])}",
    ]
    return _reply("Statusz", page, "\n" + "\n".join(lines) + "\n", accept)


def flagz(flags: Mapping[str, str], accept: str) -> Reply:
    """How the server was started. flags: without dashes. APIError 406."""
    lines = "".join(f"{name}: {value}\n" for name, value in sorted(flags.items()))
    return _reply("Flagz", {"flags": dict(flags)}, lines, accept)


def _reply(kind: str, page: Obj, text: str, accept: str) -> Reply:
    """The page in the first form that the client takes: text, or an object of a version that it names."""
    for main, sub, parameters in negotiation.clauses(accept) if accept.strip() else [("text", "plain", {})]:
        wanted = parameters.keys() & {"as", "g", "v"}
        if (main, sub) in (("text", "plain"), ("text", "*"), ("*", "*")) and not wanted:
            return Reply(f"{_HEAD.format(_COMPONENT, kind.lower())}{text}".encode(), 200, _TEXT)
        for media in (Media.JSON, Media.YAML):
            if f"{main}/{sub}" in (media, "application/*", "*/*") and wanted:
                version = parameters.get("v", "")
                if (parameters.get("as"), parameters.get("g")) == (kind, _GROUP) and version in _VERSIONS:
                    return _structured(kind, page, version, media)
    raise APIError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/yaml, text/plain",
    )


def _structured(kind: str, page: Obj, version: str, media: Media) -> Reply:
    obj = {"kind": kind, "apiVersion": f"{_GROUP}/{version}", "metadata": {"name": _COMPONENT}, **page}
    body = dumps(obj)
    reply = Reply(negotiation.encode_yaml(body) if media is Media.YAML else body, 200, str(media))
    if version != _VERSIONS[0]:
        reply.warned([f"This version of the {kind.lower()} endpoint is deprecated. Please use a newer version."])
    return reply

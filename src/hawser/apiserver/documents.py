"""Everything that is not a resource: health, version, discovery, OpenAPI, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

import orjson
from aiohttp import web

from hawser.api import discovery, kinds, openapi
from hawser.api.encoding import dumps
from hawser.api.errors import method_not_supported, no_resource
from hawser.api.types import Obj
from hawser.apiserver import exposition, health, negotiation
from hawser.apiserver.authentication import issuer_documents
from hawser.apiserver.authentication.issuer_documents import IssuerDocuments
from hawser.apiserver.health import Health
from hawser.apiserver.metrics import Metrics
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Headers, Reply
from hawser.store.base import Store

_YEAR = 365 * 24 * 3600
_PATHS = (
    *("/.well-known/openid-configuration", "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2"),
    *("/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"),
)


Page = Callable[[web.BaseRequest, Target], Reply]


class Documents:
    """Serves them; a document that does not change is encoded once."""

    def __init__(self, store: Store, metrics: Metrics, server: str, issuer: IssuerDocuments) -> None:
        """server: HOST:PORT as clients reach this server."""
        self.store = store
        self._metrics = metrics
        self._server = server
        self._issuer = issuer
        self._cache: dict[str, Reply] = {}
        self._served = kinds.discovered()
        self.health = Health(store)
        self.pages: dict[str, Page] = {}
        """What others serve, by path."""

    @property
    def paths(self) -> list[str]:
        """Everything that is served beside resources."""
        return sorted((*_PATHS, *(path for path in self.pages if not path.startswith("/debug/"))))

    @property
    def stopping(self) -> bool:
        """Whether the server is about to stop."""
        return self.health.stopping

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self.health.stopping = value

    def serve(self, request: web.BaseRequest, target: Target) -> Reply:
        """Answer a GET for a document. APIError 404, 405."""
        path = target.path.rstrip("/") or "/"
        if self._served is not kinds.discovered():
            self._served = kinds.discovered()
            self._cache.clear()
        if target.verb not in ("get", "head"):
            if path.startswith(("/api/", "/apis/")):
                raise no_resource()
            raise method_not_supported("", path, target.verb)
        if path == issuer_documents.KEYS:
            return Reply(dumps(self._issuer.keys()), 200, issuer_documents.KEYS_CONTENT_TYPE)
        root = "/" + path.split("/", 2)[1]
        if root in health.ROOTS:
            found = self.health.answer(path, target.query, request._message.path)
            if found is None:
                raise no_resource()
            return found
        if path in self.pages:
            return self.pages[path](request, target)
        if path == "/metrics":
            return Reply(exposition.render(self._metrics, self.store), 200, exposition.CONTENT_TYPE)
        accept = request.headers.get("Accept", "")
        if path.startswith("/openapi/"):
            return self._openapi(path, accept, request, target.query)
        if path in ("/api", "/apis"):
            version = discovery.accepted_aggregation(accept)
            if version:
                return self._aggregated(path, version, request)
        found = self._cache.get(path)
        if found is None:
            document = self._document(path)
            if document is None:
                raise no_resource()
            # These two are for people in Kubernetes, whoever asks.
            option = orjson.OPT_INDENT_2 if path in ("/", "/version") else None
            found = self._cache[path] = Reply(dumps(document, option), line=path.startswith("/api"))
        # A reply remembers its connection's state, so each answer is one of its own.
        return Reply(found.body, found.status, found.content_type, found.headers, found.line)

    def _document(self, path: str) -> Obj | None:
        if path == "/version":
            return discovery.version_document()
        if path == "/":
            return {"paths": self.paths}
        if path == issuer_documents.CONFIGURATION:
            return self._issuer.configuration()
        if path == "/api":
            return discovery.api_versions(self._server)
        if path == "/apis":
            return discovery.api_group_list(self._served, kinds.remote())
        parts = path.split("/")
        if parts[1] == "api" and len(parts) == 3:
            return discovery.api_resource_list("", parts[2], self._served)
        if parts[1] == "apis" and len(parts) == 3:
            return discovery.api_group(parts[2], self._served, kinds.remote())
        if parts[1] == "apis" and len(parts) == 4:
            return discovery.api_resource_list(parts[2], parts[3], self._served)
        return None

    def _openapi(self, path: str, accept: str, request: web.BaseRequest, query: dict[str, str]) -> Reply:
        """Compressed for whoever takes that, which is how the documents are kept.

        Source: kube-openapi's handlers. With ``hash``, as the index has it, an answer may be kept for good.
        """
        forms = openapi.forms(path)
        media = negotiation.preferred(accept, forms)
        document = openapi.find(path, media)
        if document is None:
            raise no_resource()
        headers: Headers = (("ETag", document.etag), ("Vary", "Accept-Encoding, Accept"))
        if forms and not media:
            return Reply(b"", 406, "text/plain; charset=utf-8", headers[1:])
        asked = query.get("hash", "") if path.startswith("/openapi/v3/") else ""
        if asked and asked != document.hash:
            # The URL is that of another time's document, which may be kept for ever.
            return Reply(b"", 301, document.content_type, (("Location", f"{path}?hash={document.hash}"),), line=False)
        if asked:
            expires = formatdate(time.time() + _YEAR, usegmt=True)
            headers += (("Cache-Control", "public, immutable"), ("Expires", expires))
        if request.headers.get("If-None-Match") == document.etag:
            return Reply(b"", 304, document.content_type, headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            packed = (*headers, ("Content-Encoding", "gzip"))
            return Reply(document.compressed, 200, document.content_type, packed, line=False)
        return Reply(document.body, 200, document.content_type, headers, line=False)

    def _aggregated(self, path: str, version: str, request: web.BaseRequest) -> Reply:
        key = f"{path}?{version}"
        found = self._cache.get(key)
        if found is None:
            core, remote = path == "/api", kinds.remote()
            document = discovery.aggregated(core=core, version=version, kinds=self._served, remote=remote)
            headers = (("ETag", discovery.etag(document)), ("Vary", "Accept"))
            content_type = discovery.aggregated_content_type(version)
            found = self._cache[key] = Reply(dumps(document), 200, content_type, headers)
        tag = found.headers[0][1] if found.headers else ""
        if tag and request.headers.get("If-None-Match") == tag:
            return Reply(b"", 304, found.content_type, found.headers)
        return Reply(found.body, found.status, found.content_type, found.headers, line=True)

"""The bytes of requests to one server.

Source: RFC 9112, sections 3 and 6; RFC 3986, section 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

_TARGET = re.compile(r"""[!"$-~]+""")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_QUERY_SAFE = "!()*,/:@"
_TARGET_SAFE = "!$%&'()*+,/:;=?@[]~"
_WITHOUT_LENGTH = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_PORTS = {"http": 80, "https": 443}
_REMEMBERED = 64


class Requests:
    """server: URL, whose path comes before that of each request. user_agent: what it is told of who asks.

    host, port, secure: where to connect to, and whether with TLS. Raises ValueError for what is no http(s) URL.
    """

    def __init__(self, server: str, user_agent: str) -> None:
        url = urlsplit(server)
        if url.scheme not in _PORTS or not url.hostname:
            raise ValueError(f"{server!r} is no URL of a server")
        self.secure = url.scheme == "https"
        self.host = url.hostname if url.hostname.isascii() else url.hostname.encode("idna").decode()
        self.port = url.port or _PORTS[url.scheme]
        self._prefix = url.path.rstrip("/")
        name = f"[{self.host}]" if ":" in self.host else self.host
        shown = name if self.port == _PORTS[url.scheme] else f"{name}:{self.port}"
        # On one machine compressing costs more than it saves.
        self._always = f"Host: {shown}\r\nUser-Agent: {_value(user_agent)}\r\nAccept-Encoding: identity\r\n"
        self._lines: dict[tuple[str, str, str], str] = {}

    def encode(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        params: Mapping[str, str] | None = None,
        accept: str = "",
        content_type: str = "",
        token: str = "",
    ) -> bytes:
        """A whole request. path: encoded. params: added to its query. Raises ValueError for what no header can hold."""
        lines = self._lines.get((accept, content_type, token))
        if lines is None:
            lines = self._remember(accept, content_type, token)
        if params:
            path = f"{path}{'&' if '?' in path else '?'}{urlencode(params, safe=_QUERY_SAFE)}"
        if _TARGET.fullmatch(path) is None:
            path = quote(path, safe=_TARGET_SAFE)
        if body is not None:
            head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
            return head.encode("latin-1") + body
        length = "" if method in _WITHOUT_LENGTH else "Content-Length: 0\r\n"
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{lines}{length}\r\n".encode("latin-1")

    def _remember(self, accept: str, content_type: str, token: str) -> str:
        """The header lines that many requests share: who reads them finds the same bytes again."""
        headers = {
            "Accept": accept,
            "Content-Type": content_type,
            "Authorization": f"Bearer {token}" if token else "",
        }
        lines = self._always + "".join(f"{name}: {_value(value)}\r\n" for name, value in headers.items() if value)
        if len(self._lines) >= _REMEMBERED:
            # Tokens come and go.
            self._lines.clear()
        self._lines[accept, content_type, token] = lines
        return lines


def _value(text: str) -> str:
    if _VALUE.fullmatch(text) is None:
        raise ValueError("a header of a request cannot hold control characters")
    return text

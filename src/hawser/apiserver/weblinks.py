"""Links of the pages that the API server passes on: what a server calls ``/style.css`` lies below its proxy path here.

Source: Kubernetes' proxy transport (staging/src/k8s.io/apimachinery/pkg/util/proxy/transport.go), which rewrites the
Location of redirects and the attributes of HTML that hold URLs; attributes: HTML Standard, "Attributes".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from html import escape
from html.parser import HTMLParser
from posixpath import normpath
from typing import Protocol
from urllib.parse import urlsplit

_ATTRIBUTES = {
    **dict.fromkeys(("a", "area", "base", "link"), ("href",)),
    **dict.fromkeys(("audio", "embed", "script", "source"), ("src",)),
    **dict.fromkeys(("blockquote", "del", "ins", "q"), ("cite",)),
    **dict.fromkeys(("frame", "iframe"), ("longdesc", "src")),
    "applet": ("codebase",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "form": ("action",),
    "head": ("profile",),
    "html": ("manifest",),
    "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"),
    "object": ("classid", "codebase", "data", "usemap"),
    "video": ("poster", "src"),
}
_LONGEST = 64 * 1024
"""A tag or comment that is longer ends the changes: looking for its end anew with each piece takes too long."""
_GZIP = 16 + zlib.MAX_WBITS


class Links:
    """Where a server's links lead. prefix: the proxy's path. hosts: Host headers that mean the server itself."""

    def __init__(self, prefix: str, *hosts: str) -> None:
        self._prefix = prefix
        self._hosts = hosts

    def url(self, text: str) -> str:
        """A link as the client is to see it: absolute paths of this server lie below the prefix."""
        try:
            parts = urlsplit(text)
        except ValueError:
            return text
        if (parts.netloc and parts.netloc not in self._hosts) or not parts.path.startswith("/"):
            return text
        if parts.path.startswith(self._prefix):
            return text
        path = normpath(self._prefix + parts.path)
        if parts.path.endswith("/"):
            path += "/"
        return parts._replace(scheme="", netloc="", path=path).geturl()


class Body(Protocol):
    """A body that changes on its way."""

    def feed(self, data: bytes) -> bytes:
        """What can be sent of it after some more has come."""

    def end(self) -> bytes:
        """The rest."""


def body(links: Links, headers: Mapping[str, str]) -> Body | None:
    """How a server's answer is to be changed; None for what is no HTML, or coded in a way that is not known."""
    if headers.get("Content-Type", "").partition(";")[0].strip() != "text/html":
        return None
    page = Page(links)
    match headers.get("Content-Encoding", ""):
        case "":
            return page
        case "gzip":
            return _Packed(page, zlib.decompressobj(_GZIP).decompress, zlib.compressobj(wbits=_GZIP))
        case "deflate":
            return _Packed(page, zlib.decompressobj().decompress, zlib.compressobj())
    return None


class Page(HTMLParser):
    """HTML whose links are changed; all else stays byte for byte, and nothing waits for more than a tag's end."""

    def __init__(self, links: Links) -> None:
        super().__init__(convert_charrefs=False)
        self._links = links
        self._given_up = False
        self._changed = ""
        self._edits: list[tuple[int, int, str]] = []

    def feed(self, data: bytes) -> bytes:  # type: ignore[override]
        """What can be sent of it after some more has come."""
        if self._given_up:
            return data
        # Each byte is a character: markup is ASCII in every encoding of the web but UTF-16.
        source = self.rawdata + data.decode("latin-1")
        try:
            super().feed(data.decode("latin-1"))
        except AssertionError:  # markup that the parser has no answer for
            self._given_up = True
        if self._given_up or len(self.rawdata) > _LONGEST:
            self._given_up = True
            self.rawdata = ""
        return self._edited(source[: len(source) - len(self.rawdata)])

    def end(self) -> bytes:
        """The rest: something that was begun and not ended."""
        return self.rawdata.encode("latin-1")

    def _edited(self, source: str) -> bytes:
        parts, at = [], 0
        for start, stop, text in self._edits:
            parts += [source[at:start], text]
            at = stop
        self._edits.clear()
        return "".join((*parts, source[at:])).encode("latin-1")

    def parse_starttag(self, i: int) -> int:
        """Notes what a tag becomes."""
        self._changed = ""
        stop = super().parse_starttag(i)
        if stop > 0 and self._changed:
            self._edits.append((i, stop, self._changed))
        return stop

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """``<img/>``."""
        self._changed = self._tag(tag, attrs, "/>")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """``<a>``."""
        self._changed = self._tag(tag, attrs, ">")

    def _tag(self, tag: str, attrs: list[tuple[str, str | None]], end: str) -> str:
        """A tag with its links changed, empty when there is nothing to change."""
        urls = _ATTRIBUTES.get(tag, ())
        changed = [(key, self._links.url(value) if value and key in urls else value) for key, value in attrs]
        if changed == attrs:
            return ""
        # A character beyond a byte came from a reference such as &euro; and goes back to one.
        words = (key if value is None else f'{key}="{_referenced(value)}"' for key, value in changed)
        return f"<{' '.join((tag, *words))}{end}"


def _referenced(value: str) -> str:
    return "".join(c if ord(c) < 256 else f"&#{ord(c)};" for c in escape(value))


class _Compress(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...


class _Packed:
    """A compressed page."""

    def __init__(self, page: Page, unpack: Callable[[bytes], bytes], pack: _Compress) -> None:
        self._page = page
        self._unpack = unpack
        self._pack = pack

    def feed(self, data: bytes) -> bytes:
        """What can be sent of it after some more has come. Raises zlib.error."""
        return self._pack.compress(self._page.feed(self._unpack(data)))

    def end(self) -> bytes:
        """The rest."""
        return self._pack.compress(self._page.end()) + self._pack.flush()

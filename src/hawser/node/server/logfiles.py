"""``GET /logs/``: the files below the machine's /var/log, and lists of its folders.

As kubelet's, which is a file server (enableSystemLogHandler); ``?query=`` of KEP-2258 needs kubelet's
enableSystemLogQuery, which is off by default, and is passed over as there.
"""

from __future__ import annotations

import asyncio
import errno
import html
import mimetypes
import os
import posixpath
import stat
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

_PIECE = 1 << 18
_SNIFFED = 512
_PLAIN = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"


async def answer(request: web.BaseRequest, root: Path) -> web.StreamResponse:
    """A file or a folder. Raises ConnectionError when the reader leaves."""
    if request.method != "GET":
        return _text(405, "405: Method Not Allowed", {"Allow": "GET"})
    if not request.path.startswith("/logs/"):
        return _text(404, "404 page not found\n")
    asked = "/" + request.path.removeprefix("/logs/")
    if asked.endswith("/index.html"):
        return _moved("./")
    path = Path(f"{root}{posixpath.normpath(asked)}")
    try:
        folder = path.is_dir()
        if folder != asked.endswith("/") and path.exists():
            base = posixpath.basename(asked.rstrip("/"))
            return _moved(f"{base}/" if folder else f"../{base}")
        if not folder:
            return await _file(request, path)
        index = path / "index.html"
        return await _file(request, index) if index.is_file() else _listing(path)
    except (FileNotFoundError, NotADirectoryError):
        return _text(404, "404 page not found\n")
    except PermissionError:
        return _text(403, "403 Forbidden\n")
    except (OSError, ValueError):  # a name with a NUL
        return _text(500, "500 Internal Server Error\n")


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": _PLAIN, **(headers or {})})


def _moved(where: str) -> web.Response:
    return web.Response(status=301, headers={"Location": quote(where)})


def _listing(folder: Path) -> web.Response:
    """The names in a folder, in order."""
    rows = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
        # A name with a colon would be taken for a URL with a scheme.
        link = ("./" if ":" in name.partition("/")[0] else "") + quote(name, safe="/$&+,:;=@!'()*~")
        rows.append(f'<a href="{html.escape(link)}">{html.escape(name)}</a>\n')
    page = f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{"".join(rows)}</pre>\n'
    return web.Response(body=page.encode(errors="surrogateescape"), headers=_headers(_HTML, folder))


async def _file(request: web.BaseRequest, path: Path) -> web.StreamResponse:
    # A log is read while others write it: no more than it has now.
    with await asyncio.to_thread(_open, path) as file:
        size = os.fstat(file.fileno()).st_size
        headers = _headers(_kind(path, file), path) | {"Accept-Ranges": "bytes"}
        start, end, status = 0, size, 200
        try:
            part = request.http_range
        except ValueError:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        if part.start is not None or part.stop is not None:
            start, end, _ = part.indices(size)
            if start >= end:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(end - start)})
        await response.prepare(request)
        file.seek(start)
        while start < end and (piece := await asyncio.to_thread(file.read, min(_PIECE, end - start))):
            start += len(piece)
            await response.write(piece)
        await response.write_eof()
        return response


def _open(path: Path) -> BinaryIO:
    """Raises OSError, also for what is no file: of a FIFO, say, nobody waits for the other end."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise PermissionError(errno.EACCES, "not a file", str(path))


def _kind(path: Path, file: BinaryIO) -> str:
    """The type of a file by its name, else by its first bytes."""
    named = mimetypes.guess_type(path.name)
    if named[0] and not named[1]:
        return f"{named[0]}; charset=utf-8" if named[0].startswith("text/") else named[0]
    first = file.read(_SNIFFED)
    if first.startswith(b"\x1f\x8b\x08"):
        return "application/x-gzip"
    return "application/octet-stream" if b"\0" in first else _PLAIN


def _headers(kind: str, path: Path) -> dict[str, str]:
    return {"Content-Type": kind, "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}

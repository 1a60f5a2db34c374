"""HTTP of one kind: a GET with a short answer, then the end of the connection. For health checks and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

_SECONDS = 10.0
_LONGEST = 16384
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. headers: further ones."""

    text: str
    status: HTTPStatus = HTTPStatus.OK
    type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        body = self.text.encode()
        fixed = (
            ("Content-Type", self.type),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        )
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in (*fixed, *self.headers)]
        return "\r\n".join((*lines, "", "")).encode() + body


NOT_FOUND = Answer("404 page not found\n", HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8")


async def serve(host: str | None, port: int, answer: Callable[[str], Answer]) -> asyncio.Server:
    """Listen; answer makes an answer of a path. host: None for every address. Raises OSError."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                words = head.split(b" ", 2)
                path = words[1].decode("ascii", "replace").partition("?")[0] if len(words) > 1 else ""
                writer.write(answer(path).encode())
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(talk, host, port, limit=_LONGEST)

"""An answer that is read while it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

from hawser.client.http1.connection import Connection
from hawser.client.http1.reader import Reader


class Stream:
    """What comes over a connection after the head of an answer.

    status, headers: of that head; names are in lower case. failed: makes what is raised of an OSError.
    silence: seconds that may pass before more comes.
    """

    def __init__(
        self,
        connection: Connection,
        answer: Reader,
        failed: Callable[[OSError], Exception],
        silence: float | None,
    ) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._connection = connection
        self._answer = answer
        self._failed = failed
        self._silence = silence

    async def read(self) -> bytes:
        """What has come since the last time, or comes next; nothing at the end. Raises what ``failed`` makes."""
        answer = self._answer
        while not answer.pieces and not answer.done:
            if self._silence is not None:
                self._connection.limit(self._silence)
            try:
                await self._connection.wait()
            except OSError as err:
                raise self._failed(err) from err
        return answer.take()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Pieces, as they come."""
        while piece := await self.read():
            yield piece

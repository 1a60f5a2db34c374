"""A file system of a few small files, each made anew for who reads it. fuse(4); the kernel's include/uapi/linux/fuse.h.

Its process imports this and little else, as it is there for as long as a node has rich containers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Callable, Mapping

Content = Callable[[int], bytes]
"""What a process with a number reads. Raises OSError, whose number the process is told."""


class Operation:
    """What may be asked."""

    LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
    INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 26, 27, 28, 29, 36, 42


_UNANSWERED = (Operation.FORGET, Operation.INTERRUPT, Operation.BATCH_FORGET)
_REQUEST = struct.Struct("=IIQQIIII")  # length, operation, number, node, user, group, process, (extensions)
_ANSWER = struct.Struct("=IiQ")
_ATTRIBUTES = struct.Struct("=6Q10I")
_READING = struct.Struct("=QQI")  # handle, offset, size
_INITIAL = struct.pack("=4I2H10I", 7, 31, 0, 0, 0, 0, 4096, 1, *[0] * 8)  # version 7.31, nothing optional
_DIRECT = 1  # FOPEN_DIRECT_IO: the size is not known before
_ROOM = 1 << 16  # of a request; at least FUSE_MIN_READ_BUFFER
_VALID = 3600  # seconds; names and modes never change
_REMEMBERED = 64


class FileSystem:
    """The files by their paths, as ``proc/diskstats``. Of what is open, only what was read last is kept."""

    def __init__(self, files: Mapping[str, Content]) -> None:
        self._names = [""]  # by node - 1; the root is node 1
        for path in files:
            parts = path.split("/")
            for length in range(1, len(parts) + 1):
                if (name := "/".join(parts[:length])) not in self._names:
                    self._names.append(name)
        self._files = files
        self._handle = 0
        self._read: dict[int, bytes] = {}

    def serve(self, device: int) -> None:
        """Answers what comes from an open and mounted /dev/fuse until it is unmounted, or cut off. Raises OSError."""
        while True:
            try:
                request = os.read(device, _ROOM)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # taken back meanwhile
                    continue
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    return
                raise
            if answer := self.answer(request):
                with contextlib.suppress(FileNotFoundError):  # who asked has gone
                    os.write(device, answer)

    def answer(self, request: bytes) -> bytes:
        """The answer to one request; nothing to what wants none."""
        _, operation, number, node, _, _, process, _ = _REQUEST.unpack_from(request)
        if operation in _UNANSWERED:
            return b""
        try:
            code, body = 0, self._do(operation, node, process, request[_REQUEST.size :])
        except OSError as error:
            code, body = -(error.errno or errno.EIO), b""
        return _ANSWER.pack(_ANSWER.size + len(body), code, number) + body

    def _do(self, operation: int, node: int, process: int, body: bytes) -> bytes:
        match operation:
            case Operation.INIT:
                return _INITIAL
            case Operation.LOOKUP:
                found = self._find(node, body.split(b"\0", 1)[0].decode(errors="replace"))
                return struct.pack("=QQQQII", found, 0, _VALID, _VALID, 0, 0) + self._attributes(found)
            case Operation.GETATTR:
                return struct.pack("=QII", _VALID, 0, 0) + self._attributes(node)
            case Operation.OPEN | Operation.OPENDIR:
                self._handle += 1
                return struct.pack("=QII", self._handle, _DIRECT if operation == Operation.OPEN else 0, 0)
            case Operation.READ:
                return self._content(node, process, *_READING.unpack_from(body))
            case Operation.READDIR:
                return self._listing(node, *_READING.unpack_from(body)[1:])
            case Operation.RELEASE | Operation.RELEASEDIR:
                self._read.pop(_READING.unpack_from(body)[0], None)
                return b""
            case Operation.STATFS:
                return struct.pack("=5Q4I24x", 0, 0, 0, len(self._names), 0, 4096, 255, 4096, 0)
        raise OSError(errno.ENOSYS, "not here")

    def _find(self, folder: int, name: str) -> int:
        path = f"{self._names[folder - 1]}/{name}".lstrip("/")
        if not name or path not in self._names:
            raise FileNotFoundError(errno.ENOENT, path)
        return self._names.index(path) + 1

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFREG | 0o444 if self._names[node - 1] in self._files else stat.S_IFDIR | 0o555
        return _ATTRIBUTES.pack(node, *[0] * 8, mode, 1, *[0] * 3, 4096, 0)

    def _content(self, node: int, process: int, handle: int, offset: int, size: int) -> bytes:
        """What is read from the start is new, as with /proc's own files; what is read on is of one piece with that."""
        if offset == 0 or handle not in self._read:
            content = self._files[self._names[node - 1]](process)
            if len(self._read) >= _REMEMBERED:
                del self._read[next(iter(self._read))]
            self._read[handle] = content
        return self._read[handle][offset : offset + size]

    def _listing(self, folder: int, offset: int, size: int) -> bytes:
        above = self._names[folder - 1]
        below = [name for name in self._names[1:] if name.rpartition("/")[0] == above]
        rows = [".", "..", *(name.rpartition("/")[2] for name in below)]
        said = b""
        for index, row in enumerate(rows[offset:], offset + 1):
            name = row.encode()
            kind = (
                stat.S_IFDIR if row in (".", "..") or f"{above}/{row}".lstrip("/") not in self._files else stat.S_IFREG
            )
            entry = struct.pack("=QQII", index, index, len(name), kind >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(said) + len(entry) > size:
                break
            said += entry
        return said

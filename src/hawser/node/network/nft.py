"""nftables transactions: in-process through libnftables, or with the nft command where the library is missing.

Source: libnftables(3), nft(8). One call is one transaction: all of it happens or nothing.
"""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any


class NftError(Exception):
    """A transaction that the kernel or the parser refused; the message is nftables' own."""


def _library() -> Any:
    for name in ("libnftables.so.1", "libnftables.so"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        return library
    return None


class Nft:
    """nftables in the network namespace of the thread that makes this object; use it on that thread only."""

    def __init__(self) -> None:
        self._library = _library()
        self._context = self._library.nft_ctx_new(0) if self._library else None
        if self._context:
            self._library.nft_ctx_buffer_output(self._context)
            self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Run commands (nft's language) as one transaction and return what they print. Raises NftError."""
        if not self._context:
            return self._run_command(commands)
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NftError(error.decode("utf-8", "replace").strip() or "nftables refused the transaction")
        return output.decode()

    @staticmethod
    def _run_command(commands: str) -> str:
        try:
            done = subprocess.run(["nft", "-f", "-"], input=commands, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise NftError("neither libnftables.so.1 nor nft is installed: install the package nftables") from error
        if done.returncode:
            raise NftError(done.stderr.strip())
        return done.stdout

    def close(self) -> None:
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

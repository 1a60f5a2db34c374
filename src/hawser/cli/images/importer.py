"""Images into and out of a containerd, by its own client `ctr`."""

from __future__ import annotations

import subprocess
from pathlib import Path

IMPORT_SECONDS = 900.0  # a large image on a slow disk takes minutes
NAMESPACE = "k8s.io"  # the one that the CRI plugin looks into


class ImportFailed(Exception):
    """containerd refused an archive; the text is ctr's."""


def import_archive(
    archive: Path, socket: Path, namespace: str = NAMESPACE, timeout: float = IMPORT_SECONDS
) -> list[str]:
    """Imports an image archive; returns the names of the images in it.

    `socket` is containerd's, `timeout` in seconds. Raises ImportFailed.
    """
    output = _ctr(socket, namespace, timeout, "images", "import", str(archive))
    return [line.split()[1] for line in output.splitlines() if line.startswith("unpacking ")]


def image_names(socket: Path, namespace: str = NAMESPACE, timeout: float = 30) -> list[str]:
    """The names of the images that a containerd has. Raises ImportFailed."""
    return _ctr(socket, namespace, timeout, "images", "list", "-q").split()


def digests(socket: Path, namespace: str = NAMESPACE, timeout: float = 30) -> dict[str, str]:
    """Digests of the images that a containerd has, by the names that people gave them. Raises ImportFailed."""
    rows = [line.split() for line in _ctr(socket, namespace, timeout, "images", "list").splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2 and "@" not in row[0] and not row[0].startswith("sha256:")}


def _ctr(socket: Path, namespace: str, timeout: float, *words: str) -> str:
    command = ["ctr", "--address", str(socket), "--namespace", namespace, *words]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise ImportFailed("ctr is missing: install the package containerd") from None
    except subprocess.TimeoutExpired:
        raise ImportFailed(f"ctr {' '.join(words)} took longer than {timeout:g} s") from None
    if ran.returncode != 0:
        raise ImportFailed(ran.stderr.strip() or f"ctr {' '.join(words)} ended with {ran.returncode}")
    return ran.stdout

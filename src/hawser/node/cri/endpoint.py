"""Where a node's container runtime listens, as crictl finds it."""

from __future__ import annotations

import os
from pathlib import Path

_SOCKETS = ("/run/containerd/containerd.sock", "/run/crio/crio.sock")


def usual_endpoint() -> str:
    """What CONTAINER_RUNTIME_ENDPOINT says, else the first of the usual sockets that is there."""
    found = next((path for path in _SOCKETS if Path(path).exists()), _SOCKETS[0])
    return os.environ.get("CONTAINER_RUNTIME_ENDPOINT") or f"unix://{found}"

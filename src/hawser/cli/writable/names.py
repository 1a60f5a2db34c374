"""What the DaemonSet of `hawser rich install` is found by."""

from __future__ import annotations

from typing import Final

AGENT_NAMESPACE: Final = "hawser-system"
AGENT_LABEL: Final = "app.kubernetes.io/name=hawser-rich"
AGENT_CONTAINER: Final = "agent"
AGENT_ROOT: Final = "/host"
"""Where its pods see the node's root directory."""

"""User namespaces of pods with ``hostUsers: false``: each gets users and groups of the node to itself.

Source: KEP-127, "Support User Namespaces in pods". What a pod has is kept in a file of its folder, in kubelet's format,
so that it stays over restarts of the agent and is free again once the folder is gone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hawser.api.types import Obj
from hawser.node import checkpoint
from hawser.node.cri.model import Features
from hawser.node.pod import view
from hawser.node.pod.env import ConfigError

LENGTH = 65536
_FILE = "userns"
_POD = 0


def of(pod: Obj, features: Features, handler: str, pods: Path) -> dict[str, Any] | None:
    """The runtime.v1 UserNamespace of a pod; None for one that has the node's users.

    pods: the folder of pods' folders. Raises ConfigError when the runtime has no user namespaces, OSError.
    """
    if pod["spec"].get("hostUsers", True):
        return None
    if handler not in features.user_namespaces:
        who = f'RuntimeClass handler "{handler}"' if handler else "runtime"
        raise ConfigError(f"can't set `spec.hostUsers: false`, {who} does not support user namespaces")
    file = pods / view.uid(pod) / _FILE
    first = _first(file)
    if first is None:
        taken = {_first(other) for other in pods.glob(f"*/{_FILE}")}
        first = next(number for number in range(LENGTH, 1 << 31, LENGTH) if number not in taken)
        row = {"hostId": first, "containerId": 0, "length": LENGTH}
        file.parent.mkdir(parents=True, exist_ok=True)
        # Half a file would keep every pod with users of its own from starting.
        checkpoint.save(file, {"uidMappings": [row], "gidMappings": [row]})
    mapping = [{"host_id": first, "container_id": 0, "length": LENGTH}]
    return {"mode": _POD, "uids": mapping, "gids": mapping}


def _first(file: Path) -> int | None:
    try:
        return int(json.loads(file.read_text())["uidMappings"][0]["hostId"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, IndexError) as err:
        raise ConfigError(f"user namespace: invalid user namespace mappings file: {err}") from None

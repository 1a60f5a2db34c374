"""Devices by their CDI names, for runtimes that do not resolve them: what the specs say becomes part of the request.

Source: the Container Device Interface specification (CDI) 1.0; containerd has it from 1.7 on (``enable_cdi``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hawser.api.types import Obj
from hawser.node.pod.env import ConfigError

log = logging.getLogger(__name__)

_OPTIONS = {"ro": ("readonly", True), "rshared": ("propagation", 2), "shared": ("propagation", 2)}
_OPTIONS |= {"rslave": ("propagation", 1), "slave": ("propagation", 1)}
_DIRECT = {"env", "deviceNodes", "mounts", "additionalGids"}


def inject(config: Obj, names: Sequence[str], folders: Iterable[Path]) -> None:
    """Adds devices to a ContainerConfig. folders: of CDI specs, a later one goes first. Raises ConfigError."""
    found = dict(_devices(folders))
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}")
    seen: set[int] = set()
    for name in names:
        spec, device = found[name]
        try:
            if id(spec) not in seen:
                seen.add(id(spec))
                _edit(config, spec.get("containerEdits") or {}, name)
            _edit(config, device.get("containerEdits") or {}, name)
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            text = f"CDI device injection failed: the containerEdits of {name} are not as specified"
            raise ConfigError(f"{text}: {type(err).__name__}: {err}") from None


def _devices(folders: Iterable[Path]) -> Iterator[tuple[str, tuple[Mapping[str, Any], Mapping[str, Any]]]]:
    """By its full name each device with its spec."""
    for folder in folders:
        for file in sorted(folder.glob("*")) if folder.is_dir() else ():
            if file.suffix not in (".json", ".yaml", ".yml") or not file.is_file():
                continue
            spec = _read(file)
            for device in spec.get("devices") or ():
                yield f"{spec.get('kind')}={device.get('name')}", (spec, device)


def _read(file: Path) -> Mapping[str, Any]:
    """A spec; one that cannot be read, or is none, has no devices, and does not keep others from theirs."""
    try:
        spec: Any = json.loads(file.read_bytes()) if file.suffix == ".json" else _yaml(file.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        log.warning("the CDI spec %s is passed over: %s", file, err)
        return {}
    rows = spec.get("devices") if isinstance(spec, dict) else None
    if isinstance(spec, dict) and isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return spec
    log.warning("the CDI spec %s is passed over: it has no list of devices", file)
    return {}


def _yaml(text: bytes) -> Any:
    """Raises ValueError."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ValueError(str(err)) from None


def _edit(config: Obj, edits: Mapping[str, Any], name: str) -> None:
    if further := sorted(key for key, value in edits.items() if value and key not in _DIRECT):
        text = f"CDI device injection failed: {name} has {', '.join(further)}, which this container runtime cannot do"
        raise ConfigError(f"{text} (containerd can from 1.7 on)")
    for text in edits.get("env") or ():
        key, _, value = text.partition("=")
        # As in a runtime, what a spec says goes before what the pod says.
        config["envs"] = [row for row in config["envs"] if row["key"] != key]
        config["envs"].append({"key": key, "value": value.encode()})
    for node in edits.get("deviceNodes") or ():
        config["devices"].append(
            {
                "container_path": node["path"],
                "host_path": node.get("hostPath") or node["path"],
                "permissions": node.get("permissions") or "rwm",
            }
        )
    for mount in edits.get("mounts") or ():
        row = {"container_path": mount["containerPath"], "host_path": mount["hostPath"], "propagation": 0}
        row |= dict(_OPTIONS[option] for option in mount.get("options") or () if option in _OPTIONS)
        config["mounts"].append(row)
    if groups := edits.get("additionalGids"):
        context = config["linux"]["security_context"]
        context["supplemental_groups"] = [*context.get("supplemental_groups", ()), *groups]

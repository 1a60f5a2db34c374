"""What a pod asks of the runtime: its annotations, read and checked. Pure.

| annotation | values | default |
|---|---|---|
| rich.hawser.dev/init | systemd, init, minimal | what the image has: systemd, else minimal |
| rich.hawser.dev/container | names of the pod's rich containers, separated by commas | every container |
| rich.hawser.dev/restart | no, on-failure, always: restarts inside the container | no |
| rich.hawser.dev/restart-limit | restarts within the interval before the container ends | 3 |
| rich.hawser.dev/restart-interval | seconds, or with a unit: 90s, 10m, 1h | 10m |
| rich.hawser.dev/stop-signal | the signal that asks the application to end, under systemd | SIGTERM |
| rich.hawser.dev/prestart, poststop | hooks: see hooks.py | |
| rich.hawser.dev/enable-units, mask-units | names of the image's units, under systemd | |

A CRI does not tell its runtime which containers are init containers: a pod that has some names its rich container.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

PREFIX = "rich.hawser.dev/"
INITS = ("systemd", "init", "minimal")
RESTARTS = ("no", "on-failure", "always")
_KNOWN = (
    *("init", "container", "restart", "restart-limit", "restart-interval", "stop-signal"),
    *("prestart", "poststop", "enable-units", "mask-units"),
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class OptionError(Exception):
    """A pod asks for something that the runtime can not do; the text reaches the pod's events."""


class Options(NamedTuple):
    """What one container is to become; `init` is None when the image decides."""

    init: str | None = None
    restart: str = "no"
    restart_limit: int = 3
    restart_interval: int = 600  # seconds
    stop_signal: str = "SIGTERM"


def read(annotations: dict[str, str]) -> Options | None:
    """The options of the container whose OCI annotations these are; None when it is not a rich one.

    Raises OptionError for values, and annotations under the prefix, that are not known.
    """
    if "sandbox" in (annotations.get("io.kubernetes.cri.container-type"), _crio(annotations, "ContainerType")):
        return None
    asked = {key[len(PREFIX) :]: value.strip() for key, value in annotations.items() if key.startswith(PREFIX)}
    name = annotations.get("io.kubernetes.cri.container-name") or annotations.get("io.kubernetes.container.name")
    chosen = [part.strip() for part in asked.get("container", "").split(",") if part.strip()]
    if chosen and name is not None and name not in chosen:
        return None
    for key in sorted(asked):
        if key not in _KNOWN:
            raise OptionError(f"annotation {PREFIX}{key} is not known; known are {_names(_KNOWN)}")
    return Options(
        init=_one_of(asked, "init", INITS),
        restart=_one_of(asked, "restart", RESTARTS) or "no",
        restart_limit=_limit(asked.get("restart-limit", "3")),
        restart_interval=_interval(asked.get("restart-interval", "10m")),
        stop_signal=_signal(asked.get("stop-signal", "SIGTERM")),
    )


def _crio(annotations: dict[str, str], name: str) -> str | None:
    return annotations.get("io.kubernetes.cri-o." + name)


def _names(values: tuple[str, ...]) -> str:
    return ", ".join(values)


def _one_of(asked: dict[str, str], key: str, values: tuple[str, ...]) -> str | None:
    value = asked.get(key)
    if value is not None and value not in values:
        raise OptionError(f'annotation {PREFIX}{key}: "{value}" is not one of {_names(values)}')
    return value


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise OptionError(f'annotation {PREFIX}restart-limit: "{text}" is not a whole number')
    return int(text)


def _interval(text: str) -> int:
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _SECONDS else (text, "s")
    if not (number.isascii() and number.isdigit()) or len(number) > 6 or int(number) == 0:
        raise OptionError(f'annotation {PREFIX}restart-interval: "{text}" is not a time such as 90s, 10m or 1h')
    return int(number) * _SECONDS[unit]


def _signal(text: str) -> str:
    name = text.upper() if text.upper().startswith("SIG") else "SIG" + text.upper()
    if name not in signal.Signals.__members__:
        raise OptionError(f'annotation {PREFIX}stop-signal: "{text}" is not a signal such as SIGTERM or SIGQUIT')
    return name

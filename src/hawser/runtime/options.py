"""What a pod asks of the runtime: its annotations, read and checked. Pure.

| annotation | values | default |
|---|---|---|
| rich.hawser.dev/init | systemd, init, minimal | what the image has: systemd, else minimal |
| rich.hawser.dev/container | names of the pod's rich containers, separated by commas | every container |
| rich.hawser.dev/app-policy | exit: the application's end is the container's; keep: the init restarts it | exit |
| | keep-on-failure: unless it has ended with 0, which is the container's end | |
| rich.hawser.dev/app-restarts | N/seconds: so many restarts in so many seconds, then it ends the container | 3/600 |
| rich.hawser.dev/stop-signal | the signal that asks the application to end | SIGTERM; minimal: the image's |
| rich.hawser.dev/prestart, poststop | hooks: see hooks.py | |
| rich.hawser.dev/rootfs | image; keep: what the container writes is there for the next one of its name | image |
| rich.hawser.dev/rootfs-size | 2Gi: a kept root file system that holds more is not started again | any |
| rich.hawser.dev/enable-units, mask-units | names of the image's units, under systemd | |
| rich.hawser.dev/view | host, container: whose processors, memory and load it sees | container, where lxcfs is |
| rich.hawser.dev/time | another time for the application, as libfaketime has it: +3d, x2, 2027-01-01 00:00:00 | none |

A CRI does not tell its runtime which containers are init containers: a pod that has some names its rich container.
"""

from __future__ import annotations

from .light import NamedTuple

PREFIX = "rich.hawser.dev/"
INITS = ("systemd", "init", "minimal")
POLICIES = ("exit", "keep", "keep-on-failure")
VIEWS = ("container", "host")
ROOTS = ("image", "keep")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_KNOWN = (
    *("init", "container", "app-policy", "app-restarts", "stop-signal"),
    *("prestart", "poststop", "enable-units", "mask-units", "view", "time", "rootfs", "rootfs-size"),
)
_DIGITS = 6  # of a number in an annotation


class OptionError(Exception):
    """A pod asks for something that the runtime can not do; the text reaches the pod's events."""


class Options(NamedTuple):
    """What one container is to become; `init` is None when the image decides."""

    init: str | None = None
    keep: bool = False  # the init starts the application again when it has ended
    on_failure: bool = False  # but not when it has ended with 0
    restarts: int = 3  # so many times within
    seconds: int = 600  # this time
    stop_signal: str = ""  # "" for the init's own choice: TERM, or with a minimal init what is asked for
    view: str = "container"
    time: str = ""  # of the application: libfaketime's FAKETIME
    keep_rootfs: bool = False
    rootfs_size: int = 0  # bytes that a kept one may hold, 0 for any number


def concerned(annotations: dict[str, str]) -> bool:
    """Whether the container whose OCI annotations these are is a rich one: no sandbox, and none that is left out."""
    if "sandbox" in (annotations.get("io.kubernetes.cri.container-type"), _crio(annotations, "ContainerType")):
        return False
    name = annotations.get("io.kubernetes.cri.container-name") or annotations.get("io.kubernetes.container.name")
    chosen = [part.strip() for part in annotations.get(PREFIX + "container", "").split(",") if part.strip()]
    return not chosen or name is None or name in chosen


def read(annotations: dict[str, str]) -> Options:
    """The options of a rich container by its annotations, RichProfiles' defaults among them.

    Raises OptionError for values, and annotations under the prefix, that are not known.
    """
    asked = {key[len(PREFIX) :]: value.strip() for key, value in annotations.items() if key.startswith(PREFIX)}
    for key in sorted(asked):
        if key not in _KNOWN:
            raise OptionError(f"annotation {PREFIX}{key} is not known; known are {_names(_KNOWN)}")
    policy = _one_of(asked, "app-policy", POLICIES) or "exit"
    keep = policy != "exit"
    if "app-restarts" in asked and not keep:
        raise OptionError(f"annotation {PREFIX}app-restarts needs {PREFIX}app-policy: keep")
    kept = _one_of(asked, "rootfs", ROOTS) == "keep"
    if "rootfs-size" in asked and not kept:
        raise OptionError(f"annotation {PREFIX}rootfs-size needs {PREFIX}rootfs: keep")
    restarts, seconds = _restarts(asked.get("app-restarts", "3/600"))
    return Options(
        init=_one_of(asked, "init", INITS),
        keep=keep,
        on_failure=policy == "keep-on-failure",
        restarts=restarts,
        seconds=seconds,
        stop_signal=_signal(asked["stop-signal"]) if "stop-signal" in asked else "",
        view=_one_of(asked, "view", VIEWS) or "container",
        time=_time(asked.get("time", "")),
        keep_rootfs=kept,
        rootfs_size=_size(asked.get("rootfs-size", "0")),
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


def _restarts(text: str) -> tuple[int, int]:
    numbers = [part.strip() for part in text.split("/")]
    if len(numbers) == 2 and all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in numbers):
        restarts, seconds = map(int, numbers)
        if seconds:
            return restarts, seconds
    raise OptionError(f'annotation {PREFIX}app-restarts: "{text}" is not restarts/seconds, 3/600 for one')


def _size(text: str) -> int:
    number = text.rstrip("kKMGTi")
    unit = _UNITS.get(text[len(number) :])
    if unit is None or not (number.isascii() and number.isdigit()) or len(number) > _DIGITS * 3:
        raise OptionError(f'annotation {PREFIX}rootfs-size: "{text}" is not a size such as 500Mi or 2Gi')
    return int(number) * unit


def _signal(text: str) -> str:
    import signal  # here: its enumerations take longer than all else of an edit

    name = text.upper() if text.upper().startswith("SIG") else "SIG" + text.upper()
    if name not in signal.Signals.__members__:
        raise OptionError(f'annotation {PREFIX}stop-signal: "{text}" is not a signal such as SIGTERM or SIGQUIT')
    return name


def _time(text: str) -> str:
    if not text:
        return ""
    from .faketime import valid  # here, as elsewhere: hardly any container asks for it

    if not valid(text):
        raise OptionError(f'annotation {PREFIX}time: "{text}" is not a time such as +3d, x2 or 2027-01-01 00:00:00')
    return text

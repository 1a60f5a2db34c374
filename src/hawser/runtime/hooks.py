"""Hooks: what a pod or a RichProfile has run before a container's application, and after its end. Pure.

`rich.hawser.dev/prestart` and `rich.hawser.dev/poststop` hold a command line for /bin/sh, or a JSON list in order:

| field | meaning | default |
|---|---|---|
| name | letters, digits, dashes: what records and logs call it | prestart-1, … |
| command, script | one of them: a list of words, or a line for /bin/sh -c | |
| timeout | seconds, or 500ms, 10s, 2m | 30s |
| capabilities | names, NET_ADMIN: beyond the container's own only from a RichProfile | none |
| onFailure | prestart: Fail keeps the container from starting, Ignore goes on | Fail |
"""

from __future__ import annotations

from .light import Any, NamedTuple
from .options import PREFIX, OptionError

PRESTART, POSTSTOP = "prestart", "poststop"
PHASES = (PRESTART, POSTSTOP)
# kubelet and containerd give a start and an end two minutes.
LONGEST = 100.0  # seconds, all hooks of a phase together
_DEFAULT = 30.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FIELDS = {"name", "command", "script", "timeout", "capabilities", "onFailure"}
_CRI = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")


class Hook(NamedTuple):
    """One hook."""

    name: str
    command: tuple[str, ...]
    timeout: float = _DEFAULT  # seconds
    capabilities: tuple[str, ...] = ()  # CAP_ names
    required: bool = True  # its failure keeps the container from starting

    def plain(self) -> dict[str, Any]:
        """The hook as JSON has it."""
        return self._asdict()


class Hooks(NamedTuple):
    """The hooks of a container, in order."""

    prestart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


def read(annotations: dict[str, str], process: dict[str, Any], granted: dict[str, Any] | None = None) -> Hooks:
    """The hooks of a container: a profile's (`granted`, by phase), then the pod's own.

    Raises OptionError for what is not understood and for capabilities that a pod may not give itself.
    """
    own = set((process.get("capabilities") or {}).get("bounding") or [])
    # Without a CRI, who wrote the bundle is the machine's root and could have put the capability there as well.
    free = not any(name in annotations for name in _CRI)
    phases = []
    for phase in PHASES:
        hooks = _listed((granted or {}).get(phase) or [], phase, f"the RichProfile's {phase}")
        mine = _written(annotations.get(PREFIX + phase, "").strip(), phase)
        for hook in mine if not free else ():
            for name in hook.capabilities:
                if name not in own:
                    raise OptionError(
                        f"annotation {PREFIX}{phase}: hook {hook.name}: the capability {name[4:]} is not the "
                        "container's own, and only a RichProfile may give it"
                    )
        phases.append(_checked((*hooks, *mine), phase))
    return Hooks(*phases)


def _checked(hooks: tuple[Hook, ...], phase: str) -> tuple[Hook, ...]:
    names = [hook.name for hook in hooks]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"{phase}: there are two hooks of the name {name}")
    if sum(hook.timeout for hook in hooks) > LONGEST:
        raise OptionError(f"{phase}: the hooks' time limits add up to more than {LONGEST:.0f} s")
    return hooks


def _written(text: str, phase: str) -> tuple[Hook, ...]:
    where = f"annotation {PREFIX}{phase}"
    if not text:
        return ()
    if text[0] == "-":
        raise OptionError(f"{where}: a list is written as JSON, [{{...}}]")
    if text[0] not in "[{":
        return (Hook(f"{phase}-1", ("/bin/sh", "-c", text)),)
    import json  # here: containers without hooks do not need it

    try:
        value = json.loads(text)
    except ValueError as error:
        raise OptionError(f"{where}: not JSON: {error}") from error
    return _listed(value, phase, where)


def _listed(value: Any, phase: str, where: str) -> tuple[Hook, ...]:
    if not isinstance(value, list):
        raise OptionError(f"{where}: not a list")
    return tuple(_hook(entry, phase, number, where) for number, entry in enumerate(value, 1))


def _hook(entry: Any, phase: str, number: int, where: str) -> Hook:
    if not isinstance(entry, dict):
        raise OptionError(f"{where}: entry {number} is not an object")
    for field in sorted(entry.keys() - _FIELDS):
        raise OptionError(f"{where}: entry {number} has a field {field}; known are {', '.join(sorted(_FIELDS))}")
    name = entry.get("name") or f"{phase}-{number}"
    if not isinstance(name, str) or len(name) > 63 or not name.replace("-", "a").isalnum() or not name.isascii():
        raise OptionError(f"{where}: {name!r} is not a name of letters, digits and dashes")
    where = f"{where}: hook {name}"
    return Hook(
        name,
        _command(entry, where),
        _seconds(entry.get("timeout", _DEFAULT), where),
        _capabilities(entry.get("capabilities") or [], where),
        _required(entry.get("onFailure"), phase, where),
    )


def _command(entry: dict[str, Any], where: str) -> tuple[str, ...]:
    command, script = entry.get("command"), entry.get("script")
    if (command is None) == (script is None):
        raise OptionError(f"{where}: needs either command or script")
    if script is not None:
        if not isinstance(script, str) or not script.strip():
            raise OptionError(f"{where}: script is not a text")
        return ("/bin/sh", "-c", script)
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise OptionError(f"{where}: command is not a list of words")
    return tuple(command)


def _seconds(value: Any, where: str) -> float:
    number, factor = value, 1.0
    if isinstance(value, str):
        unit = value.lstrip("0123456789.")
        number, factor = value[: len(value) - len(unit)], _UNITS.get(unit or "s", 0.0)
    try:
        seconds = 0.0 if isinstance(number, bool) else float(number) * factor
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= LONGEST:
        raise OptionError(f"{where}: the timeout {value!r} is not a time up to {LONGEST:.0f} s such as 500ms, 10s, 1m")
    return seconds


def _capabilities(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise OptionError(f"{where}: capabilities is not a list of names")
    names = tuple("CAP_" + name.upper().removeprefix("CAP_") for name in value)
    for name in names:
        if not (name.isascii() and name[4:].replace("_", "").isalpha()):
            raise OptionError(f"{where}: {name!r} is not a capability")
    return names


def _required(value: Any, phase: str, where: str) -> bool:
    if value is not None and phase == POSTSTOP:
        raise OptionError(f"{where}: onFailure is for prestart hooks; a container that has ended can not fail")
    if value not in (None, "Fail", "Ignore"):
        raise OptionError(f"{where}: onFailure is Fail or Ignore, not {value!r}")
    return bool(value != "Ignore")

# Importing pathlib would double the start-up time of every container.
"""What RichProfiles say of a container: asked of the node, by a socket that only root reaches.

One line of JSON there, one back: `{"namespace", "pod", "uid", "container"}`, and `{"defaults", "prestart", "poststop",
"enable", "mask", "agents"}` or `{"error": "why not"}`.
"""

from __future__ import annotations

from .light import TYPE_CHECKING, Any, dumps, loads
from .options import PREFIX, OptionError

if TYPE_CHECKING:
    import _socket

    from .units import Agent, Wanted

_SECONDS = 20.0  # an agent's image may have to be fetched
_LARGEST = 1 << 20
_WITH = {"app-restarts": ("app-policy", "exit"), "rootfs-size": ("rootfs", "image")}  # nothing where that is the value
_FIELDS = {
    "namespace": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    "pod": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    "uid": ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
    "container": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
}

Answer = dict[str, Any]


def ask(path: str, annotations: dict[str, str]) -> Answer:
    """What the node's resolver says of a container; nothing when there is none, or no pod.

    path: the resolver's socket, "" for none. Raises OptionError when it does not know now: the container is tried
    again.
    """
    asked = {key: next((annotations[n] for n in places if n in annotations), "") for key, places in _FIELDS.items()}
    if not path or not asked["pod"]:
        return {}
    import _socket  # what is below `socket`, which takes longer to load than all else of an edit

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_SECONDS)
        connection.connect(path)
        connection.sendall(dumps(asked).encode() + b"\n")
        answer = loads(_line(connection))
    except (OSError, ValueError) as error:
        raise OptionError(f"RichProfiles: the node does not answer at {path}: {error}") from error
    finally:
        connection.close()
    if not isinstance(answer, dict) or "error" in answer:
        raise OptionError(f"RichProfiles: {answer['error'] if isinstance(answer, dict) else answer}")
    return answer


def _line(connection: _socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(65536)
        data += piece
        if not piece or len(data) > _LARGEST:
            raise ValueError("the answer is cut off")
    return data


def merged(annotations: dict[str, str], answer: Answer) -> dict[str, str]:
    """A container's annotations with the profiles' defaults below them.

    A default that only makes sense with another setting is left out where that one is not so.
    """
    defaults = {PREFIX + key: str(value) for key, value in (answer.get("defaults") or {}).items()}
    result = {**defaults, **annotations}
    for key, (other, without) in _WITH.items():
        if PREFIX + key not in annotations and result.get(PREFIX + other, without).strip() == without:
            result.pop(PREFIX + key, None)
    return result


def concerns_units(annotations: dict[str, str], answer: Answer) -> bool:
    """Whether pod or profiles say anything of units or agents."""
    asked = any(annotations.get(f"{PREFIX}{key}-units") for key in ("enable", "mask"))
    return asked or any(answer.get(key) for key in ("enable", "mask", "agents"))


def wanted(annotations: dict[str, str], answer: Answer) -> Wanted:
    """Which units the pod and its profiles enable and mask, and which agents it gets. Raises OptionError."""
    from .units import Wanted, names  # here: few containers need it

    found: dict[str, tuple[str, ...]] = {}
    for key in ("enable", "mask"):
        text = " ".join([*(answer.get(key) or []), annotations.get(f"{PREFIX}{key}-units", "")])
        try:
            found[key] = names(text)
        except ValueError as error:
            raise OptionError(f"{PREFIX}{key}-units: {error}") from error
    agents = tuple(_agent(entry) for entry in answer.get("agents") or [])
    return Wanted(found["enable"], found["mask"], agents)


def _agent(entry: dict[str, Any]) -> Agent:
    from .units import Agent

    return Agent(
        name=entry["name"],
        root=entry.get("root") or "",
        layers=tuple(entry.get("layers") or ()),
        command=tuple(entry["command"]),
        chroot=bool(entry.get("chroot")),
        env=tuple((name, value) for name, value in (entry.get("env") or {}).items()),
        memory=int(entry.get("memory") or 0),
        cpu=float(entry.get("cpu") or 0),
        restart=entry.get("restart") or "always",
        restart_seconds=float(entry.get("restartSeconds") or 1.0),
    )

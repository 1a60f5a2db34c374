"""What the edits of a bundle share: the files they add, where these appear, the application's environment. Pure."""

from __future__ import annotations

from .facts import DEFAULT_PATH, Facts
from .light import Any, NamedTuple

HOME = "/dev/hawser"  # in the container: every container has a fresh tmpfs at /dev, so no image path is touched
BUNDLE_HOME = "hawser"  # in the bundle
_USERS_OWN = ("HOME", "USER", "LOGNAME", "SHELL", "PWD", "TERM")
_PAM_LINE = 1000  # bytes of a line that every pam_env reads


class EditError(Exception):
    """The image or the pod rules out what is asked; the text reaches the pod's events."""


class File(NamedTuple):
    """One file to put into the bundle's directory; for a link, `content` is its target."""

    content: str
    mode: int = 0o644
    link: bool = False


Files = dict[str, File]  # by path below BUNDLE_HOME


def copied(value: Any) -> Any:
    """A copy of a JSON value; copy.deepcopy knows more, and takes as long to load as all of an edit."""
    if isinstance(value, dict):
        return {key: copied(entry) for key, entry in value.items()}
    return [copied(entry) for entry in value] if isinstance(value, list) else value


def mounted_home(name: str = "", place: str = HOME) -> dict[str, Any]:
    """The mount that shows the bundle's directory, or one file of it, to the container."""
    return {
        "destination": place,
        "type": "bind",
        "source": f"{BUNDLE_HOME}/{name}" if name else BUNDLE_HOME,
        "options": ["bind", "ro", "nosuid", "nodev"],
    }


def ready_for_init(spec: dict[str, Any]) -> None:
    """What every machine's init expects, in place: to be root, and its own /run and /tmp.

    Root has the capabilities the container was given anyway: never more than its bounding set.
    """
    process = spec["process"]
    process["user"] = {"uid": 0, "gid": 0}
    # A service that runs out of memory ends alone, as on a machine; its init must not end with it. What else the limit
    # hits is the application, whose end is the container's. The launcher keeps it so when limits change.
    ((spec.get("linux") or {}).get("resources") or {}).get("unified", {}).pop("memory.oom.group", None)
    capabilities = process.get("capabilities")
    if capabilities is not None:
        bounding = list(capabilities.get("bounding") or [])
        process["capabilities"] = {"bounding": bounding, "effective": bounding, "permitted": bounding}
    mounts = spec.setdefault("mounts", [])
    taken = {mount["destination"].rstrip("/").replace("/var/run", "/run") for mount in mounts}
    # First in the list, so that what the pod mounts below (/run/secrets) lands on top. Copied up, so that what the
    # image keeps there is not hidden.
    ours = [
        _tmpfs_at("/run", "mode=755", "tmpcopyup"),
        _tmpfs_at("/run/lock", "noexec", "mode=1777", "size=5242880"),
        _tmpfs_at("/tmp", "mode=1777", "tmpcopyup"),
    ]
    spec["mounts"] = [mount for mount in ours if mount["destination"] not in taken] + mounts
    if "/dev/shm" not in taken:
        # Without it systemd gives up at once. A CRI brings the pod's own; a bundle made by hand may not.
        spec["mounts"].append(_tmpfs_at("/dev/shm", "noexec", "mode=1777", "size=67108864"))


def _tmpfs_at(place: str, *options: str) -> dict[str, Any]:
    return {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", *options]}


def mounted_journal(path: str) -> dict[str, Any]:
    """The mount of the host's file that takes the container's records."""
    return {
        "destination": HOME + "-journal",
        "type": "bind",
        "source": path,
        "options": ["bind", "rw", "nosuid", "nodev", "noexec"],
    }


def application_environment(process: dict[str, Any], facts: Facts) -> dict[str, str]:
    """The application's environment: what the pod and image give, and what runc adds (PATH as execvp has it, HOME)."""
    environment = dict(pair.partition("=")[::2] for pair in [*(process.get("env") or []), *facts.application])
    environment.setdefault("PATH", DEFAULT_PATH)
    if not environment.get("HOME"):
        environment["HOME"] = facts.home
    return environment


def login_environment(process: dict[str, Any], image: str) -> str:
    """An /etc/environment that gives logins the pod's variables too; pam_env(8), which has no way to quote.

    image: what the image has there. Left out is what pam_env would change: values with line breaks, "#" or quotes at
    their beginning, very long ones; and HOME, which is each user's own.
    """
    lines = [line for line in image.splitlines() if line.strip()]
    for pair in process.get("env") or []:
        name, _, value = pair.partition("=")
        named = name.isascii() and name.isidentifier() and name not in _USERS_OWN
        plain = value == value.strip() and not set(value) & set("\n\r#") and value[:1] not in ('"', "'")
        if named and plain and len(pair.encode()) < _PAM_LINE:
            lines.append(pair)
    return "".join(line + "\n" for line in lines)

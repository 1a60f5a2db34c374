"""Units of the image that a pod or a RichProfile enables or masks, and operation agents as units. Pure.

Source: systemd.unit(5) for names, `.wants` directories, masks and the [Install] section; systemd.resource-control(5).
"""

from __future__ import annotations

import re

from .edited import HOME, EditError, File, Files
from .facts import DEFAULT_PATH, Cgroups
from .light import Any, NamedTuple
from .quoting import environment_line, exec_line
from .rootfs import RootFS

AGENTS = "/dev/hawser-agents"  # in the container: the agents' own files, read-only
_PLACES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,200}\.(service|socket|timer|path|target|mount|automount|slice|swap|scope)")
_OURS = re.compile(r"hawser-(app|agent-.*)\.service")
_DEVICES = ("null", "zero", "full", "random", "urandom")


class Agent(NamedTuple):
    """An operation agent, as the resolver of RichProfiles describes it."""

    name: str
    root: str  # the host's directory with its files, or "":
    command: tuple[str, ...]
    layers: tuple[str, ...] = ()  # the host's directories of an image's layers, the topmost first
    chroot: bool = False  # it lives in its own files (an image), not in the container's
    env: tuple[tuple[str, str], ...] = ()
    memory: int = 0  # bytes, 0 for no limit of its own
    cpu: float = 0.0  # processors, 0 for no limit of its own
    restart: str = "always"
    restart_seconds: float = 1.0

    @property
    def unit(self) -> str:
        """The name of its unit."""
        return f"hawser-agent-{self.name}.service"


class Wanted(NamedTuple):
    """What is asked of the units of a container."""

    enable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    agents: tuple[Agent, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.enable or self.mask or self.agents)


class Found(NamedTuple):
    """A unit of the image: where it is, what wants it, and whether the image masks it."""

    path: str  # "" for a script of /etc/init.d
    wanted_by: tuple[str, ...] = ("multi-user.target",)
    masked: bool = False
    text: str = ""


def names(text: str) -> tuple[str, ...]:
    """Names of units, apart by commas or white space; without a suffix it is a service. Raises ValueError."""
    found = []
    for word in text.replace(",", " ").split():
        name = word if _NAME.fullmatch(word) else word + ".service"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{word!r} is not a unit's name")
        if _OURS.fullmatch(name):
            raise ValueError(f"{name} is not the image's unit")
        found.append(name)
    return tuple(dict.fromkeys(found))


def find(rootfs: RootFS, name: str) -> Found | None:
    """Looks a unit up in the image; None when it has no such unit."""
    template = re.sub(r"@[^.]+\.", "@.", name)
    masked = False
    for place in _PLACES:
        for path in dict.fromkeys((f"{place}/{name}", f"{place}/{template}")):
            text = "" if rootfs.resolve(path) == "/dev/null" else rootfs.read(path)
            if text:
                return Found(path, _wanted_by(text), masked, text)
            masked = masked or text == ""  # an empty file is a mask, too
    script = name.endswith(".service") and rootfs.executable("/etc/init.d/" + name[: -len(".service")])
    return Found("", masked=masked) if script else None


def _wanted_by(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("WantedBy", "RequiredBy"):
            # The image's word becomes a path on the node: nothing but a unit's name may be one.
            found += filter(_NAME.fullmatch, value.split())
    return tuple(dict.fromkeys(found)) or ("multi-user.target",)


def unit_files(wanted: Wanted, rootfs: RootFS) -> Files:
    """The links that enable and mask units. Raises EditError."""
    files: Files = {}
    if both := sorted({*wanted.enable} & {*wanted.mask}):
        raise EditError(f"the unit {both[0]} is to be enabled and to be masked")
    for name in wanted.mask:
        files[f"units/{name}"] = File("/dev/null", link=True)
    for name in wanted.enable:
        found = find(rootfs, name)
        if found is None:
            raise EditError(f"enable-units: the image has no unit {name}")
        if found.masked:
            if not found.path:
                raise EditError(f"enable-units: the image masks {name}, which is a script of /etc/init.d")
            # Its text: a link to a unit of the same name is none to systemd, and the mask would count.
            files[f"units/{name}"] = File(found.text)
        for target in found.wanted_by:
            files[f"units/{target}.wants/{name}"] = File(found.path or f"../{name}", link=True)
    return files


def agent_files(agents: tuple[Agent, ...], cgroups: Cgroups) -> Files:
    """The units of agents and what belongs to them."""
    files: Files = {}
    for agent in agents:
        home = f"agents/{agent.name}"
        files[f"units/{agent.unit}"] = File(_unit(agent, cgroups))
        files[f"units/multi-user.target.wants/{agent.unit}"] = File(f"../{agent.unit}", link=True)
        # Where /bin is a link, systemd has it in no PATH (all of them since 255); an agent's image may have all there.
        env = {"PATH": DEFAULT_PATH} if agent.chroot else {}
        pairs = {**env, **dict(agent.env)}.items()
        files[home + ".env"] = File("".join(environment_line(*pair) + "\n" for pair in pairs), 0o600)
    if agents:
        files["agent"] = File(_RUN, 0o755)
    return files


# On cgroup v1 systemd has no controllers in a container; the groups are made by the node, joining is left to us.
_RUN = f"""\
#!/bin/sh
# agent NAME chroot|container COMMAND...: runs an operation agent within its own limits.
name=$1 place=$2
shift 2
for group in {AGENTS}/.groups/"$name".*; do
	[ ! -e "$group" ] || echo 0 >"$group" || exit 1
done
[ "$place" = chroot ] && exec chroot "{AGENTS}/$name" "$@"
exec "$@"
"""


def _unit(agent: Agent, cgroups: Cgroups) -> str:
    command = ["/bin/sh", HOME + "/agent", agent.name, "chroot" if agent.chroot else "container", *agent.command]
    lines = [
        "[Unit]",
        f"Description=Operation agent {agent.name}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"ExecStart={exec_line('/bin/sh', command)}",
        f"EnvironmentFile={HOME}/agents/{agent.name}.env",
        f"Restart={agent.restart}",
        f"RestartSec={agent.restart_seconds:g}",
        # Whoever has to go when the whole container runs short: the agent, not the application.
        "OOMScoreAdjust=1000",
        "OOMPolicy=continue" if not cgroups.limiting else "OOMPolicy=stop",
        "KillMode=control-group",
        "TimeoutStopSec=5",
    ]
    if cgroups.limiting and agent.memory:
        lines += [f"MemoryMax={agent.memory}", "MemorySwapMax=0"]
    if cgroups.limiting and agent.cpu:
        lines.append(f"CPUQuota={agent.cpu * 100:.4g}%")
    return "\n".join(lines) + "\n"


class Group(NamedTuple):
    """A control group of version 1 that the node makes for an agent, below the container's own."""

    directory: str
    settings: tuple[tuple[str, str], ...]
    shown: str  # where the container joins it


def groups(agents: tuple[Agent, ...], path: str, controllers: dict[str, str], processors: float) -> list[Group]:
    """The groups of agents with limits.

    path: the container's in every hierarchy. controllers: where these are. processors: the container's own limit, 0 for
    none; the kernel refuses a group more than the one above it has.
    """
    made = []
    for agent in agents:
        wanted: dict[str, tuple[tuple[str, str], ...]] = {}
        if agent.memory:
            limit = str(agent.memory)
            wanted["memory"] = (("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", limit))
        if agent.cpu:
            quota = int(min(agent.cpu, processors or agent.cpu) * 100_000)
            wanted["cpu"] = (("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", str(quota)))
        for name, settings in wanted.items():
            if name not in controllers:
                raise EditError(f"agent {agent.name}: this node has no {name} controller to limit it with")
            directory = f"{controllers[name]}{path}/hawser-{agent.name}"
            made.append(Group(directory, settings, f"{AGENTS}/.groups/{agent.name}.{name}"))
    return made


def agent_mounts(spec: dict[str, Any], agents: tuple[Agent, ...], made: list[Group]) -> None:
    """Shows agents their files, in place: an image's with what a program expects around it."""
    mounts, linux = spec["mounts"], spec["linux"]
    for agent in agents:
        place = f"{AGENTS}/{agent.name}"
        if agent.layers and linux.get("uidMappings"):
            # runc mounts it as root of the container, who may not look into containerd's directories.
            raise EditError(f"agent {agent.name}: this node mounts no images of agents in a user namespace")
        mounts.append(_overlay(agent.layers, place) if agent.layers else _bind(agent.root, place, "ro"))
        if not agent.chroot:
            continue
        for kind, at in (("proc", "/proc"), ("sysfs", "/sys")):
            options = ["nosuid", "noexec", "nodev", "ro"]
            mounts.append({"destination": place + at, "type": kind, "source": kind, "options": options})
        for at in ("/tmp", "/run"):
            options = ["nosuid", "nodev", "mode=1777"]
            mounts.append({"destination": place + at, "type": "tmpfs", "source": "tmpfs", "options": options})
        mounts += [_bind(f"/dev/{name}", f"{place}/dev/{name}", "rw") for name in _DEVICES]
        # What is hidden of the container's own /proc and /sys is hidden here, too.
        for key in ("maskedPaths", "readonlyPaths"):
            linux.setdefault(key, []).extend(place + path for path in [*linux.get(key, [])] if _kernels(path))
    mounts += [_bind(group.directory + "/cgroup.procs", group.shown, "rw") for group in made]


def _kernels(path: str) -> bool:
    return path.startswith(("/proc/", "/sys/"))


def _overlay(layers: tuple[str, ...], place: str) -> dict[str, Any]:
    options = ["ro", "nosuid", "lowerdir=" + ":".join(layers)]
    return {"destination": place, "type": "overlay", "source": "overlay", "options": options}


def _bind(source: str, place: str, access: str) -> dict[str, Any]:
    options = ["rbind", access, "nosuid"]
    return {"destination": place, "type": "bind", "source": source, "options": options}

"""What an edit needs to know of image and host; gathered once, so that the edits themselves stay pure."""

from __future__ import annotations

from .light import Any, NamedTuple
from .rootfs import RootFS

_SYSTEMD_PATHS = ("/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/usr/sbin/init")
_SHUTDOWN_PATHS = ("/usr/lib/systemd/systemd-shutdown", "/lib/systemd/systemd-shutdown")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Cgroups(NamedTuple):
    """How the host's control groups look to this container."""

    v2: bool = True
    named_systemd: str = ""  # v1: the host's directory of the container in the name=systemd hierarchy
    unified: str = ""  # v1, for a systemd that knows v2 alone: the host's directory of it in the v2 hierarchy beside
    own: str = ""  # v2 and a user namespace: the container's own group, which its root is to own

    @property
    def limiting(self) -> bool:
        """Whether the container's systemd has the controllers, and so limits its units."""
        return self.v2 and not self.unified


class ViewFacts(NamedTuple):
    """Node and image, as far as a container's own view asks. home: of the node's view, "" when it has none."""

    home: str = ""
    offers: tuple[str, ...] = ()  # what is served there now
    preload: str | None = None  # the image's /etc/ld.so.preload; None when no glibc program may get the library
    musl: bool = False  # its programs get the library by LD_PRELOAD


class FaketimeFacts(NamedTuple):
    """libraries: of the node. refusal: why the application cannot have another time, "" when it can."""

    libraries: tuple[str, ...] = ()  # in the order in which they are loaded
    refusal: str = ""


class Facts(NamedTuple):
    """Image and host, as far as an edit asks."""

    systemd: str = ""  # path of systemd in the image, "" when it has none
    systemd_version: int = 0  # 0 when it is older than 231, or unknown
    shutdown: str = ""  # path of the last program that systemd executes, for an old one
    busybox_init: bool = False  # /sbin/init is busybox
    sysvinit: str = ""  # the host's path of /sbin/init, when that is sysvinit and the image's own
    other_init: str = ""  # what /sbin/init is when it is none of these
    executable: str = ""  # the application's executable in the image, "" when it has none
    home: str = "/"  # home directory of the application's user
    shell: bool = True  # the image has /bin/sh and systemctl
    env: str = ""  # path of env(1) in the image
    setpriv: str = ""  # path of util-linux' setpriv(1) in the image
    chroot: str = ""  # path of coreutils' chroot(1) in the image
    chown: str = ""  # path of chown(1) in the image
    machine_id: str = ""  # 32 hex digits, stable for the life of the pod's sandbox
    first_boot: bool = False  # the image was never booted, by its /etc/machine-id
    cgroups: Cgroups = Cgroups()
    limits: tuple[tuple[str, str], ...] = ()  # resource limits the application would have had: ("NOFILE", "1024:4096")
    static_init: str = ""  # the host's static minimal init
    inittab: str = ""  # the image's /etc/inittab
    login_environment: str | None = None  # the image's /etc/environment, None when it has none
    application: tuple[str, ...] = ()  # variables that it alone gets, NAME=VALUE
    view: ViewFacts = ViewFacts()
    faketime: FaketimeFacts = FaketimeFacts()


def image_facts(rootfs: RootFS, process: dict[str, Any]) -> Facts:
    """The facts that are in the image."""
    env = dict(pair.partition("=")[::2] for pair in process.get("env") or [])
    user = process.get("user") or {}
    systemd = next((path for path in _SYSTEMD_PATHS if _is_systemd(rootfs, path)), "")
    version = _systemd_version(rootfs) if systemd else 0
    return Facts(
        systemd=systemd,
        systemd_version=version,
        shutdown="" if version else _first(rootfs, *_SHUTDOWN_PATHS),
        executable=find_executable(rootfs, process, env.get("PATH") or DEFAULT_PATH),
        home=home_directory(rootfs.read("/etc/passwd") or "", user.get("uid", 0)),
        shell=rootfs.executable("/bin/sh") and any(rootfs.executable(p + "/systemctl") for p in ("/bin", "/usr/bin")),
        env=_first(rootfs, "/usr/bin/env", "/bin/env"),
        setpriv=_full(rootfs, "/usr/bin/setpriv", "/bin/setpriv"),
        chroot=_full(rootfs, "/usr/sbin/chroot", "/usr/bin/chroot"),
        chown=_first(rootfs, "/bin/chown", "/usr/bin/chown"),
        first_boot=rootfs.read("/etc/machine-id") in (None, "uninitialized\n", "uninitialized"),
        inittab=rootfs.read("/etc/inittab") or "",
        login_environment=rootfs.read("/etc/environment"),
        **_init(rootfs),
    )


def _init(rootfs: RootFS) -> dict[str, Any]:
    """What /sbin/init is, when it is not systemd."""
    init = rootfs.resolve("/sbin/init") or ""
    if not init or _is_systemd(rootfs, init):
        return {}
    if _is_busybox(rootfs, "/sbin/init"):
        return {"busybox_init": True}
    # It is mounted a second time by its path on the host; the kernel would follow a link that a volume has by then.
    if "/etc/inittab" in (rootfs.read(init) or "") and (own := rootfs.own(init)):
        return {"sysvinit": own}
    return {"other_init": init}


def _systemd_version(rootfs: RootFS) -> int:
    """The version by the name of its library, libsystemd-shared-252.so or -239-82.el8.so, which came with 231."""
    places = ["/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"]
    places += [f"/usr/lib/{name}/systemd" for name in rootfs.names("/usr/lib") if "-linux-" in name]
    for place in places:
        for name in rootfs.names(place):
            digits = name.removeprefix("libsystemd-shared-")[:3]
            if name != digits and name.startswith("libsystemd-shared-") and digits.isdigit():
                return int(digits)
    return 0


def home_directory(passwd: str, uid: int) -> str:
    """The home directory of a user by passwd(5); "/", as runc has it, for an unknown one."""
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[5] or "/"
    return "/"


def find_executable(rootfs: RootFS, process: dict[str, Any], search: str) -> str:
    """The path that running process.args[0] executes; "" when the container has no such executable.

    A path below a mount that only the kernel knows is taken on trust.
    """
    args = process.get("args") or [""]
    cwd = process.get("cwd") or "/"
    if "/" in args[0]:
        candidates = [args[0] if args[0].startswith("/") else f"{cwd.rstrip('/')}/{args[0]}"]
    else:
        candidates = [f"{place.rstrip('/')}/{args[0]}" for place in search.split(":") if place.startswith("/")]
    found = _first(rootfs, *candidates) if args[0] else ""
    return found or next((path for path in candidates if args[0] and "/" in args[0] and rootfs.hidden(path)), "")


def _first(rootfs: RootFS, *paths: str) -> str:
    return next((path for path in paths if rootfs.executable(path)), "")


def _full(rootfs: RootFS, *paths: str) -> str:
    """The first path whose tool is not busybox, which knows fewer options."""
    return next((p for p in paths if rootfs.executable(p) and not _is_busybox(rootfs, p)), "")


def _is_busybox(rootfs: RootFS, path: str) -> bool:
    return "busybox" in (rootfs.resolve(path) or "") or rootfs.same(path, "/bin/busybox")


def _is_systemd(rootfs: RootFS, path: str) -> bool:
    real = rootfs.resolve(path)
    return real is not None and real.endswith("/systemd") and rootfs.executable(real)

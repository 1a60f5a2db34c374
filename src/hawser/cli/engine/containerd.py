"""The private containerd of an engine: its configuration and command line.

It has its own root, state and socket, so a containerd of the host is never touched.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from hawser.cli.engine import crun
from hawser.cli.engine.crun import Crun
from hawser.cli.engine.settings import Settings
from hawser.native import compiler
from hawser.native.compiler import BuildError
from hawser.runtime import host

PAUSE_IMAGE = "hawser.dev/pause:1"
_CAP_SYS_RESOURCE = 24
_OLDEST = (1, 6)
"""The first containerd that speaks CRI's runtime.v1."""
RUNTIME_NOTES = Path("/run/hawser-runtime")
"""Where hawser-runtime notes the init of each container, below it by runc's directory."""
_SHIM = "containerd-shim-runc-v2"
_KNOWN_TO_SHIM = (1, 6)
"""The containerd whose calls of the shim native/shim.c answers."""
_UNUSED_PLUGINS = (
    "io.containerd.internal.v1.opt",
    "io.containerd.nri.v1.nri",  # its socket is the host's own, for any containerd
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)


def command(settings: Settings) -> list[str]:
    """argv of the private containerd."""
    binary = shutil.which("containerd") or "/usr/bin/containerd"
    return [binary, "--config", str(config_path(settings))]


def environment(settings: Settings) -> dict[str, str]:
    """What the private containerd has in its environment beside the supervisor's."""
    folder = _shims(settings)
    return {"PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}"} if (folder / _SHIM).exists() else {}


def config_path(settings: Settings) -> Path:
    return settings.data_dir / "containerd" / "config.toml"


def cni_conf_dir(settings: Settings) -> Path:
    return Path(settings.cni_conf_dir or settings.data_dir / "containerd" / "cni" / "conf")


def cni_bin_dir(settings: Settings) -> Path:
    return Path(settings.cni_bin_dir or settings.data_dir / "containerd" / "cni" / "bin")


def runtime_path(settings: Settings) -> Path:
    """Where this engine's hawser-runtime is installed."""
    return settings.data_dir / "bin" / "hawser-runtime"


def kept_roots(settings: Settings) -> Path:
    """Where root file systems are kept that outlive their containers; the node agent clears it up."""
    return settings.data_dir / "agent" / "rootfs"


def profiles_socket(settings: Settings) -> Path:
    """Where the node agent answers hawser-runtime for RichProfiles; hawser.node.profiles has it there."""
    return settings.run_dir / "rich.sock"


def view_dir(settings: Settings) -> Path:
    """Where the agent keeps what rich containers see of /proc and /sys; hawser.node.agent has it there."""
    return settings.run_dir / "view"


def runc_dir(settings: Settings) -> Path:
    """Where runc keeps its containers' state; its default is shared by everything on the host."""
    return settings.cri_socket.parent / "runc"


def crun_dir(settings: Settings) -> Path:
    """The same for crun."""
    return settings.cri_socket.parent / "crun"


def prepare(settings: Settings) -> None:
    """Writes containerd's configuration and the directories it needs."""
    (settings.data_dir / "containerd").mkdir(exist_ok=True, mode=0o711)
    for directory in (cni_conf_dir(settings), cni_bin_dir(settings), settings.cri_socket.parent):
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    _keep_in_memory(settings.cri_socket.parent)
    _provide_shim(settings)
    found = _crun(settings)
    may_raise_oom_score = _has_capability(_CAP_SYS_RESOURCE)
    text = config(settings, may_raise_oom_score=may_raise_oom_score, crun_path=found.path)
    tmp = config_path(settings).with_suffix(".tmp")
    tmp.write_text(text)
    tmp.replace(config_path(settings))


def _crun(settings: Settings) -> Crun:
    return crun.find(settings.data_dir / "bin", installed_version(command(settings)[0])[1])


def _provide_shim(settings: Settings) -> None:
    """Puts the shim's light front (native/shim.c) where containerd looks first, if it knows this containerd."""
    target, real = _shims(settings) / _SHIM, shutil.which(_SHIM)
    if real and installed_version(command(settings)[0])[1] == _KNOWN_TO_SHIM:
        with contextlib.suppress(OSError, BuildError):
            texts = {"SHIM": real, "PROCESSORS": "1", "NOTES": str(RUNTIME_NOTES)}
            compiler.provide(target, "shim.c", texts)
            (settings.cri_socket.parent / "s").mkdir(exist_ok=True, mode=0o700)
    elif target.exists():
        target.unlink()


def _shims(settings: Settings) -> Path:
    return settings.data_dir / "bin" / "shims"


def _keep_in_memory(directory: Path) -> None:
    """Mounts a tmpfs where /run is on a disk: what is there of containers is made, read and removed, and never kept.

    Each container has some thirty files there. Best effort; what an engine has there already stays.
    """
    if _filesystem(directory) not in ("tmpfs", "ramfs") and not any(directory.iterdir()):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "hawser", str(directory)], check=False)


def _filesystem(directory: Path) -> str:
    """The type of the file system that a directory is on (proc(5), /proc/self/mounts)."""
    kinds = {row[1]: row[2] for row in host.mounts()}
    return next((kinds[str(place)] for place in (directory, *directory.parents) if str(place) in kinds), "")


def problem(settings: Settings) -> tuple[str, str] | None:
    """What this machine lacks to run containers in the data directory, and what to do; None when nothing."""
    for name in ("containerd", "runc"):
        if shutil.which(name) is None:
            return f"{name} is not installed", "install it, on Debian and Ubuntu: apt-get install containerd runc"
    said, version = installed_version(command(settings)[0])
    if version is None or version < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        return f"containerd is too old or unknown: {said.strip() or 'it says no version'}", f"install {wanted} or newer"
    if settings.oci_runtime == "crun" and (why := _crun(settings).why):
        return f"crun cannot run containers here: {why}", "`hawser up --oci-runtime auto` takes runc then"
    if why := _overlay_problem(settings.data_dir / "containerd"):
        hint = "name a directory on ext4, xfs or btrfs with --data-dir; /var/lib in a container is often no such"
        return f"containers cannot be stored in {settings.data_dir}: overlay mounts do not work there: {why}", hint
    return None


@functools.cache
def installed_version(binary: str) -> tuple[str, tuple[int, int] | None]:
    """What a containerd says of its version, and that."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        said = ""
    return said, version_of(said)


def version_of(text: str) -> tuple[int, int] | None:
    """Major and minor version in what `containerd --version` prints."""
    found = re.search(r" v?(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def _overlay_problem(directory: Path) -> str:
    """Why an overlay cannot lie on a directory's filesystem; tried in a mount namespace that ends with the try."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="try-") as folder:
        for name in ("lower", "upper", "work", "merged"):
            (Path(folder) / name).mkdir()
        script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && : > merged/file"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False
        )
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or f"exit code {done.returncode}"


def config(settings: Settings, *, may_raise_oom_score: bool, crun_path: str = "") -> str:
    """The config.toml (containerd's version 2 schema, understood by 1.6 to 2.x).

    may_raise_oom_score: False where the process lacks CAP_SYS_RESOURCE, as in some containers and microVMs: CRI then
    must not ask for an oom_score_adj below its own. crun_path: "" where crun is not to be had. Containers of a sandbox
    are made by what made the sandbox, whatever is the default by then.
    """
    root = settings.data_dir / "containerd" / "root"
    state = settings.cri_socket.parent / "state"
    text = json.dumps
    runc = 'runtime_type = "io.containerd.runc.v2"'
    runc_root = f"Root = {text(str(runc_dir(settings)))}"
    return f"""version = 2
root = {text(str(root))}
state = {text(str(state))}
disabled_plugins = {text(list(_UNUSED_PLUGINS))}

[grpc]
  address = {text(str(settings.cri_socket))}

[debug]
  level = "warn"

[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "5s"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {text(PAUSE_IMAGE)}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = {"false" if may_raise_oom_score else "true"}
  disable_apparmor = {"false" if Path("/sys/kernel/security/apparmor").exists() else "true"}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  netns_mounts_under_state_dir = true
  enable_cdi = true
  max_container_log_line_size = 16384

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {text(str(settings.data_dir / "containerd" / "certs.d"))}

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {text(str(cni_bin_dir(settings)))}
    conf_dir = {text(str(cni_conf_dir(settings)))}
    max_conf_num = 1

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = {text("crun" if crun_path and settings.oci_runtime != "runc" else "runc")}
    disable_snapshot_annotations = true

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      {runc}

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        {runc_root}
{_crun_tables(settings, crun_path)}
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.rich]
      {runc}
      pod_annotations = ["rich.hawser.dev/*"]
      container_annotations = ["rich.hawser.dev/*"]

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.rich.options]
        BinaryName = {text(str(runtime_path(settings)))}
        {runc_root}
"""


def _crun_tables(settings: Settings, path: str) -> str:
    if not path:
        return ""
    return f"""
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = {json.dumps(path)}
        Root = {json.dumps(str(crun_dir(settings)))}
"""


def _has_capability(number: int) -> bool:
    """Whether this process has a capability in its effective set (capabilities(7))."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False

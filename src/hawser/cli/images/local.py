"""The images an engine needs before any registry is reachable, made of static executables of the host."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hawser.cli.images.oci import Entry, ImageConfig, write_archive, write_layer

PAUSE = "hawser.dev/pause:1"
BUSYBOX = "docker.io/library/busybox:1.36"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"  # noqa: E501
_GROUP = "root:x:0:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n"


class LocalImageError(Exception):
    """A host executable that an image is made of is missing; the text says which package has it."""


def build_pause(directory: Path, catatonit: Path = Path("/usr/bin/catatonit")) -> Path:
    """The infra container's image: catatonit in pause mode, which reaps zombies and ends on SIGTERM."""
    entries = [Entry("/pause", content=_executable(catatonit, "catatonit"))]
    config = ImageConfig(entrypoint=("/pause", "-P"), env={"PATH": _PATH}, user="65535:65535")
    return _write(directory / "pause.tar", PAUSE, entries, config)


def build_busybox(directory: Path, busybox: Path = Path("/bin/busybox")) -> Path:
    """busybox with all its applets, and the few files that its sh, httpd, nc and wget expect."""
    content = _executable(busybox, "busybox-static")
    listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    # In /bin too, as in the well-known image of that name: /bin/httpd, /bin/nc.
    applets = {path for name in listed for path in (name, "bin/" + name.rpartition("/")[2])}
    directories = (
        "bin",
        "sbin",
        "usr",
        "usr/bin",
        "usr/sbin",
        "etc",
        "root",
        "home",
        "var",
        "var/www",
        "dev",
        "proc",
        "sys",
    )
    entries = [Entry(path, mode=0o700 if path == "root" else 0o755) for path in directories]
    entries += [Entry("tmp", mode=0o1777), Entry("var/tmp", mode=0o1777)]
    entries.append(Entry("bin/busybox", content=content))
    entries += [Entry(path, hard_link="bin/busybox") for path in sorted(applets - {"bin/busybox", "linuxrc"})]
    entries += [
        Entry("etc/passwd", content=_PASSWD.encode(), mode=0o644),
        Entry("etc/group", content=_GROUP.encode(), mode=0o644),
        Entry("etc/nsswitch.conf", content=b"hosts: files dns\n", mode=0o644),
    ]
    config = ImageConfig(cmd=("sh",), env={"PATH": _PATH})
    return _write(directory / "busybox.tar", BUSYBOX, entries, config)


def _executable(path: Path, package: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise LocalImageError(f"{path} is missing: install the package {package}") from None


def _write(destination: Path, name: str, entries: list[Entry], config: ImageConfig) -> Path:
    directory = destination.parent
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        layer = write_layer(Path(scratch) / "layer.tar", entries)
        write_archive(destination, name, [layer], config)
    return destination

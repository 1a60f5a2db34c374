"""Local images for tests: busybox in OCI archives, made without any registry."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hawser.cli.images.oci import BLOBS, Entry, Image, ImageConfig, write_archive, write_images, write_layer

BUSYBOX = "hawser.test/busybox:1"
PAUSE = "hawser.test/pause:1"
USER = "hawser.test/user:1"
NAMED = "hawser.test/named:1"
ENTRY = "hawser.test/entry:1"
LAYERED = "hawser.test/layered:1"

_PROGRAMS = ("sh", "sleep", "cat", "ls", "id", "env", "echo", "true", "false", "nc", "httpd", "touch", "stat")
_PATH = {"PATH": "/bin"}


def archive(path: Path) -> None:
    """Writes an OCI archive with the test images: busybox, as a pause image, with users, with an entry point."""
    with TemporaryDirectory(dir=path.parent) as folder:
        base = write_layer(Path(folder) / "base.tar", _files())
        # Changes a file of the one below and removes another.
        changes = (Entry("etc/group", b"changed:x:0:\n", mode=0o644), Entry("etc/.wh.passwd", b"", mode=0o644))
        upper = write_layer(Path(folder) / "upper.tar", changes)
        configs = {
            PAUSE: ImageConfig(entrypoint=("/bin/sleep", "2147483647")),
            BUSYBOX: ImageConfig(cmd=("/bin/sh",), env=_PATH, workdir="/"),
            USER: ImageConfig(cmd=("/bin/sh",), env=_PATH, user="1000:1000"),
            NAMED: ImageConfig(cmd=("/bin/sh",), env=_PATH, user="user"),
            ENTRY: ImageConfig(entrypoint=("/bin/echo", "entry"), cmd=("cmd",), env={"I": "image"}),
        }
        images = [Image(name, (base,), config) for name, config in configs.items()]
        write_images(path, [*images, Image(LAYERED, (base, upper), ImageConfig(cmd=("/bin/sh",)))])


def blobs_of(content: str) -> tuple[dict[str, bytes], bytes]:
    """An image of busybox and a file ``/content``: its blobs by digest, and its manifest."""
    with TemporaryDirectory() as folder:
        entries = (*_files(), Entry("content", content.encode(), mode=0o644))
        layer, made = write_layer(Path(folder) / "layer.tar", entries), Path(folder) / "image.tar"
        digest = write_archive(made, "hawser.test/content:1", [layer], ImageConfig(cmd=("/bin/sh",), env=_PATH))
        with tarfile.open(made) as tar:
            files = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    blobs = {f"sha256:{name.removeprefix(BLOBS)}": data for name, data in files.items() if name.startswith(BLOBS)}
    return blobs, blobs[digest]


def _files() -> Iterator[Entry]:
    for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "run"):
        yield Entry(folder, mode=0o1777 if folder == "tmp" else 0o755)
    yield Entry("bin/busybox", Path("/bin/busybox").read_bytes())
    yield Entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n", mode=0o644)
    yield Entry("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:5000:user\n", mode=0o644)
    yield from (Entry(f"bin/{name}", link="busybox") for name in _PROGRAMS)

"""The images that the suite asks for, made of Debian packages and of the suite's own programs."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hawser.cli.images.oci import Entry, Image, ImageConfig, write_images, write_layer

_PACKAGES = "bind9-dnsutils,busybox-static,curl,iperf,iproute2,iputils-ping,netcat-openbsd,perl-base,procps,stress,wget"
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_USERS = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
_FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var")
_WEB = "usr/local/apache2/htdocs"
_OTHER = "gcr.io/kubernetes-e2e-test-images"


def busybox() -> Iterator[Entry]:
    """busybox with all that it is called."""
    program = next(path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists())
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    yield from (Entry(name) for name in _FOLDERS)
    yield Entry("tmp", mode=0o1777)
    yield Entry("bin/busybox", program.read_bytes())
    yield Entry("etc/passwd", _USERS, mode=0o644)
    yield Entry("etc/group", b"root:x:0:\nnobody:x:65534:\n", mode=0o644)
    yield from (Entry(f"bin/{name}", link="busybox") for name in names if name != "busybox")
    yield Entry("usr/bin", link="../bin")


def debian(suite: str, cache: Path) -> Path:
    """The layer of a small Debian with the tools that tests call."""
    tar = cache / f"base-{hashlib.sha256(_PACKAGES.encode()).hexdigest()[:12]}.tar"
    if not tar.exists():
        new = tar.with_name("new.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", suite, str(new)]
        subprocess.run(command, check=True)
        new.rename(tar)
    return tar


def build(path: Path, sources: Path, programs: Path, etcd: Path, base: Path) -> None:
    """Writes the archive. sources: Kubernetes' test/images; programs: what was built of them."""
    with TemporaryDirectory(dir=programs) as folder:
        write_images(path, _images(_Layers(Path(folder), sources, programs), etcd, base))


class _Layers:
    """Layers in files of a folder."""

    def __init__(self, folder: Path, sources: Path, programs: Path) -> None:
        self._folder = folder
        self._sources = sources
        self._programs = programs

    def of(self, name: str, *entries: Entry) -> Path:
        """A layer of these entries."""
        return write_layer(self._folder / f"{name}.tar", entries)

    def program(self, name: str, mode: int = 0o755, path: str = "") -> Entry:
        """A program that was built, in the root directory unless said otherwise."""
        return Entry(path or name, (self._programs / name).read_bytes(), mode=mode)

    def source(self, path: str) -> Entry:
        """A file of the images' sources, in the root directory."""
        return Entry(Path(path).name, (self._sources / path).read_bytes(), mode=0o644)


def _images(layers: _Layers, etcd: Path, base: Path) -> Iterator[Image]:
    plain = layers.of("busybox", *busybox())
    keys = [layers.source(f"agnhost/porter/localhost.{end}") for end in ("crt", "key")]
    program = layers.program("agnhost")
    agnhost = layers.of("agnhost", Entry("uploads"), program, *keys, Entry("agnhost-2", link="agnhost"))
    runs = _config("pause", entrypoint="/agnhost")
    yield Image("k8s.gcr.io/e2e-test-images/agnhost:2.21", (base, agnhost), runs)
    consumer = layers.of(
        "consumer", layers.program("consumer"), layers.program("consume-cpu", path="consume-cpu/consume-cpu")
    )
    yield Image(f"{_OTHER}/resource-consumer:1.5", (base, consumer), _config(entrypoint="/consumer"))
    yield Image(f"{_OTHER}/jessie-dnsutils:1.0", (base, agnhost), _config("sleep", "1000000"))
    yield Image("docker.io/library/perl:5.26", (base,), _config("perl"))
    yield Image("docker.io/library/busybox:1.29", (plain,), _config("sh"))
    yield Image("k8s.gcr.io/pause:3.2", (plain,), _config("2147483647", entrypoint="/bin/sleep"))
    who = _config("-c", "id -u", entrypoint="/bin/sh", user="1234")
    yield Image(f"{_OTHER}/nonroot:1.0", (plain,), who)
    nnp = layers.of("nnp", layers.program("nonewprivs", 0o4755, "nnp"))
    yield Image(f"{_OTHER}/nonewprivs:1.0", (plain, nnp), _config(entrypoint="/nnp"))
    serve = _config("/bin/busybox", "httpd", "-f", "-v", "-p", "80", "-h", f"/{_WEB}")
    for tag in ("httpd:2.4.38-alpine", "httpd:2.4.39-alpine", "nginx:1.14-alpine", "nginx:1.15-alpine"):
        text = f"<html><body><h1>It works!</h1>{tag}</body></html>\n".encode()
        page = layers.of(tag, Entry(f"{_WEB}/index.html", text, mode=0o644))
        yield Image(f"docker.io/library/{tag}", (plain, page), serve)
    for animal in ("nautilus", "kitten"):
        files = [layers.source(f"{animal}/html/{name}") for name in (f"{animal}.jpg", "data.json")]
        shown = layers.of(animal, program, *files)
        yield Image(f"{_OTHER}/{animal}:1.0", (plain, shown), _config("test-webserver", entrypoint="/agnhost"))
    sample = layers.of("sample", layers.program("sample-apiserver"))
    yield Image(f"{_OTHER}/sample-apiserver:1.17", (plain, sample), _config(entrypoint="/sample-apiserver"))
    store = layers.of("etcd", Entry("usr/local/bin/etcd", etcd.read_bytes()))
    yield Image("k8s.gcr.io/etcd:3.4.13-0", (base, store), _config("/usr/local/bin/etcd"))


def _config(*command: str, entrypoint: str = "", user: str = "") -> ImageConfig:
    return ImageConfig(entrypoint=(entrypoint,) if entrypoint else (), cmd=command, env=_ENV, user=user)

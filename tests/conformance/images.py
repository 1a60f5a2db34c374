"""The images that the suite asks for, made of Debian packages and of the suite's own programs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PACKAGES = "bind9-dnsutils,busybox-static,curl,iperf,iproute2,iputils-ping,netcat-openbsd,perl-base,procps,wget"
_ENV = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
_USERS = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
_WEB = "usr/local/apache2/htdocs"
_OCI = "application/vnd.oci.image."


@dataclass
class Layer:
    """Files by path, with what they hold and their mode; links; directories with their mode."""

    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)

    def tar(self) -> bytes:
        """The layer as OCI has it."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, mode in self.folders.items():
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, mode
                tar.addfile(folder)
            for name, (data, mode) in self.files.items():
                file = tarfile.TarInfo(name)
                file.size, file.mode = len(data), mode
                tar.addfile(file, io.BytesIO(data))
            for name, goal in self.links.items():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, goal
                tar.addfile(link)
        return out.getvalue()


def busybox() -> Layer:
    """busybox with all that it is called."""
    program = next(path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists())
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = Layer(folders=dict.fromkeys(("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var"), 0o755))
    layer.folders["tmp"] = 0o1777
    layer.files = {
        "bin/busybox": (program.read_bytes(), 0o755),
        "etc/passwd": (_USERS, 0o644),
        "etc/group": (b"root:x:0:\nnobody:x:65534:\n", 0o644),
    }
    layer.links = {f"bin/{name}": "busybox" for name in names if name != "busybox"} | {"usr/bin": "../bin"}
    return layer


def debian(suite: str, cache: Path) -> bytes:
    """A small Debian with the tools that tests call."""
    tar = cache / f"base-{hashlib.sha256(_PACKAGES.encode()).hexdigest()[:12]}.tar"
    if not tar.exists():
        new = tar.with_name("new.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", suite, str(new)]
        subprocess.run(command, check=True)
        new.rename(tar)
    return tar.read_bytes()


class Archive:
    """An OCI archive with several images, each named in full."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._packed: dict[bytes, dict[str, Any]] = {}
        self._manifests: list[dict[str, Any]] = []

    def add(self, name: str, layers: Sequence[bytes], settings: dict[str, Any]) -> None:
        """An image of these layers."""
        diffs = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
        rootfs = {"type": "layers", "diff_ids": diffs}
        config = {"architecture": "amd64", "os": "linux", "config": {**_ENV, **settings}, "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}manifest.v1+json",
            "config": self._blob(json.dumps(config).encode(), f"{_OCI}config.v1+json"),
            "layers": [self._layer(layer) for layer in layers],
        }
        entry = self._blob(json.dumps(manifest).encode(), f"{_OCI}manifest.v1+json")
        self._manifests.append({**entry, "annotations": {"io.containerd.image.name": name}})

    def write(self, path: Path) -> None:
        """The archive, as a file."""
        index = {"schemaVersion": 2, "manifests": self._manifests}
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        files |= {f"blobs/sha256/{digest}": data for digest, data in self._blobs.items()}
        path.write_bytes(Layer({name: (data, 0o644) for name, data in files.items()}).tar())

    def _layer(self, data: bytes) -> dict[str, Any]:
        if data not in self._packed:
            self._packed[data] = self._blob(gzip.compress(data, 1, mtime=0), f"{_OCI}layer.v1.tar+gzip")
        return self._packed[data]

    def _blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def build(path: Path, sources: Path, programs: Path, etcd: Path, base: bytes) -> None:
    """Writes the archive. sources: Kubernetes' test/images; programs: what was built of them."""
    archive, plain = Archive(), busybox().tar()

    def program(name: str, mode: int = 0o755) -> tuple[bytes, int]:
        return (programs / name).read_bytes(), mode

    agnhost = Layer({"agnhost": program("agnhost")}, {"agnhost-2": "agnhost"}, {"uploads": 0o755})
    for name in ("localhost.crt", "localhost.key"):
        agnhost.files[name] = (sources / "agnhost/porter" / name).read_bytes(), 0o644
    tools = [base, agnhost.tar()]
    agnhost_settings = {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}
    archive.add("k8s.gcr.io/e2e-test-images/agnhost:2.21", tools, agnhost_settings)
    other = "gcr.io/kubernetes-e2e-test-images"
    archive.add(f"{other}/jessie-dnsutils:1.0", tools, {"Cmd": ["sleep", "1000000"]})
    archive.add(f"{other}/resource-consumer:1.5", tools, agnhost_settings)
    archive.add("docker.io/library/perl:5.26", [base], {"Cmd": ["perl"]})
    archive.add("docker.io/library/busybox:1.29", [plain], {"Cmd": ["sh"]})
    archive.add("k8s.gcr.io/pause:3.2", [plain], {"Entrypoint": ["/bin/sleep", "2147483647"]})
    archive.add(f"{other}/nonroot:1.0", [plain], {"User": "1234", "Entrypoint": ["/bin/sh", "-c", "id -u"]})
    nnp = Layer({"nnp": program("nonewprivs", 0o4755)}).tar()
    archive.add(f"{other}/nonewprivs:1.0", [plain, nnp], {"Entrypoint": ["/nnp"]})
    serve = {"Cmd": ["/bin/busybox", "httpd", "-f", "-v", "-p", "80", "-h", f"/{_WEB}"]}
    for tag in ("httpd:2.4.38-alpine", "httpd:2.4.39-alpine", "nginx:1.14-alpine", "nginx:1.15-alpine"):
        page = f"<html><body><h1>It works!</h1>{tag}</body></html>\n".encode()
        archive.add(f"docker.io/library/{tag}", [plain, Layer({f"{_WEB}/index.html": (page, 0o644)}).tar()], serve)
    for animal in ("nautilus", "kitten"):
        files = {f: ((sources / animal / "html" / f).read_bytes(), 0o644) for f in (f"{animal}.jpg", "data.json")}
        layer = Layer({**files, "agnhost": program("agnhost")}).tar()
        archive.add(f"{other}/{animal}:1.0", [plain, layer], {"Entrypoint": ["/agnhost"], "Cmd": ["test-webserver"]})
    sample = Layer({"sample-apiserver": program("sample-apiserver")}).tar()
    archive.add(f"{other}/sample-apiserver:1.17", [plain, sample], {"Entrypoint": ["/sample-apiserver"]})
    store = Layer({"usr/local/bin/etcd": (etcd.read_bytes(), 0o755)}).tar()
    archive.add("k8s.gcr.io/etcd:3.4.13-0", [base, store], {"Cmd": ["/usr/local/bin/etcd"]})
    archive.write(path)

"""Kubernetes' end-to-end suite, built of Debian's source package with the Go of its time."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..clients import debian
from . import images

SUITE = "bookworm"
"""The last release whose source package of Kubernetes is whole."""
_GO = ("bullseye", ("golang-1.15-go", "golang-1.15-src"))
_ETCD = ("sid", ("etcd-server",))
_HERE = "k8s.io/kubernetes"
_BINDATA = (
    "test/conformance/testdata",
    "test/e2e/testing-manifests",
    "test/e2e_node/testing-manifests",
    "test/images",
    "test/fixtures",
)
# What later versions of Kubernetes have changed for everybody, by file: what stands there, what it becomes.
_MENDED = {
    # ServiceAccounts have no token Secrets since v1.24: there is nothing to wait for.
    "test/e2e/framework/util.go": ("return len(t.Secrets) > 0, nil", "return t != nil, nil"),
    # Templates have no "creationTimestamp":null since v1.34.
    "pkg/controller/daemon/update.go": (
        "return bytes.Equal(patch, history.Data.Raw), nil",
        'return bytes.Equal(bytes.Replace(patch, []byte(`"creationTimestamp":null,`), nil, -1), history.Data.Raw), nil',
    ),
}


@dataclass(frozen=True)
class Suite:
    """What was built: ginkgo, the tests, and an archive of their images."""

    ginkgo: Path
    tests: Path
    images: Path


def build(cache: Path = debian.CACHE) -> Suite:
    """Builds what is not there yet. debian.Unavailable without a mirror; CalledProcessError."""
    place = cache / "conformance"
    made = Suite(place / "ginkgo", place / "e2e.test", place / "images.tar")
    if made.images.exists():
        return made
    source = debian.source(SUITE, "kubernetes")
    go = _Go(debian.unpacked(*_GO) / "usr/lib/go-1.15", place, source)
    place.mkdir(parents=True, exist_ok=True)
    for name, (old, new) in _MENDED.items():
        text = (source / name).read_text()
        assert old in text or new in text, f"{name} is not as it is known"
        (source / name).write_text(text.replace(old, new))
    go.build("go-bindata", "vendor/github.com/go-bindata/go-bindata/go-bindata")
    ignored = [word for pattern in (".jpg", ".png", ".md", r"BUILD(\.bazel)?") for word in ("-ignore", pattern)]
    generated = ["-nometadata", "-o", "test/e2e/generated/bindata.go", "-pkg", "generated", *ignored]
    subprocess.run([place / "go-bindata", *generated, *(f"{name}/..." for name in _BINDATA)], cwd=source, check=True)
    go.build("ginkgo", "vendor/github.com/onsi/ginkgo/ginkgo")
    go.build("e2e.test", "test/e2e", "test", "-c")
    go.build("agnhost", "test/images/agnhost")
    go.build("nonewprivs", "test/images/nonewprivs")
    go.build("sample-apiserver", "vendor/k8s.io/sample-apiserver")
    etcd = debian.unpacked(*_ETCD) / "usr/bin/etcd"
    images.build(made.images, source / "test/images", place, etcd, images.debian(SUITE, place))
    return made


class _Go:
    """Builds as before modules: sources are found by their path, nothing is fetched."""

    def __init__(self, root: Path, place: Path, source: Path) -> None:
        self._root = root
        self._place = place
        tree = place / "go/src" / _HERE
        tree.parent.mkdir(parents=True, exist_ok=True)
        tree.unlink(missing_ok=True)
        tree.symlink_to(source)
        self._tree = tree
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "GOROOT": str(root),
            "GOPATH": str(place / "go"),
            "GO111MODULE": "off",
            "GOCACHE": os.environ.get("GOCACHE") or str(place / "cache"),
            "CGO_ENABLED": "0",
        }

    def build(self, name: str, package: str, *command: str) -> None:
        """A program of a package of the source."""
        print(f"building {name} …", flush=True)
        words = [self._root / "bin/go", *(command or ("build",)), "-o", self._place / name, f"{_HERE}/{package}"]
        # Of the working directory Go takes the path that PWD says: the one below GOPATH, not where the link leads.
        environment = {**self._environment, "PWD": str(self._tree)}
        subprocess.run(words, cwd=self._tree, env=environment, check=True)

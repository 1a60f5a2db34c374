"""Kubernetes' end-to-end suite and the images of its tests."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..clients import debian
from . import images
from .golang import SUITE, Tree

ETCD = ("sid", ("etcd-server",))
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
    go = Tree(place)
    source = go.source
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
    go.build("consumer", "test/images/resource-consumer")
    go.build("consume-cpu", "test/images/resource-consumer/consume-cpu")
    go.build("sample-apiserver", "vendor/k8s.io/sample-apiserver")
    etcd = debian.unpacked(*ETCD) / "usr/bin/etcd"
    images.build(made.images, source / "test/images", place, etcd, images.debian(SUITE, place))
    return made

"""Programs of Debian's source package of Kubernetes, built with the Go of its time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..clients import debian

SUITE = "bookworm"
"""The last release whose source package of Kubernetes is whole."""
_GO = ("bullseye", ("golang-1.15-go", "golang-1.15-src"))
HERE = "k8s.io/kubernetes"


class Tree:
    """The source and what builds it: as before modules, sources are found by their path, nothing is fetched.

    place: a folder for what is built. Raises debian.Unavailable without a mirror.
    """

    def __init__(self, place: Path) -> None:
        self.source = debian.source(SUITE, "kubernetes")
        self._root = root = debian.unpacked(*_GO) / "usr/lib/go-1.15"
        self._place = place
        # The source below GOPATH, where its packages find each other.
        self.tree = place / "go/src" / HERE
        self.tree.parent.mkdir(parents=True, exist_ok=True)
        self.tree.unlink(missing_ok=True)
        self.tree.symlink_to(self.source)
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
        """A program of a package of the source, in the place. Raises CalledProcessError."""
        print(f"building {name} …", flush=True)
        words = [self._root / "bin/go", *(command or ("build",)), "-o", self._place / name, f"{HERE}/{package}"]
        self.run(*words)

    def run(self, *words: str | Path) -> None:
        """Runs a command in the source, with the environment of its Go. Raises CalledProcessError."""
        # Of the working directory Go takes the path that PWD says: the one below GOPATH, not where the link leads.
        environment = {**self._environment, "PWD": str(self.tree)}
        subprocess.run(words, cwd=self.tree, env=environment, check=True)

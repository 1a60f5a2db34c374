"""The description of a rich image: the file that `hawser image build-rich` reads, checked. Pure.

name: localhost/legacy-app:1       # full reference, required
packages: [python3, cron]          # packages of the host's distribution, beside the base
run: ["useradd -r legacy"]         # shell commands in the image's root, after the packages
overlay: rootfs                    # directory next to this file; its content lies on top, owned by root
cmd: [/usr/bin/legacy, --verbose]  # and entrypoint, as in any image
env: {LEGACY_MODE: "1"}
user: legacy
workdir: /
ports: [8080/tcp]
labels: {team: billing}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hawser.cli.images.oci import ImageConfig

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[\w.+~:-]+)?")
_PORT = re.compile(r"[0-9]{1,5}/(tcp|udp|sctp)")
_NAME = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+:[\w.-]+")


class DescriptionError(Exception):
    """A description that can not be built; the text names file, field and what is wrong."""


@dataclass(frozen=True)
class RichImage:
    """A rich image to build."""

    name: str
    packages: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    overlay: Path | None = None
    config: ImageConfig = field(default_factory=ImageConfig)


def reference(name: str) -> bool:
    """Whether a name is an image's full reference."""
    return _NAME.fullmatch(name) is not None


def load(path: Path) -> RichImage:
    """Reads a description. Raises DescriptionError."""
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DescriptionError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise DescriptionError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return parse(document, path.parent)
    except DescriptionError as error:
        raise DescriptionError(f"{path}: {error}") from None


def parse(document: Any, directory: Path) -> RichImage:
    """The image of a decoded description; its overlay is relative to `directory`. Raises DescriptionError."""
    if not isinstance(document, dict):
        raise DescriptionError("must be a mapping with at least a name")
    known = "name packages run overlay entrypoint cmd env user workdir ports labels".split()  # noqa: SIM905
    for key in document:
        if key not in known:
            raise DescriptionError(f"{key}: unknown field; known are {', '.join(known)}")
    name = _text(document, "name")
    if not reference(name):
        raise DescriptionError(f'name: "{name}" is not a full reference such as localhost/legacy-app:1')
    overlay = directory / _text(document, "overlay") if "overlay" in document else None
    if overlay is not None and not overlay.is_dir():
        raise DescriptionError(f"overlay: {overlay} is not a directory")
    entrypoint, cmd = _texts(document, "entrypoint"), _texts(document, "cmd")
    if not entrypoint and not cmd:
        raise DescriptionError("cmd: required: the image's application is what decides its container's fate")
    config = ImageConfig(
        entrypoint=entrypoint,
        cmd=cmd,
        env=_pairs(document, "env"),
        user=_text(document, "user"),
        workdir=_text(document, "workdir"),
        ports=_matching(document, "ports", _PORT, "a port such as 8080/tcp"),
        labels=_pairs(document, "labels"),
    )
    packages = _matching(document, "packages", _PACKAGE, "a package name")
    return RichImage(name, packages, _texts(document, "run"), overlay, config)


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        raise DescriptionError(f"{key}: must be a string, not {value!r}")
    return value


def _texts(document: dict[str, Any], key: str) -> tuple[str, ...]:
    values = document.get(key, [])
    if not isinstance(values, list):
        raise DescriptionError(f"{key}: must be a list of strings")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise DescriptionError(f"{key}[{number}]: must be a string, not {value!r} (quote it)")
    return tuple(values)


def _matching(document: dict[str, Any], key: str, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    values = _texts(document, key)
    for number, value in enumerate(values):
        if not pattern.fullmatch(value):
            raise DescriptionError(f'{key}[{number}]: "{value}" is not {what}')
    return values


def _pairs(document: dict[str, Any], key: str) -> dict[str, str]:
    values = document.get(key, {})
    if not isinstance(values, dict):
        raise DescriptionError(f"{key}: must be a mapping of strings")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise DescriptionError(f"{key}.{name}: must be a string, not {value!r} (quote it)")
    return dict(values)

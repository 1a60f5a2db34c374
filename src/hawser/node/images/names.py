"""Names of images: what is a valid one, and which repository it is in.

Source: the reference grammar of distribution (github.com/distribution/reference); messages are the kubelet's.
"""

from __future__ import annotations

import re

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[\w][\w.-]{{0,127}})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]{{32,}})?"
)
_HUB = "docker.io"


def problem(name: str) -> str:
    """Why a name is no reference to an image; "" when it is one."""
    if _REFERENCE.fullmatch(name):
        return ""
    text = f'couldn\'t parse image name "{name}": invalid reference format'
    if name != name.lower():
        text += ": repository name must be lowercase"
    return f'Failed to apply default image tag "{name}": {text}'


def repository(name: str) -> str:
    """The full name of an image's repository, without tag and digest: ``docker.io/library/busybox``."""
    name = name.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = f"{head}{slash}{last.partition(':')[0]}"
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = _HUB, name
    first = _HUB if first == f"index.{_HUB}" else first
    return f"{first}/library/{rest}" if first == _HUB and "/" not in rest else f"{first}/{rest}"


def full(name: str) -> str:
    """An image's name as runtimes list it: with its repository's full name, and a digest or else a tag."""
    plain, at, digest = name.partition("@")
    if digest:
        return f"{repository(name)}{at}{digest}"
    return f"{repository(name)}:{plain.rpartition('/')[2].partition(':')[2] or 'latest'}"

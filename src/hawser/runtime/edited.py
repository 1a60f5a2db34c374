"""What the edits of a bundle share: the files they add, where these appear, the application's environment. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from .facts import DEFAULT_PATH, Facts

HOME = "/dev/hawser"  # in the container: every container has a fresh tmpfs at /dev, so no image path is touched
BUNDLE_HOME = "hawser"  # in the bundle


class EditError(Exception):
    """The image or the pod rules out what is asked; the text reaches the pod's events."""


class File(NamedTuple):
    """One file to put into the bundle's directory; for a link, `content` is its target."""

    content: str
    mode: int = 0o644
    link: bool = False


Files = dict[str, File]  # by path below BUNDLE_HOME


def mounted_home() -> dict[str, Any]:
    """The mount that shows the bundle's directory to the container."""
    return {
        "destination": HOME,
        "type": "bind",
        "source": BUNDLE_HOME,
        "options": ["bind", "ro", "nosuid", "nodev"],
    }


def application_environment(process: dict[str, Any], facts: Facts) -> dict[str, str]:
    """The application's environment: what the pod and image give, and what runc adds (PATH as execvp has it, HOME)."""
    environment = dict(pair.partition("=")[::2] for pair in process.get("env") or [])
    environment.setdefault("PATH", DEFAULT_PATH)
    if not environment.get("HOME"):
        environment["HOME"] = facts.home
    return environment

"""A container whose pid 1 is a minimal init: it reaps zombies, forwards signals and ends with the application. Pure.

The init is a static executable of the host (catatonit, tini-static, dumb-init), so it runs in any image.
"""

from __future__ import annotations

from . import scripts
from .edited import HOME, EditError, File, Files, mounted_home
from .facts import Facts
from .light import Any

_PATH = HOME + "-init"  # next to the directory: /dev is a fresh tmpfs in every container


def edit_minimal(spec: dict[str, Any], facts: Facts) -> Files:
    """Puts the static init in front of the application, in place. User, environment and console stay as they are.

    Raises EditError when the host has no static init.
    """
    if not facts.static_init:
        raise EditError("init minimal: this node has none of catatonit, tini-static, dumb-init as a static executable")
    process = spec["process"]
    process["args"] = [_PATH, "--", *process["args"]]
    if facts.application:
        # The init is static: no library of theirs is loaded into it.
        names = {pair.partition("=")[0] for pair in facts.application}
        kept = [pair for pair in process.get("env") or [] if pair.partition("=")[0] not in names]
        process["env"] = [*kept, *facts.application]
    spec.setdefault("mounts", []).append(
        {
            "destination": _PATH,
            "type": "bind",
            "source": facts.static_init,
            "options": ["bind", "ro", "nosuid", "nodev"],
        }
    )
    spec["mounts"].append(mounted_home())
    return {"ready": File(scripts.READY_WITH_CONTAINER, 0o755)}

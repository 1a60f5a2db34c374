"""The edit of an OCI bundle's specification: which init it gets, and what follows from that. Pure."""

from __future__ import annotations

from .edited import EditError, Files, copied
from .facts import Facts
from .light import Any, NamedTuple
from .options import Options
from .view import LOADED, apply_view, prepare_environment


class Edited(NamedTuple):
    """The result of an edit."""

    spec: dict[str, Any]
    files: Files  # by path below the bundle's directory for them
    init: str  # systemd, busybox, sysvinit or minimal: what kill has to know
    cgroup: str = ""  # the container's directory of the host's control groups, where that must be there before it
    preload: str = ""  # the library that what runs in the container later needs in its environment
    hooks: str = ""  # the directory where its hooks are noted
    stop: str = ""  # a minimal init is sent this signal for a stop, whichever one is asked for


def choose_init(options: Options, facts: Facts) -> str:
    """Which kind of pid 1: what the pod asks for, else what the image was made for."""
    if options.init == "minimal" or (options.init is None and not facts.systemd):
        return "minimal"
    if options.init == "init" and not facts.systemd:
        return "sysvinit" if facts.sysvinit else "busybox"
    return "systemd"


def edit(spec: dict[str, Any], options: Options, facts: Facts) -> Edited:
    """The specification of the rich container for an ordinary one's; `spec` itself stays as it is.

    Raises EditError when image, pod or node rule it out.
    """
    process = spec.get("process") or {}
    if not process.get("args"):
        raise EditError("the container has no command: neither its image nor the pod names one")
    if not facts.executable:
        # runc's words: without the check the message would only be in the container's journal.
        raise EditError(f'exec: "{process["args"][0]}": executable file not found in the container')
    if options.keep and choose_init(options, facts) == "minimal":
        raise EditError(
            "app-policy keep: a minimal init restarts nothing; use init systemd, or the pod's restartPolicy"
        )
    result = copied(spec)
    result.setdefault("linux", {})
    if options.time:
        from .faketime import apply_time

        facts = facts._replace(application=apply_time(result, options.time, facts.faketime))
    prepare_environment(result, facts.view)
    init = choose_init(options, facts)
    # Each where it is needed: a container waits for what is loaded here.
    if init == "systemd":
        from .systemd import edit_systemd

        files = edit_systemd(result, options, facts)
    elif init != "minimal":
        from .initd import edit_init

        files = edit_init(result, options, facts)
    else:
        from .minimal import edit_minimal

        files = edit_minimal(result, facts)
    files = {**files, **apply_view(result, facts.view)}
    groups = facts.cgroups
    cgroup = (groups.named_systemd or groups.unified or groups.own) if init == "systemd" else ""
    stop = options.stop_signal if init == "minimal" else ""
    return Edited(result, files, init, cgroup, LOADED if facts.view.musl else "", stop=stop)

# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH103, PTH104, PTH108, PTH118, PTH120, PTH123, PTH211
"""What `hawser-runtime create` and `run` do: edit the bundle, then become the real runtime.

Started by the launcher, which handles every other command by itself, but for `start` and `delete` of a container with
hooks (verbs.py). Standard library only, Python >= 3.9.
"""

from __future__ import annotations

import os
import sys
import time

from . import host, leftovers, notes, options, profile, spawn, view
from .bundle import Edited, choose_init, edit
from .edited import BUNDLE_HOME, EditError, Files, mounted_journal
from .equip import equip, note_hooks
from .facts import DEFAULT_PATH, image_facts
from .light import Any, NamedTuple, dumps, loads
from .rootfs import RootFS

# Flags of runc and crun that take the next word as their value.
_VALUED = {
    *("--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager"),
    *("--bundle", "-b", "--console-socket", "--pid-file", "--preserve-fds", "--config", "-f"),
}
_TOLD = ("HAWSER_RECORDS", "HAWSER_PROFILES", "HAWSER_VIEW", "HAWSER_ROOTS", "HAWSER_ROOT")  # by the launcher


class Call(NamedTuple):
    """A command line of the OCI runtime, as far as an edit needs it."""

    bundle: str
    verb: str
    container_id: str
    log: str
    json_log: bool


def parse(argv: list[str]) -> Call:
    """Reads `[global flags] create|run [flags] ID`; flags are --name value or --name=value."""
    flags: dict[str, str] = {}
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in _VALUED:
            flags[name] = value if equals else next(rest, "")
        elif not word.startswith("-"):
            words.append(word)
    return Call(
        bundle=flags.get("--bundle") or flags.get("-b") or ".",
        verb=words[0] if words else "",
        container_id=words[-1] if len(words) > 1 else "",
        log=flags.get("--log", ""),
        json_log=flags.get("--log-format") == "json",
    )


def prepare(call: Call, spec: dict[str, Any]) -> Edited | None:
    """The edit for a bundle's specification, None when the container is not a rich one."""
    annotations = spec.get("annotations") or {}
    if not options.concerned(annotations):
        return None
    answer = profile.ask(os.environ.get("HAWSER_PROFILES", ""), annotations)
    if not answer:
        return _with(call, spec, annotations, answer, options.read(annotations))
    try:
        annotations = profile.merged(annotations, answer)
        return _with(call, spec, annotations, answer, options.read(annotations))
    except (EditError, options.OptionError) as error:
        # What is refused may be what the pod's manifest does not say.
        raise type(error)(f"{error} (with RichProfiles: {', '.join(answer.get('profiles') or [])})") from error


def _with(
    call: Call, spec: dict[str, Any], annotations: dict[str, str], answer: profile.Answer, asked: options.Options
) -> Edited:
    notes.claim(os.environ["HAWSER_RECORDS"], call.container_id)
    if asked.keep_rootfs:
        from . import kept  # here: few containers need it

        kept.keep(spec, annotations, call.container_id, call.bundle, asked.rootfs_size)
    try:
        return _prepare(call, spec, annotations, answer, asked)
    except BaseException:
        if asked.keep_rootfs:
            kept.release(spec["root"]["path"])
        raise


def _prepare(
    call: Call, spec: dict[str, Any], annotations: dict[str, str], answer: profile.Answer, asked: options.Options
) -> Edited:
    process = spec.get("process") or {}
    hooks = note_hooks(spec, annotations, answer, call.container_id, call.bundle)
    rootfs = RootFS.of_bundle(call.bundle, spec)
    facts = image_facts(rootfs, process)
    init = choose_init(asked, facts)
    facts = facts._replace(static_init=host.static_init(), limits=host.limits(process))
    if asked.view == "container":
        facts = facts._replace(view=view.gather(rootfs, os.environ["HAWSER_VIEW"]))
    if asked.time:
        from . import faketime

        env = dict(pair.partition("=")[::2] for pair in process.get("env") or [])
        search = env.get("PATH") or DEFAULT_PATH
        steady = os.path.join(os.environ["HAWSER_VIEW"], "lib", view.STEADY)
        facts = facts._replace(faketime=faketime.gather(rootfs, process, facts.executable, search, steady))
    if init == "systemd":
        facts = facts._replace(
            machine_id=host.machine_id(annotations, call.container_id),
            cgroups=host.cgroups(spec, call.container_id, host.mountinfo(), facts.systemd_version),
        )
    edited = equip(spec, edit(spec, asked, facts), annotations, answer, rootfs, facts)
    if init != "minimal":
        host.allow_watches()
        journal = notes.open_journal(os.environ["HAWSER_RECORDS"], call.container_id, host.root_of(spec))
        edited.spec["mounts"] += [mounted_journal(journal)] if journal else []
    return edited._replace(hooks=hooks)


def _memory_group(edited: Edited) -> str:
    if edited.init == "minimal":
        return ""  # nothing is started again inside
    return host.memory_group(edited.spec, host.mountinfo())


def write(bundle: str, edited: Edited) -> None:
    """Puts the files and the new specification into the bundle; the specification last, and whole."""
    owner = host.root_of(edited.spec)
    _write_files(os.path.join(bundle, BUNDLE_HOME), edited.files, owner)
    path = os.path.join(bundle, "config.json")
    with open(path + ".hawser", "w", encoding="utf-8") as file:
        file.write(dumps(edited.spec))
    os.rename(path + ".hawser", path)


def _write_files(home: str, files: Files, owner: tuple[int, int]) -> None:
    if not files:
        return
    if any(".." in name.split("/") for name in files):
        raise ValueError(f"a file outside of {home}")  # images and pods have a say in names
    for folder in {os.path.dirname(os.path.join(home, name)) for name in files}:
        os.makedirs(folder, exist_ok=True)
    for name, file in files.items():
        path = os.path.join(home, name)
        if os.path.lexists(path):
            os.unlink(path)
        if file.link:
            os.symlink(file.content, path)
        else:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "wb") as out:
                out.write(file.content.encode())
                os.fchmod(out.fileno(), file.mode)
        os.chown(path, *owner, follow_symlinks=False)


def fail(call: Call, message: str) -> int:
    """Tells what is wrong on stderr and where containerd and CRI-O look for it: the runtime's log file."""
    message = "hawser-runtime: " + " ".join(message.split())
    print(message, file=sys.stderr)
    if call.log:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"level": "error", "msg": message, "time": now}
        line = dumps(entry) if call.json_log else f'time="{now}" level=error msg={dumps(message)}'
        with open(call.log, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    return 1


def main(argv: list[str]) -> int:
    """Edits the bundle of `create` or `run`, then executes the real runtime; returns only when that fails."""
    call = parse(argv)
    try:
        if call.verb == "finish":
            from . import witness  # here: only containers with hooks need it

            return witness.finished(argv[1:])
        if call.verb in ("start", "delete"):
            from . import verbs

            return verbs.main(call.verb, argv, call.container_id)
        with open(os.path.join(call.bundle, "config.json"), encoding="utf-8") as file:
            spec = loads(file.read())
        edited = prepare(call, spec)
        if edited is not None:
            write(call.bundle, edited)
            if edited.cgroup:
                # The real runtime would make it, too late for the mount. It also removes it.
                host.delegate(edited.cgroup, host.root_of(edited.spec))
            group = _memory_group(edited)
            notes.note(os.environ["HAWSER_RECORDS"], call.container_id, edited.init, edited.preload, edited.stop, group)
            host.forget_login()
            leftovers.clear(sys.argv[0], os.environ["HAWSER_RECORDS"], os.environ.get("HAWSER_ROOT", ""))
        real = os.environ.pop("HAWSER_REAL")
        for name in _TOLD:
            os.environ.pop(name, None)
        if edited is not None and edited.hooks:
            from . import verbs

            return verbs.create(real, argv, call.verb, edited.hooks)
        spawn.become([real, *argv])
    except (EditError, options.OptionError) as error:
        return fail(call, str(error))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return fail(call, f"{type(error).__name__}: {error}")

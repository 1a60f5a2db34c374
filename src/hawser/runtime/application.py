"""How an init starts the application just as asked: user, environment, directory, words. Pure."""

from __future__ import annotations

from .edited import EditError, application_environment
from .facts import Facts
from .light import Any
from .quoting import shell_word


def user_prefix(process: dict[str, Any], facts: Facts, init: str) -> list[str]:
    """The words before the command that make it another user's; none for root without further groups.

    Ids go by number, whether or not the image knows them. Raises EditError when the image has no tool for it.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    extra = user.get("additionalGids") or []
    if not (uid or gid or set(extra) - {gid}):
        return []
    bounding = set((process.get("capabilities") or {}).get("bounding") or [])
    if not {"CAP_SETUID", "CAP_SETGID"} <= bounding:
        raise EditError(f"init {init}: running as user {uid} needs the capabilities SETUID and SETGID")
    listed = ",".join(str(group) for group in extra)
    if facts.setpriv:
        groups = "--groups=" + listed if extra else "--clear-groups"
        return [facts.setpriv, f"--reuid={uid}", f"--regid={gid}", groups, "--"]
    if facts.chroot and "CAP_SYS_CHROOT" in bounding:
        # coreutils: a change of root to where it is already leaves the change of user.
        return [facts.chroot, f"--userspec=+{uid}:+{gid}", f"--groups={listed}", "--skip-chdir", "/"]
    raise EditError(f"init {init}: running the application as user {uid} needs setpriv(1) or coreutils in the image")


def launch(process: dict[str, Any], facts: Facts, init: str, streams: str = "") -> str:
    """Shell commands that become the application, for inits that can not be told all of it.

    streams: a directory of the standard streams by number, when they are not the shell's own.
    """
    environment = application_environment(process, facts)
    command = [facts.env or "env", "-i", *(f"{name}={value}" for name, value in environment.items())]
    prefix = user_prefix(process, facts, init)
    # argv[0] is what the image says; only behind the change of user, which searches PATH, can it be another word.
    command += [*prefix, *process["args"]] if prefix else [facts.executable, *process["args"][1:]]
    redirected = f" <{streams}/0 >>{streams}/1 2>>{streams}/2" if streams else ""
    umask = (process.get("user") or {}).get("umask", 0o022)
    return (
        f"umask {umask:04o}\n"
        f"cd {shell_word(process.get('cwd') or '/')} || exit 126\n"
        f"exec {' '.join(map(shell_word, command))}{redirected}\n"
    )

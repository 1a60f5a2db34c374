"""What makes a node's container runtime know rich containers: drop-ins, and the edit where a drop-in can not do. Pure.

containerd merges what it imports by keys since 2.0. Before, an imported file replaces whole sections of plugins, so a
drop-in for the CRI plugin would take away all else that is set of it: there the two tables go to the end of the main
file instead. Source: containerd's docs/cri/config.md and pull request 9982; crio.conf(5), "crio.runtime.runtimes".
"""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

RUNTIME: Final = "/usr/local/bin/hawser-runtime"
HANDLER: Final = "rich"
CONTAINERD: Final = "/etc/containerd/config.toml"
CONTAINERD_DROP_IN: Final = "/etc/containerd/conf.d/50-hawser-rich.toml"
CRIO_DROP_IN: Final = "/etc/crio/crio.conf.d/50-hawser-rich.conf"
_IMPORTS = "/etc/containerd/conf.d/*.toml"
_BEGIN, _END = "# hawser rich: begin", "# hawser rich: end"
_PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}


class ConfigError(Exception):
    """A configuration that can not be extended; the text says why."""


def containerd_tables(version: int = 2, runtime: str = RUNTIME, *, runc: bool = False) -> str:
    """The tables of a containerd configuration of this version, 2 (containerd 1.x) or 3 (containerd 2.x).

    runc: with that of the default runtime, which containerd wants as soon as there is any table of runtimes.
    """
    runtimes = f'plugins."{_PLUGINS[version]}".containerd.runtimes'
    default = f'[{runtimes}.runc]\n  runtime_type = "io.containerd.runc.v2"\n' if runc else ""
    return (
        f"{default}[{runtimes}.{HANDLER}]\n"
        '  runtime_type = "io.containerd.runc.v2"\n'
        '  pod_annotations = ["rich.hawser.dev/*"]\n'
        '  container_annotations = ["rich.hawser.dev/*"]\n'
        f"[{runtimes}.{HANDLER}.options]\n"
        f"  BinaryName = {json.dumps(runtime)}\n"
    )


def containerd_drop_in(runtime: str = RUNTIME) -> str:
    """The drop-in for containerd 2.x."""
    return "version = 3\n" + containerd_tables(3, runtime)


def crio_drop_in(runtime: str = RUNTIME) -> str:
    """The drop-in for CRI-O: its own pause process and monitor stay, and so does the default runtime.

    Not allowed_annotations: that is about CRI-O's own, and with any other name in it CRI-O does not start. All other
    annotations of a pod reach its containers' bundles.
    """
    return (
        f"[crio.runtime.runtimes.{HANDLER}]\n"
        f"  runtime_path = {json.dumps(runtime)}\n"
        '  runtime_type = "oci"\n'
        '  runtime_root = "/run/hawser-rich"\n'
    )


def containerd_files(main: str, imported: Mapping[str, str], runtime: str = RUNTIME) -> dict[str, str]:
    """The files to write, by path, so that containerd knows rich containers; none when it does already.

    main: the text of /etc/containerd/config.toml, "" when there is none; imported: texts of the drop-ins, by path.
    Raises ConfigError.
    """
    document = _parsed(CONTAINERD, _without(main))
    version = int(document.get("version", 2 if not main.strip() else 1))
    if version not in _PLUGINS:
        raise ConfigError(
            f"{CONTAINERD} is of version {version}: `containerd config migrate` makes it one that is known"
        )
    if version >= 3:
        files = {CONTAINERD_DROP_IN: containerd_drop_in(runtime)}
        if not _imports(document):
            files[CONTAINERD] = _with_imports(main, document)
        return {
            path: text for path, text in files.items() if text != (main if path == CONTAINERD else imported.get(path))
        }
    for path, text in imported.items():
        if _PLUGINS[2] in (_parsed(path, text).get("plugins") or {}):
            raise ConfigError(f"{path} sets the CRI plugin, which hides what {CONTAINERD} says: move its content there")
    runtimes = _runtimes(document, version)
    if HANDLER in runtimes:
        raise ConfigError(f"{CONTAINERD} has a runtime named {HANDLER} of its own: take it out, or name another node")
    head = _without(main) if main.strip() else "version = 2\n"
    tables = containerd_tables(version, runtime, runc="runc" not in runtimes)
    text = f"{head.rstrip()}\n{_BEGIN}\n{tables}{_END}\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{CONTAINERD} has its runtimes in one line ({error}): give them tables") from None
    return {CONTAINERD: text} if text != main else {}


def removed(main: str) -> str:
    """The main file without what was added to it."""
    return _without(main)


def _parsed(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _runtimes(document: dict[str, Any], version: int) -> dict[str, Any]:
    plugin = (document.get("plugins") or {}).get(_PLUGINS[version]) or {}
    return (plugin.get("containerd") or {}).get("runtimes") or {}


def _imports(document: dict[str, Any]) -> bool:
    return any(fnmatch.fnmatch(CONTAINERD_DROP_IN, pattern) for pattern in document.get("imports") or ())


def _with_imports(main: str, document: dict[str, Any]) -> str:
    wanted = json.dumps([*(document.get("imports") or ()), _IMPORTS])
    if "imports" in document:
        changed, count = re.subn(r"^imports\s*=\s*\[[^\]]*\]", f"imports = {wanted}", main, count=1, flags=re.MULTILINE)
        if not count or not _imports(_parsed(CONTAINERD, changed)):
            raise ConfigError(f"{CONTAINERD} imports nothing from {_IMPORTS}: add that to its `imports`")
        return changed
    # Ahead of the first table: it is a key of the whole.
    return f"imports = {wanted}\n{main}"


def _without(main: str) -> str:
    return re.sub(rf"^{_BEGIN}\n.*?^{_END}\n", "", main, flags=re.MULTILINE | re.DOTALL)

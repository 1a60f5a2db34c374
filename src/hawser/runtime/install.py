"""Builds and installs `hawser-runtime`: one executable file, a shell launcher with the Python program behind it.

Python runs a file whose end is a zip archive (PEP 441), and a shell stops reading at the launcher's last exec; so one
file is both. It holds byte code for the interpreter that installs it, and the sources for any other.
"""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path

_HERE = Path(__file__).parent
_PACKAGE = "hawser_runtime"
_MODULES = (
    *("application", "bundle", "edited", "elf", "equip", "facts", "faketime", "hookplan", "hookrun", "hooks", "host"),
    *("initd", "kept", "main", "minimal", "notes", "options", "preload", "profile", "quoting", "records", "rootfs"),
    *("scripts", "systemd", "unit", "units", "verbs", "view", "watch", "witness"),
)
_ENTRY = f"""\
import sys
try:
    if sys.argv[1:2] == ["watch"]:
        from {_PACKAGE}.watch import main
        sys.exit(main(sys.argv[2:]))
    from {_PACKAGE}.main import main
except ImportError as error:
    sys.exit(f"hawser-runtime: {{error}}: this node needs all of Python's standard library (package python3)")
sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time a zip archive can name


VIEW = "/run/hawser/view"  # of a cluster's node; an engine has one of its own
ROOTS = "/var/lib/hawser/rootfs"


def build(
    oci_runtime: str = "",
    profiles: str = "",
    view: str = VIEW,
    roots: str = ROOTS,
    python: str = "/usr/bin/python3",
) -> bytes:
    """The executable's bytes.

    `oci_runtime` is the real runtime's path, "" to look for runc and crun at each call; `profiles` is the socket that
    answers for RichProfiles, "" for none; `view` is the node's view directory, `roots` that of kept root file systems;
    `python` is asked for byte code, and does without when it does not exist.
    """
    for path in (oci_runtime, profiles, view, roots):
        if not all(char.isalnum() or char in "/._+-" for char in path):
            raise ValueError(f"the path has characters that a shell would read: {path!r}")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        sources = {f"{_PACKAGE}/__init__": "", "__main__": _ENTRY}
        sources |= {f"{_PACKAGE}/{name}": (_HERE / f"{name}.py").read_text() for name in _MODULES}
        for name, source in sources.items():
            file.writestr(zipfile.ZipInfo(name + ".py", _EPOCH), source)
            code = _compile(python, source, name)
            if code is not None:
                file.writestr(zipfile.ZipInfo(name + ".pyc", _EPOCH), code)
    launcher = (_HERE / "launcher.sh").read_text()
    places = {"@REAL@": oci_runtime, "@PROFILES@": profiles, "@VIEW@": view, "@ROOTS@": roots}
    for name, path in places.items():
        launcher = launcher.replace(name, path)
    return launcher.encode() + b"exit 1\n" + archive.getvalue()


def install(
    destination: str | Path,
    oci_runtime: str = "",
    profiles: str | Path = "",
    view: str | Path = VIEW,
    roots: str | Path = ROOTS,
) -> Path:
    """Writes the executable to `destination`, atomically; returns its path.

    The engine installs it into its data directory, a cluster's node into /usr/local/bin.
    """
    path = Path(destination)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = build(oci_runtime, str(profiles), str(view), str(roots))
    if path.exists() and path.read_bytes() == content:
        return path
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    temporary.replace(path)
    return path


def containerd_stanza(path: str | Path, handler: str = "rich") -> str:
    """The part of containerd's configuration (version 2) that makes `path` the runtime handler `handler`.

    It goes beside the table of `runc`: containerd refuses a configuration whose default runtime has none.
    """
    table = f'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}'
    return (
        f"[{table}]\n"
        '  runtime_type = "io.containerd.runc.v2"\n'
        '  pod_annotations = ["rich.hawser.dev/*"]\n'
        '  container_annotations = ["rich.hawser.dev/*"]\n'
        f"[{table}.options]\n"
        f'  BinaryName = "{path}"\n'
    )


def _compile(python: str, source: str, name: str) -> bytes | None:
    """The .pyc of a module by another interpreter; unchecked, since archive members have no times to compare."""
    program = (
        "import sys, importlib.util as u, marshal\n"
        "code = compile(sys.stdin.read(), sys.argv[1], 'exec', dont_inherit=True, optimize=0)\n"
        "sys.stdout.buffer.write(u.MAGIC_NUMBER + bytes([1] + [0] * 11) + marshal.dumps(code))\n"
    )
    if python == "" or not Path(python).exists():
        return None
    ran = subprocess.run([python, "-I", "-S", "-c", program, name], input=source.encode(), capture_output=True)
    return ran.stdout if ran.returncode == 0 else None

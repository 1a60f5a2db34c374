"""The CNI plugin that containerd runs for every sandbox, and the files that make containerd run it.

The plugin is a messenger: it sends its environment and standard input to the agent's socket and prints the answer. It
is on the path of every pod start and of its end, so it is what starts fastest on the host: a program of a few pages
(native/cni.c), where there is no compiler perl without modules (perl-base is essential on Debian and Ubuntu; 4 ms),
else the engine's own Python (40 ms).

Protocol on the socket: five fields (command, container id, netns, interface, args), each ended by NUL, then standard
input, then end of file. The answer is the exit status as one digit, then what to print.

Source: the CNI specification 1.0.0, section 2 (execution protocol) and section 5 (results).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from hawser.native import compiler
from hawser.native.compiler import BuildError

CNI_VERSION = "1.0.0"
SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0")
PLUGIN = "hawser"
_RESULTS = Path("/var/lib/cni/results")
CONFLIST = "10-hawser.conflist"

_VERSIONS = json.dumps({"cniVersion": CNI_VERSION, "supportedVersions": SUPPORTED})
_UNREACHABLE = json.dumps(
    {
        "cniVersion": CNI_VERSION,
        "code": 11,
        "msg": "the node agent of hawser does not answer",
        "details": "try again later",
    }
)

# DEL must succeed without an agent (it sweeps what is left when it starts), and must not hang on a stuck one.
_PERL = """#!PERL
my $c = $ENV{CNI_COMMAND};
if ($c eq "VERSION") { print 'VERSIONS'; exit 0 }
sub fail { if ($c eq "DEL") { exit 0 } print 'UNREACHABLE'; exit 1 }
$SIG{ALRM} = \\&fail;
$SIG{PIPE} = \\&fail;
alarm($c eq "DEL" ? 10 : 60);
my $in = do { local $/; <STDIN> };
socket(AGENT, 1, 1, 0) && connect(AGENT, pack("S a108", 1, 'SOCKET')) || fail();
my $out = join("\\0", $c, @ENV{qw(CNI_CONTAINERID CNI_NETNS CNI_IFNAME CNI_ARGS)}, $in);
while (length $out) { my $n = syswrite(AGENT, $out) || fail(); substr($out, 0, $n) = "" }
shutdown(AGENT, 1);
my $a = "";
while (sysread(AGENT, $a, 65536, length $a)) {}
length $a || fail();
print substr($a, 1);
exit substr($a, 0, 1);
"""

_PYTHON = """#!PYTHON -IS
import os, sys, _socket
env = os.environ.get
c = env("CNI_COMMAND")
if c == "VERSION":
    sys.stdout.write('VERSIONS')
    sys.exit(0)
try:
    s = _socket.socket(1, 1)
    s.settimeout(10 if c == "DEL" else 60)
    s.connect('SOCKET')
    fields = [c, env("CNI_CONTAINERID", ""), env("CNI_NETNS", ""), env("CNI_IFNAME", ""), env("CNI_ARGS", "")]
    s.sendall(("\\0".join(fields) + "\\0").encode() + sys.stdin.buffer.read())
    s.shutdown(1)
    a = b""
    while d := s.recv(65536):
        a += d
    sys.stdout.write(a[1:].decode())
    sys.exit(int(a[:1]))
except (OSError, ValueError):
    if c != "DEL":
        sys.stdout.write('UNREACHABLE')
        sys.exit(1)
"""

# containerd runs this beside every network, only to bring up lo: the agent has done so when it answered ADD.
_LOOPBACK = """#!/bin/sh
case $CNI_COMMAND in
VERSION) echo 'VERSIONS' ;;
ADD) echo '{"cniVersion":"0.3.1","interfaces":[{"name":"lo","mac":"00:00:00:00:00:00","sandbox":"'"$CNI_NETNS"'"}],\
"ips":[{"version":"4","address":"127.0.0.1/8","interface":0}]}' ;;
esac
"""


def plugin_text(socket: Path, perl: str | None) -> str:
    """The plugin as a script; perl: the interpreter's path, None where there is none."""
    if "'" in str(socket) or "\\" in str(socket):
        raise ValueError(f"socket path {socket} has a quote or a backslash")
    text = _PERL.replace("PERL", perl, 1) if perl else _PYTHON.replace("PYTHON", sys.executable, 1)
    return text.replace("VERSIONS", _VERSIONS).replace("UNREACHABLE", _UNREACHABLE).replace("SOCKET", str(socket))


def program(target: Path, socket: Path) -> None:
    """Puts the plugin into place as a program. Raises BuildError, OSError."""
    texts = {"VERSIONS": _VERSIONS, "UNREACHABLE": _UNREACHABLE}
    compiler.provide(target, "cni.c", texts, {"SOCKET_PATH": str(socket)})


def conflist(network: str) -> str:
    """The network configuration list; network is the engine's network name, unique on the machine."""
    plugin = {"type": PLUGIN, "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": CNI_VERSION, "name": network, "plugins": [plugin]}, indent=2) + "\n"


def install(bin_dir: Path, conf_dir: Path, socket: Path, network: str) -> None:
    """Write the plugins and the configuration; the configuration last, as it makes containerd ready."""
    bin_dir.mkdir(parents=True, exist_ok=True)
    conf_dir.mkdir(parents=True, exist_ok=True)
    try:
        for name in (PLUGIN, "loopback"):
            program(bin_dir / name, socket)
    except (OSError, BuildError):
        _replace(bin_dir / PLUGIN, plugin_text(socket, shutil.which("perl", path="/usr/bin:/bin")), 0o755)
        _replace(bin_dir / "loopback", _LOOPBACK.replace("VERSIONS", _VERSIONS), 0o755)
    _replace(conf_dir / CONFLIST, conflist(network), 0o644)


def forget_results(network: str, keep: Collection[str] = ()) -> None:
    """Delete what the runtime's CNI library remembers of a network's sandboxes, but of those in ``keep``.

    It keeps a file an ADD, ``NETWORK-SANDBOX-INTERFACE``, beside one for the loopback interface, until the DEL.
    """
    for path in _RESULTS.glob(f"{network}-*"):
        sandbox = path.name.removeprefix(f"{network}-").rpartition("-")[0]
        if sandbox in keep:
            continue
        (_RESULTS / f"cni-loopback-{sandbox}-lo").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _replace(path: Path, text: str, mode: int) -> None:
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)

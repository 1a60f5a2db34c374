"""Ports that a machine's services listen at: as the running machine tells, else as its configuration does. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hawser.cli.images.lifting.survey import Survey


@dataclass(frozen=True, order=True)
class Port:
    """A port that something listens at; `local` when only processes of the machine itself can reach it."""

    number: int
    protocol: str = "tcp"
    service: str = ""
    source: str = ""  # a file, or "running"
    local: bool = False


@dataclass(frozen=True)
class _Known:
    """Where a well-known service names its ports."""

    units: tuple[str, ...]
    files: str
    line: str  # its first group is an address with a port, or a port
    default: int


_KNOWN = (
    _Known(("ssh", "sshd"), r"etc/ssh/sshd_config(\.d/.*\.conf)?", r"^\s*(?:Port\s+|ListenAddress\s+\S+:)(\d+)", 22),
    _Known(("nginx",), r"etc/nginx/(?!.*available).*", r"^\s*listen\s+([^\s;]+)", 80),
    _Known(("apache2", "httpd"), r"etc/(apache2/ports|httpd/conf/httpd)\.conf", r"^\s*Listen\s+(\S+)", 80),
    _Known(("redis-server", "redis", "redis-server@"), r"etc/redis(/.*)?\.conf", r"^\s*port\s+(\d+)", 6379),
    _Known(("postgresql", "postgresql@"), r"etc/postgresql/.*postgresql\.conf", r"^\s*port\s*=\s*(\d+)", 5432),
    _Known(("mysql", "mysqld", "mariadb"), r"etc/(my\.cnf(\.d/.*)?|mysql/.*\.cnf)", r"^\s*port\s*=\s*(\d+)", 3306),
    _Known(("mongod", "mongodb"), r"etc/mongod(b)?\.conf", r"^\s*port\s*[:=]\s*(\d+)", 27017),
    _Known(("memcached",), r"etc/memcached\.conf", r"^\s*-p\s*(\d+)", 11211),
    _Known(("postfix", "exim4"), r"(?!)", r"(?!)", 25),
    _Known(("haproxy",), r"etc/haproxy/haproxy\.cfg", r"^\s*bind\s+(\S+)", 0),
    _Known(("zookeeper",), r"etc/zookeeper/conf[^/]*/zoo\.cfg", r"^\s*clientPort\s*=\s*(\d+)", 2181),
    _Known(("rabbitmq-server",), r"(?!)", r"(?!)", 5672),
)
_LISTEN = re.compile(r"^\s*Listen(Stream|Datagram)\s*=\s*(?:\S*:)?(\d+)\s*$", re.MULTILINE)
_USERS = re.compile(r'\(\("([^"]+)"|\s\d+/([^\s:]+)')


def running(text: str) -> list[Port]:
    """The ports in what `ss -lntup` or `netstat -lntup` prints."""
    found = set()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 5 or fields[0] not in ("tcp", "udp", "tcp6", "udp6"):
            continue
        # netstat: protocol, two queues, address; ss: protocol, state, two queues, address.
        address, _, number = fields[3 if fields[1].isdigit() else 4].rpartition(":")
        if number.isdigit():
            users = _USERS.search(line)
            name = next((group for group in users.groups() if group), "") if users else ""
            found.add(Port(int(number), fields[0].rstrip("6"), name, "running", _local(address)))
    return _merged(found)


def configured(survey: Survey, enabled: Iterable[str]) -> list[Port]:
    """The ports that sockets units and well-known services of the enabled units name."""
    found = []
    for unit in enabled:
        stem, _, kind = unit.rpartition(".")
        if kind == "socket":
            for protocol, number in _LISTEN.findall(survey.unit_text(unit)):
                found.append(Port(int(number), "tcp" if protocol == "Stream" else "udp", stem, unit))
        elif kind == "service":
            base = stem.partition("@")[0] + ("@" if "@" in stem else "")
            for known in _KNOWN:
                if base in known.units:
                    found += _of(known, stem, survey)
    return _merged(found)


def _of(known: _Known, service: str, survey: Survey) -> list[Port]:
    found = []
    for path, captured in sorted(survey.files.items()):
        if not re.fullmatch(known.files, path):
            continue
        for text in re.findall(known.line, captured.text, re.MULTILINE | re.IGNORECASE):
            address, _, number = text.rpartition(":")
            if number.isdigit() and 0 < int(number) < 65536:
                found.append(Port(int(number), "tcp", service, "/" + path, _local(address)))
    return found or ([Port(known.default, "tcp", service, "its default")] if known.default else [])


def _local(address: str) -> bool:
    return address.strip("[]").startswith(("127.", "::1", "localhost"))


def _merged(found: Iterable[Port]) -> list[Port]:
    """One of each number and protocol; one that others can reach prevails."""
    best: dict[tuple[int, str], Port] = {}
    for port in sorted(found, key=lambda port: (port.local, not port.service, port)):
        best.setdefault((port.number, port.protocol), port)
    return sorted(best.values())

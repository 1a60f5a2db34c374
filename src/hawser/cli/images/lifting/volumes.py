"""Directories whose content should outlive a container. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hawser.cli.images.lifting.survey import Survey

LARGE = 100 << 20  # bytes below /var/lib that hardly came with a package
_DATABASES = (  # noqa: SIM905
    "mysql postgresql pgsql mongodb mongo redis couchdb cassandra elasticsearch opensearch influxdb prometheus grafana "
    "ldap openldap zookeeper kafka rabbitmq etcd consul vault neo4j memcachedb clickhouse mariadb firebird riak "
    "jenkins gitlab gitea tomcat"
).split()
_TREES = {"srv": "data that the machine serves", "home": "users' files", "var/www": "a web site", "var/mail": "mail"}
_PACKAGES = frozenset("dpkg apt rpm dnf yum pacman aptitude PackageKit ucf ispell python texmf selinux".split())  # noqa: SIM905


@dataclass(frozen=True)
class Volume:
    """A directory (absolute), why it should be a volume, and the bytes it has now."""

    path: str
    reason: str
    size: int = 0


def volumes(survey: Survey, asked: Sequence[str] = ()) -> list[Volume]:
    """The directories that should be volumes: those asked for, databases', large ones; sorted by path."""
    found: dict[str, Volume] = {}
    for path in asked:
        name = path.strip("/")
        found[name] = Volume("/" + name, "as asked", survey.sizes[name])
    for name, reason in _TREES.items():
        if survey.sizes[name]:
            found.setdefault(name, Volume("/" + name, reason, survey.sizes[name]))
    names = {path.split("/")[2] for path in (*survey.sizes, *survey.paths) if path.startswith("var/lib/")}
    for name in names - _PACKAGES:
        path = f"var/lib/{name}"
        if name.lower() in _DATABASES:
            found.setdefault(path, Volume("/" + path, "a database's or server's data", survey.sizes[path]))
        elif survey.sizes[path] >= LARGE:
            found.setdefault(path, Volume("/" + path, "large, and changing where the machine runs", survey.sizes[path]))
    return [found[path] for path in sorted(found)]

"""What a lift finds and decides, as one document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hawser.cli.images.lifting import addresses, ports
from hawser.cli.images.lifting.adapting import Change
from hawser.cli.images.lifting.masking import Decision
from hawser.cli.images.lifting.ports import Port
from hawser.cli.images.lifting.selection import Selection
from hawser.cli.images.lifting.survey import Survey
from hawser.cli.images.lifting.transfer import printable
from hawser.cli.images.lifting.volumes import Volume, volumes

OLDEST_SYSTEMD = 219
CGROUP_V2_ONLY = 258
_SHOWN_KINDS = (".service", ".socket", ".timer", ".path")
_OWN_GUARDS = ("systemd-", "dbus", "user@", "user-runtime-dir@")  # systemd's own parts, kept without a word


@dataclass(frozen=True)
class Running:
    """What only the running machine tells."""

    addresses: frozenset[str] = frozenset()
    ports: tuple[Port, ...] = ()
    systemd: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The findings; `document` is what -o json shows."""

    name: str
    source: str
    distribution: str
    systemd: int
    init: str
    application: str
    services: list[Decision]
    ports: list[Port]
    volumes: list[Volume]
    addresses: list[addresses.Found]
    more_addresses: int
    sizes: list[tuple[str, int]]
    total: int
    files: int
    left_out: list[tuple[str, str, int]]
    changes: list[Change]
    warnings: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Plain data, in the order it is read."""
        return {
            "image": self.name,
            "source": self.source,
            "distribution": self.distribution,
            "systemd": self.systemd or None,
            "init": self.init,
            "application": self.application,
            "size": self.total,
            "files": self.files,
            "directories": [{"path": path, "size": size} for path, size in self.sizes],
            "services": {
                "kept": [d.unit for d in self.services if d.enabled and not d.masked],
                "masked": [asdict(decision) for decision in self.services if decision.masked],
            },
            "ports": [asdict(port) for port in self.ports],
            "volumes": [asdict(volume) for volume in self.volumes],
            "addresses": [{**asdict(found), "path": "/" + printable(found.path)} for found in self.addresses],
            "moreAddresses": self.more_addresses,
            "leftOut": [{"path": path, "reason": reason, "seen": seen} for path, reason, seen in self.left_out],
            "changed": [{"path": "/" + printable(change.path), "reason": change.reason} for change in self.changes],
            "warnings": self.warnings,
        }  # fmt: skip


def make(
    name: str, source: str, survey: Survey, running: Running, decisions: Sequence[Decision], changes: Sequence[Change],
    selection: Selection, application: str, asked_volumes: Sequence[str] = (),
) -> Report:  # fmt: skip
    """The report of a survey and of what was decided on it."""
    own = addresses.own_addresses(survey.files) | running.addresses
    found, more = addresses.hard_coded(survey.files, own)
    kept = [d.unit for d in decisions if d.enabled and not d.masked]
    systemd = survey.systemd or running.systemd
    release = survey.release()
    top = Counter({path: size for path, size in survey.sizes.items() if "/" not in path})
    return Report(
        name=name,
        source=source,
        distribution=release.get("PRETTY_NAME") or release.get("NAME") or "unknown",
        systemd=systemd,
        init=survey.init(),
        application=application,
        services=[d for d in decisions if _shown(d)],
        ports=list(running.ports) or ports.configured(survey, kept),
        volumes=volumes(survey, asked_volumes),
        addresses=found,
        more_addresses=more,
        sizes=[("/" + printable(path), size) for path, size in top.most_common()],
        total=survey.total,
        files=survey.count,
        left_out=[("/" + rule.pattern, rule.reason, survey.left_out[rule]) for rule in selection.rules],
        changes=list(changes),
        warnings=[*running.notes, *survey.notes, *_warnings(survey, systemd, selection)],
    )


def _shown(decision: Decision) -> bool:
    if decision.masked:
        return True
    return decision.enabled and decision.unit.endswith(_SHOWN_KINDS) and not decision.unit.startswith(_OWN_GUARDS)


def _warnings(survey: Survey, systemd: int, selection: Selection) -> list[str]:
    found = []
    init = survey.init()
    if init == "systemd" and 0 < systemd < OLDEST_SYSTEMD:
        found.append(
            f"systemd {systemd} is older than {OLDEST_SYSTEMD}, the oldest that is known to boot in a container"
        )
    if systemd >= CGROUP_V2_ONLY:
        found.append(f"systemd {systemd} runs on nodes with cgroup v2 only")
    if init == "minimal":
        found.append(
            "neither systemd, sysvinit nor busybox init is there: services do not start by themselves, only the "
            "application does"
        )
    keys = [path for path in survey.files if path.startswith("etc/ssh/ssh_host_") and not path.endswith(".pub")]
    if keys:
        renewed = "; --drop-host-keys makes new ones" if init == "systemd" else ""
        found.append(f"SSH host keys are in the image, for whoever has the image{renewed}")
    if survey.devices:
        found.append(f"{survey.devices} device nodes are left out: devices are the pod's")
    for path, size in sorted(survey.sparse.items()):
        found.append(f"/{printable(path)} is sparse and takes {size >> 20} MiB on every node once unpacked")
    if not survey.count:
        found.append("there are no files")
    return found

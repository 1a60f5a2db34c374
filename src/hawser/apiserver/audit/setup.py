"""The audit log's part of the command line, and its start."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hawser.apiserver.audit.recorder import Auditor

log = logging.getLogger("hawser.apiserver")
_MIB = 1024 * 1024
_SIZE = 100


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """policy: what is recorded. path: of the log, ``-`` is the standard output. size: in MiB, at which it is rotated.

    backups, days: how many rotated files are kept, and how long; 0: without a limit.
    """

    policy: Path | None = None
    path: str = ""
    size: int = 0
    backups: int = 0
    days: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, called as kube-apiserver's."""
    add = parser.add_argument
    add("--audit-policy-file", type=Path, metavar="FILE", help="which requests are recorded (audit.k8s.io/v1 Policy)")
    add("--audit-log-path", default="", metavar="FILE", help="where they are recorded; -: standard output")
    add("--audit-log-maxsize", type=int, default=0, metavar="MIB", help="rotate the log at this size (default: 100)")
    add("--audit-log-maxbackup", type=int, default=0, metavar="N", help="keep so many rotated files (0: all)")
    add("--audit-log-maxage", type=int, default=0, metavar="DAYS", help="keep rotated files so long (0: for ever)")


def options(given: argparse.Namespace) -> AuditOptions:
    """What the flags say."""
    return AuditOptions(
        given.audit_policy_file,
        given.audit_log_path,
        given.audit_log_maxsize,
        given.audit_log_maxbackup,
        given.audit_log_maxage,
    )


def start(given: AuditOptions) -> Auditor | None:
    """The auditor, or None when nothing is to be recorded. Raises OSError, PolicyError."""
    if given.policy is None or not given.path:
        if given.policy is not None or given.path:
            log.warning("nothing is audited: both --audit-policy-file and --audit-log-path are needed")
        return None
    from hawser.apiserver.audit.log import AuditLog
    from hawser.apiserver.audit.policy import Policy
    from hawser.apiserver.audit.recorder import Auditor

    policy = Policy.read(given.policy)
    path = None if given.path == "-" else Path(given.path)
    return Auditor(policy, AuditLog(path, (given.size or _SIZE) * _MIB, given.backups, given.days))

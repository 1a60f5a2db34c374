"""Building rich images: a distribution's packages with systemd, services that boot fast in a container, an overlay.

mmdebstrap does the installing. The layer of packages is kept in a cache by what it is made of, so a change of the
overlay or of the command takes a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hawser.cli.images.description import RichImage
from hawser.cli.images.oci import directory_entries, write_archive, write_layer
from hawser.cli.images.sources import host_sources

CACHE = Path("/var/cache/hawser/images")
BASE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "procps", "iproute2", "ca-certificates"),
    *("openssh-server", "cron", "rsyslog", "logrotate"),
)
_RECIPE = 1  # part of the cache's key: raise it when what follows changes
# Timers and mounts that mean nothing in a container, or the node's work.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-networkd.service", "systemd-resolved.service"),
    *("systemd-networkd-wait-online.service", "systemd-timesyncd.service", "systemd-modules-load.service"),
    *("tmp.mount", "dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "getty.target"),
)
# Every container needs host keys of its own, made at its first boot; the one kind keeps that boot fast.
HOST_KEY_UNIT = """\
[Unit]
Description=This container's own SSH host key
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=multi-user.target
"""
_SETUP = """\
set -eu
cd "$1"
rm -f etc/ssh/ssh_host_*_key etc/ssh/ssh_host_*_key.pub etc/hostname etc/resolv.conf var/lib/dbus/machine-id
: >etc/machine-id
if [ -d etc/ssh ]; then
	printf '%s' "$HOST_KEY_UNIT" >etc/systemd/system/ssh-host-key.service
	chroot . systemctl -q enable ssh-host-key.service
fi
for unit in $MASKED; do ln -sf /dev/null "etc/systemd/system/$unit"; done
# No kernel log in a container; and the login id may be set already, which only CAP_AUDIT_CONTROL may change.
[ ! -e etc/rsyslog.conf ] || sed -i 's/^module(load="imklog")/#&/' etc/rsyslog.conf
sed -i 's/^\\(session[[:space:]]*\\)required\\([[:space:]]*pam_loginuid.so\\)/\\1optional\\2/' etc/pam.d/*
"""

Progress = Callable[[str], None]


class RichBuildError(Exception):
    """An image could not be built; the text ends with what mmdebstrap said."""


def build_rich(
    image: RichImage, destination: Path, cache: Path = CACHE, progress: Progress = lambda _line: None
) -> Path:
    """Builds the archive of a rich image at `destination`; takes about 40 s, about 1 s when only the overlay changed.

    `progress` gets one line a step. Needs root and mmdebstrap. Raises RichBuildError.
    """
    base = build_base(image, cache, progress)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        layers = [base]
        if image.overlay is not None:
            progress(f"adding {image.overlay}")
            layers.append(write_layer(Path(scratch) / "overlay.tar", directory_entries(image.overlay)))
        progress(f"writing {destination}")
        write_archive(destination, image.name, layers, image.config)
    return destination


def build_base(
    image: RichImage, cache: Path = CACHE, progress: Progress = lambda _line: None, *, plain: bool = False
) -> Path:
    """The layer of an image's packages, from the cache when it is there. Raises RichBuildError.

    plain: the image's own packages and no more, for an image that is no machine.
    """
    try:
        suite, sources = host_sources()
    except (LookupError, OSError) as error:
        raise RichBuildError(str(error)) from None
    cache.mkdir(parents=True, exist_ok=True)
    packages = image.packages if plain else tuple(dict.fromkeys((*BASE_PACKAGES, *image.packages)))
    base = cache / f"base-{_key(image, packages, suite, sources)}.tar"
    with alone(base):
        if not base.exists():
            progress(f"installing {suite} packages: {' '.join(packages)}")
            _install(image, packages, suite, sources, base)
    return base


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps everybody else who is about to make the same file waiting (flock(2) on another one beside it)."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(image: RichImage, packages: tuple[str, ...], suite: str, sources: list[str]) -> str:
    made_of = [_RECIPE, suite, sources, packages, image.run, _MASKED, HOST_KEY_UNIT, _SETUP]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def _install(image: RichImage, packages: tuple[str, ...], suite: str, sources: list[str], base: Path) -> None:
    with tempfile.TemporaryDirectory(dir=base.parent) as scratch:
        setup, run, listed = (Path(scratch) / name for name in ("setup", "run", "host.list"))
        setup.write_text(_SETUP)
        run.write_text("set -eu\n" + "\n".join(image.run) + "\n")
        listed.write_text("\n".join(sources) + "\n")
        partial = Path(scratch) / "base.tar"
        command = [
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", "--quiet"),
            "--include=" + ",".join(packages),
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "info", "locale")),
            f'--customize-hook=sh {setup} "$1"',
            f'--customize-hook=chroot "$1" sh -s <{run}',
            *(suite, str(partial), str(listed)),
        ]
        environment = {
            **{name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")},
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SOURCE_DATE_EPOCH": "0",
            "MASKED": " ".join(_MASKED),
            "HOST_KEY_UNIT": HOST_KEY_UNIT,
        }
        try:
            ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        except FileNotFoundError:
            raise RichBuildError("mmdebstrap is missing: install the package mmdebstrap") from None
        if ran.returncode != 0:
            raise RichBuildError("mmdebstrap: " + " | ".join(ran.stderr.strip().splitlines()[-8:]))
        partial.replace(base)

"""An engine as a service of the machine's systemd, so that it is up again after a reboot.

Where its unit is installed, whoever starts the engine in the background has systemd do it. Containers are none of the
unit's: they outlive it, as they outlive the engine's processes.
Source: systemd.unit(5), systemd.service(5), systemd.syntax(7); sd_booted(3).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings, SettingsError
from hawser.runtime.quoting import unit_line, unit_word

FOLDER = Path("/etc/systemd/system")
_BOOTED = Path("/run/systemd/system")
_PATIENCE = 60.0

_TEXT = """\
[Unit]
Description=Hawser, a Kubernetes of this machine, in {shown}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={mounts}
ConditionPathExists={config}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=1
# Containers go on running, and are found again.
KillMode=process
TimeoutStopSec=90
LimitNOFILE=1048576
TasksMax=infinity
# What the kernel ends for want of memory is started again by the supervisor.
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
"""


def name(engine: Settings) -> str:
    """The name of an engine's unit."""
    return "hawser.service" if engine.data_dir == DEFAULT_DATA_DIR else f"hawser-{engine.instance}.service"


def text(engine: Settings, python: str = sys.executable) -> str:
    """The unit. python: what runs the engine. Raises SettingsError for a directory that no unit can name."""
    command = (python, "-m", "hawser.cli.main", "up", "--data-dir", str(engine.data_dir))
    try:
        return _text(engine, command)
    except ValueError as e:
        raise SettingsError(str(e)) from None


def _text(engine: Settings, command: Sequence[str]) -> str:
    return _TEXT.format(
        shown=unit_line(str(engine.data_dir)),
        mounts=unit_word(str(engine.data_dir), dollars=False),
        # Not quoted: it is one path, whatever is in it.
        config=unit_line(str(engine.data_dir / "config.json")),
        command=" ".join(map(unit_word, command)),
    )


def is_installed(engine: Settings) -> bool:
    """Whether systemd runs this machine and has the engine's unit."""
    return _BOOTED.is_dir() and (FOLDER / name(engine)).exists()


def install(engine: Settings) -> Path:
    """Has systemd start the engine from the next boot on; the unit's file. Raises SettingsError, OSError."""
    if not _BOOTED.is_dir():
        raise SettingsError("systemd does not run this machine; have its own init run `hawser up -d` at boot")
    file = FOLDER / name(engine)
    file.write_text(text(engine))
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", file.name)
    return file


def remove(engine: Settings) -> bool:
    """Takes the unit away, not the engine; whether there was one. Raises SettingsError, OSError."""
    file = FOLDER / name(engine)
    if not file.exists():
        return False
    if _BOOTED.is_dir():
        _systemctl("disable", "--quiet", file.name)
    file.unlink()
    if _BOOTED.is_dir():
        _systemctl("daemon-reload")
    return True


def start(engine: Settings, pid: Callable[[], int | None]) -> None:
    """Has systemd start the engine; returns when it is its own supervisor's. Raises SettingsError.

    pid: of the supervisor, None while there is none.
    """
    unit = name(engine)
    _systemctl("start", unit)
    end = time.monotonic() + _PATIENCE
    while pid() is None:
        if time.monotonic() > end:
            raise SettingsError(f"systemd does not bring {unit} up; `journalctl -u {unit}` tells why")
        time.sleep(0.02)


def stop(engine: Settings) -> None:
    """Has systemd stop the engine, if it runs it, until somebody starts it again. Raises SettingsError."""
    _systemctl("stop", name(engine))


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SettingsError(f"systemctl {' '.join(words)}: {done.stderr.strip() or f'exit code {done.returncode}'}")

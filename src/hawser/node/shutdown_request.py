"""How an agent is asked to shut its node down: a file in its run directory, and SIGUSR1."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

REQUEST, DONE = "shutdown.json", "shutdown.done"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, in seconds: shutdownGracePeriod and shutdownGracePeriodCriticalPods, a part of it."""

    grace: float
    critical: float

    @classmethod
    def read(cls, path: Path) -> Request | None:
        """Raises ValueError for a file that is none."""
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        try:
            said = json.loads(text)
            return cls(float(said["grace"]), float(said["critical"]))
        except (TypeError, KeyError, ValueError) as err:
            raise ValueError(f"{path} is no request to shut down") from err

    def write(self, folder: Path) -> None:
        """Asks for it."""
        (folder / DONE).unlink(missing_ok=True)
        fresh = folder / f"{REQUEST}.new"
        fresh.write_text(json.dumps({"grace": self.grace, "critical": self.critical}))
        fresh.replace(folder / REQUEST)

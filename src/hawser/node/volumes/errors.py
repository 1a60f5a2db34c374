"""Why volumes cannot be set up, in kubelet's words."""

from __future__ import annotations

from collections.abc import Sequence


class VolumeError(Exception):
    """A volume cannot be set up now. step: what failed, as kubelet names it in events."""

    def __init__(self, message: str, step: str = "MountVolume.SetUp failed") -> None:
        super().__init__(message)
        self.step = step


class InUse(VolumeError):
    """What cannot be done now can be once no pod uses the volume."""


class NotMounted(Exception):
    """Some of a pod's volumes are not there. events: the reason and message of each thing to report."""

    def __init__(self, events: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for _, message in events))
        self.events = tuple(events)

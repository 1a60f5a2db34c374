"""What is counted of calls to the container runtime, by kubelet's names of them."""

from __future__ import annotations

from hawser.exposition import Histogram, exponential

EDGES = exponential(0.005, 2.5, 14)
_WORDS = {
    "RunPodSandbox": "run_podsandbox",
    "StopPodSandbox": "stop_podsandbox",
    "RemovePodSandbox": "remove_podsandbox",
    "PodSandboxStatus": "podsandbox_status",
    "ListPodSandbox": "list_podsandbox",
    "UpdateContainerResources": "update_container",
    "ImageFsInfo": "image_fs_info",
}


class Operation:
    """One kind of call."""

    __slots__ = ("durations", "errors")

    def __init__(self) -> None:
        self.errors = 0
        self.durations = Histogram(EDGES)


class Operations:
    """All kinds, by the runtime's names of calls (``RunPodSandbox``)."""

    def __init__(self) -> None:
        self._found: dict[str, Operation] = {}

    def of(self, call: str) -> Operation:
        """Where a call is counted."""
        found = self._found.get(call)
        if found is None:
            found = self._found[call] = Operation()
        return found

    def named(self) -> list[tuple[str, Operation]]:
        """Every kind that there was, by kubelet's name: the call's words in lower case, joined by underscores."""
        return sorted((_WORDS.get(call) or _snake(call), operation) for call, operation in self._found.items())


def _snake(call: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in call).strip("_")

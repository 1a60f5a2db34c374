"""Kept root file systems: cleared up when their pods are gone for a day, told of when they hold too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hawser.rich.kept import GONE_SECONDS, Kept, KeptRoots, Step, apply, find, plan
from hawser.runtime.trees import size


def kept(pod: str, **fields: Any) -> Kept:
    return Kept(Path("/kept") / pod, "default", pod, "main", **fields)


@pytest.mark.parametrize(
    ("one", "there", "step"),
    [
        (kept("a"), True, None),
        (kept("a"), False, Step.MARK),
        (kept("a", gone=0.0), True, Step.UNMARK),
        (kept("a", gone=1.0), False, None),
        (kept("a", gone=0.0), False, Step.REMOVE),
        (kept("a", gone=0.0, mounted=True), False, Step.UNMARK),  # a container runs on it, whatever the API says
        (kept("a", mounted=True), False, None),
    ],
)
def test_what_no_pod_has_been_there_for_in_a_day_goes(one: Kept, there: bool, step: Step | None) -> None:
    assert plan([one], lambda _namespace, _pod: there, GONE_SECONDS) == ([(step, one)] if step else [])


def make(root: Path, pod: str, limit: int = 0) -> Path:
    place = root / "default" / pod / "main"
    (place / "upper").mkdir(parents=True)
    (place / "upper/file").write_bytes(b"x" * 10_000)
    (place / "kept.json").write_text(json.dumps({"limit": limit, "mounted": "/nowhere"}))
    return place


def test_steps_can_be_interrupted_and_repeated(tmp_path: Path) -> None:
    place = make(tmp_path, "db-0", 5000)
    (one,) = find(tmp_path)
    assert (one.namespace, one.pod, one.container, one.limit, one.gone) == ("default", "db-0", "main", 5000, None)
    for _ in range(2):
        apply(Step.MARK, one, 100.0)
    assert find(tmp_path)[0].gone == 100.0
    for _ in range(2):
        apply(Step.UNMARK, one, 100.0)
    assert find(tmp_path)[0].gone is None
    assert size(place / "upper") >= 10_000
    apply(Step.REMOVE, one, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_read_is_kept_like_the_rest(tmp_path: Path) -> None:
    (make(tmp_path, "a") / "kept.json").write_text("{")
    (tmp_path / "default/a/evil").symlink_to("/etc")
    assert [one.container for one in find(tmp_path)] == ["main"]


class Recorder:
    """Collects events."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def event(self, obj: dict[str, Any], type: str, reason: str, message: str) -> None:  # noqa: A002
        self.told.append((obj["metadata"]["name"], reason, message))


class Pods:
    """Knows which pods there are."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"metadata": {"name": name, "namespace": namespace}} if name in self.names else None


async def test_whoever_holds_too_much_is_told_of(tmp_path: Path) -> None:
    make(tmp_path, "much", 5000)
    make(tmp_path, "little", 50_000)
    make(tmp_path, "any")
    make(tmp_path, "gone", 1)
    recorder = Recorder()
    await KeptRoots(tmp_path, Pods("much", "little", "any"), recorder)._look()  # type: ignore[arg-type]
    ((name, reason, text),) = recorder.told
    assert (name, reason) == ("much", "RootfsOverLimit")
    assert "rootfs-size allows 5000: it will not be started again" in text
    assert [one.pod for one in find(tmp_path) if one.gone is not None] == ["gone"]

"""Numbers as people read them, and what the exec protocol's status means."""

import errno

import pytest
import typer

from hawser.cli.context import Failure, failures
from hawser.cli.engine.settings import SettingsError
from hawser.cli.exec import exit_code, not_running
from hawser.cli.tables import age_text, size_text
from hawser.client.config import ConfigError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (200, "3m20s"), (601, "10m"), (3600, "1h"), (5400, "1h30m"), (187200, "2d4h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (150 << 20, "150MiB"), (3 << 40, "3072GiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_success_is_zero() -> None:
    assert exit_code({"status": "Success"}) == 0


def test_a_non_zero_exit_code_is_read_from_the_causes() -> None:
    causes = [{"reason": "ExitCode", "message": "3"}]
    assert exit_code({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}) == 3


POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}


@pytest.mark.parametrize(
    ("status", "container", "why"),
    [
        ({}, "", "container a of pod p does not run: pending"),
        ({}, "c", "pod p has no container c; it has a, b"),
        ([{"name": "b", "state": {"running": {}}}], "b", ""),
        ([{"name": "a", "state": {"waiting": {"reason": "X"}}}], "", "container a of pod p does not run: waiting, X"),
        ([{"name": "a", "state": {"terminated": {}}}], "a", "container a of pod p does not run: terminated"),
    ],
)
def test_why_no_command_can_run(status: list[dict[str, object]], container: str, why: str) -> None:
    assert not_running({**POD, "status": {"containerStatuses": status}}, container) == why


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "/data/x: No space left on device"),
        (ConfigError("kubeconfig /x is damaged"), 1, "kubeconfig /x is damaged"),
        (SettingsError("no"), 1, "no"),
        (Failure("what", "hint", 77), 77, "what"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failures_end_in_a_sentence_and_a_code(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, failures():
        raise raised
    assert ended.value.exit_code == code
    assert said in capsys.readouterr().err


def test_a_command_that_cannot_run_is_a_failure() -> None:
    with pytest.raises(Failure, match="no such file"):
        exit_code({"status": "Failure", "message": "exec: no such file"})

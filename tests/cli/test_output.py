"""Numbers as people read them, and what the exec protocol's status means."""

import pytest

from hawser.cli.context import Failure
from hawser.cli.exec import exit_code
from hawser.cli.tables import age_text, size_text


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


def test_a_command_that_cannot_run_is_a_failure() -> None:
    with pytest.raises(Failure, match="no such file"):
        exit_code({"status": "Failure", "message": "exec: no such file"})

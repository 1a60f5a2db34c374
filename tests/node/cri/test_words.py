"""What crun 1.8 and 1.28 say of programs that are not there, and what runc 1.1 says."""

from __future__ import annotations

import orjson
import pytest

from hawser.node.cri.words import usual, usual_status

_TASK = "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
_EXEC = 'failed to exec in container: failed to start exec "6b0e": OCI runtime exec failed: '
_RUN = "unable to start container process: exec: "


@pytest.mark.parametrize(
    ("crun", "runc"),
    [
        (
            _TASK + "executable file `nosuch` not found in $PATH: No such file or directory: unknown",
            _TASK + _RUN + '"nosuch": executable file not found in $PATH: unknown',
        ),
        (
            _TASK + "executable file `/no/such` not found: No such file or directory: unknown",
            _TASK + _RUN + '"/no/such": stat /no/such: no such file or directory: unknown',
        ),
        (
            _EXEC + "executable file `a b` not found in $PATH: No such file or directory: unknown",
            _EXEC + "exec failed: " + _RUN + '"a b": executable file not found in $PATH: unknown',
        ),
    ],
)
def test_a_program_that_is_not_there_is_told_in_runcs_words(crun: str, runc: str) -> None:
    assert usual(crun) == runc
    assert usual(runc) == runc


def test_so_is_a_status_and_nothing_else_of_a_stream() -> None:
    crun = f"{_EXEC}executable file `a` not found in $PATH: No such file or directory: unknown"
    status = {"status": "Failure", "message": crun, "details": {"causes": [{"message": crun}]}, "code": 500}
    told = {**status, "message": usual(crun), "details": {"causes": [{"message": usual(crun)}]}}
    assert orjson.loads(usual_status(orjson.dumps(status))) == told and usual(crun) != crun
    for data in (b"", b"{}", b"\xff executable file `a` not found", orjson.dumps(told)):
        assert usual_status(data) == data


@pytest.mark.parametrize("text", ["", "it says: executable file `x` not found", _TASK + "open executable: unknown"])
def test_all_else_stays(text: str) -> None:
    assert usual(text) == text

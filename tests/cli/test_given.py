"""What `hawser up` is given: checked, kept, and handed to the processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawser.cli.asked import Given
from hawser.cli.context import Failure
from hawser.cli.engine.roles import roles
from hawser.cli.engine.settings import Settings

ENGINE = Settings(
    data_dir=Path("/data"),
    instance="i",
    listen="127.0.0.1:6443",
    kubelet_listen="0.0.0.0:10250",
    node_name="n",
    pod_cidr="10.42.0.0/16",
    service_cidr="10.96.0.0/20",
)
AUDIT = ("audit-log-path=/a log", "audit-policy-file=/p=q")


@pytest.mark.parametrize("argument", ["none=1", "audit-log-path", "audit-log-path=", "--audit-log-path=x", "x\n=1"])
def test_what_is_no_flag_of_the_api_server_is_refused(argument: str) -> None:
    with pytest.raises(Failure, match="--apiserver-arg wants NAME=VALUE"):
        Given(apiserver_args=(argument,)).check()


def test_flags_are_kept_until_others_are_given() -> None:
    given = Given(apiserver_args=AUDIT)
    given.check()
    engine = given.changed(ENGINE)
    assert Given().changed(engine) == engine
    assert Given(listen="127.0.0.1:7000").changed(engine).apiserver_args == "\n".join(AUDIT)
    assert Given(apiserver_args=()).changed(engine) == ENGINE


def test_flags_of_agents_are_kept_for_later_starts() -> None:
    given = Given(agent_args=("eviction-hard=memory.available<1Gi",))
    given.check()
    (agent,) = [role for role in roles(given.changed(ENGINE)) if role.name == "agent"]
    assert agent.argv[-1] == "--eviction-hard=memory.available<1Gi"
    with pytest.raises(Failure, match="--agent-arg wants NAME=VALUE"):
        Given(agent_args=("no-such-flag=1",)).check()


def test_flags_come_last_so_that_they_count() -> None:
    (server,) = [role for role in roles(Given(apiserver_args=AUDIT).changed(ENGINE)) if role.name == "apiserver"]
    assert server.argv[-2:] == ["--audit-log-path=/a log", "--audit-policy-file=/p=q"]

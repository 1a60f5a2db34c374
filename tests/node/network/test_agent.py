from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hawser.native import compiler
from hawser.node.network.agent import NetworkAgent
from hawser.node.network.cni import Request
from hawser.node.network.ipam import PoolError
from hawser.node.network.plugin import plugin_text, program

from .conftest import Pod
from .support import (
    Known,
    NewPod,
    add,
    answer_datagrams,
    answer_with,
    ask,
    config,
    known,
    named,
    plugin,
    say,
    what_is_there,
)


async def test_add_prints_a_result_of_the_specification(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    pod = new_pod()
    status, result = await plugin(short_path, "ADD", "c1", pod.path)
    assert status == 0 and result is not None
    assert result["cniVersion"] == "1.0.0"
    assert result["ips"] == [{"address": "10.77.0.2/32", "gateway": "10.77.0.1", "interface": 1}]
    assert result["interfaces"][1]["sandbox"] == pod.path  # type: ignore[index]


async def test_pods_and_node_reach_each_other(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    one, one_ip = await add(agent, short_path, new_pod, "c1")
    two, two_ip = await add(agent, short_path, new_pod, "c2")
    answer_with(two, b"two")
    assert one.run(lambda: ask(two_ip)) == f"{one_ip} two"
    assert ask(two_ip) == "10.77.0.1 two"


async def test_a_pods_own_loopback_is_up(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    pod, _ = await add(agent, short_path, new_pod, "c1")
    answer_with(pod, b"self")
    assert pod.run(lambda: ask("127.0.0.1")) == "127.0.0.1 self"


async def test_host_ports_lead_to_the_pod_from_everywhere(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]
    pod, _ = await add(agent, short_path, new_pod, "c1", ports)
    other, other_ip = await add(agent, short_path, new_pod, "c2")
    answer_with(pod, b"web")
    assert other.run(lambda: ask("10.77.0.1", 8080)) == f"{other_ip} web"
    assert ask("10.77.0.1", 8080).endswith("web")
    assert ask("127.0.0.1", 8080) == "10.77.0.1 web"
    assert pod.run(lambda: ask("10.77.0.1", 8080)) == "10.77.0.1 web", "a pod reaches itself by its host port"
    await plugin(short_path, "DEL", "c1")
    with pytest.raises(OSError):
        ask("10.77.0.1", 8080)


async def test_pods_cannot_reach_what_listens_on_the_nodes_loopback(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    pod, _ = await add(agent, short_path, new_pod, "c1")
    with socket.create_server(("127.0.0.1", 9090)):

        def attempt() -> None:
            os.system("ip route add 127.0.0.1/32 via 10.77.0.1 table 5; ip rule add to 127.0.0.1 lookup 5 pref 0")
            ask("127.0.0.1", 9090)

        with pytest.raises(OSError):
            pod.run(attempt)


async def test_delete_is_idempotent_and_frees_the_address(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    await add(agent, short_path, new_pod, "c1")
    for _ in range(2):
        assert await plugin(short_path, "DEL", "c1") == (0, None)
    assert agent.record("c1") is None
    assert list((short_path / "state").iterdir()) == []


async def test_delete_succeeds_and_add_says_try_again_when_no_agent_listens(host: None, short_path: Path) -> None:
    agent = NetworkAgent(config(short_path))
    await agent.start()
    await agent.stop()
    assert await plugin(short_path, "DEL", "c1") == (0, None)
    status, result = await plugin(short_path, "ADD", "c1", "/nowhere")
    assert status == 1 and result is not None and result["code"] == 11


async def test_a_failed_add_leaves_nothing(agent: NetworkAgent, short_path: Path) -> None:
    status, result = await plugin(short_path, "ADD", "c1", "/proc/nothing")
    assert status == 1 and result is not None
    assert result["msg"] == "cannot connect the pod"
    assert agent.record("c1") is None


async def test_check_tells_whether_the_link_is_there(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    status, _ = await plugin(short_path, "CHECK", "c1")
    assert status == 1
    await add(agent, short_path, new_pod, "c1")
    assert await plugin(short_path, "CHECK", "c1") == (0, None)


async def test_a_restarted_agent_keeps_pods_and_sweeps_the_dead(host: None, short_path: Path, new_pod: NewPod) -> None:
    first = NetworkAgent(config(short_path))
    await first.start()
    ports = [{"hostPort": 8080, "containerPort": 80}]
    pod, ip = await add(first, short_path, new_pod, "c1", ports)
    await add(first, short_path, new_pod, "c2")
    answer_with(pod, b"still here")
    await first.stop()
    second = NetworkAgent(config(short_path))
    await second.start()
    try:
        assert ask("127.0.0.1", 8080).endswith("still here")
        assert await second.gc(["c1"]) == ["c2"]
        assert ask(ip).endswith("still here")
        _, third_ip = await add(second, short_path, new_pod, "c3")
        assert third_ip not in (ip, "10.77.0.1")
        assert await second.gc(["c1"]) == [], "a sandbox that was added while the list was on its way is kept"
        assert await second.gc(["c1"]) == ["c3"]
    finally:
        await second.teardown()
    left = what_is_there()
    assert "hw" not in left and "hawser" not in left


async def test_an_added_sandbox_can_be_added_again(agent: NetworkAgent, short_path: Path, new_pod: NewPod) -> None:
    pod, ip = await add(agent, short_path, new_pod, "c1")
    status, result = await plugin(short_path, "ADD", "c1", pod.path)
    assert status == 0 and result is not None
    assert result["ips"][0]["address"] == f"{ip}/32"  # type: ignore[index]


async def test_a_pod_gets_the_address_that_calicos_annotation_names(
    host: None, short_path: Path, new_pod: NewPod
) -> None:
    fixed = {"cni.projectcalico.org/ipAddrs": '["10.77.0.99"]'}
    agent = NetworkAgent(config(short_path), Known(known("c1", fixed), known("c2", fixed)))
    await agent.start()
    try:
        _, ip = await add(agent, short_path, new_pod, "c1")
        assert ip == "10.77.0.99"
        second = new_pod().path
        status, result = await plugin(short_path, "ADD", "c2", second, **named("c2"))
        assert status == 1 and result is not None
        assert result["msg"] == "address 10.77.0.99 is in use by pod default/c1"
        await plugin(short_path, "DEL", "c1")
        assert (await plugin(short_path, "ADD", "c2", second, **named("c2")))[0] == 0
    finally:
        await agent.teardown()


async def test_a_pod_may_choose_its_pool(host: None, short_path: Path, new_pod: NewPod) -> None:
    wanted = {"cni.projectcalico.org/ipv4pools": '["storage"]'}
    other = {"cni.projectcalico.org/ipv4pools": '["nothing"]'}
    settings = replace(config(short_path), pools={"storage": IPv4Network("10.60.0.0/30")})
    agent = NetworkAgent(settings, Known(*(known(f"c{i}", wanted) for i in range(5)), known("lost", other)))
    await agent.start()
    try:
        pods = [await add(agent, short_path, new_pod, f"c{i}") for i in range(4)]
        assert [ip for _, ip in pods] == [f"10.60.0.{i}" for i in range(4)]
        answer_with(pods[3][0], b"three")
        assert pods[0][0].run(lambda: ask("10.60.0.3")) == "10.60.0.0 three"
        _, result = await plugin(short_path, "ADD", "c4", new_pod().path, **named("c4"))
        assert result is not None
        assert result["msg"] == "no free address in the pod range 10.60.0.0/30: all 4 are in use"
        _, result = await plugin(short_path, "ADD", "lost", new_pod().path, **named("lost"))
        assert result is not None
        assert result["msg"] == 'there is no pool "nothing" for IPv4; there are: default-ipv4-ippool, storage'
    finally:
        await agent.teardown()


async def test_a_pod_gets_back_the_address_that_it_had(host: None, short_path: Path, new_pod: NewPod) -> None:
    """After a boot no sandbox is left, but the API knows the pods' addresses."""
    before, other = known("c1"), known("c2")
    before["status"]["podIPs"], other["status"]["podIPs"] = [{"ip": "10.77.0.50"}], [{"ip": "10.77.0.2"}]
    agent = NetworkAgent(config(short_path), Known(before, other, known("new")))
    await agent.start()
    try:
        assert (await add(agent, short_path, new_pod, "new"))[1] == "10.77.0.3", "the first one is another's"
        assert (await add(agent, short_path, new_pod, "c1"))[1] == "10.77.0.50"
        assert (await add(agent, short_path, new_pod, "c2"))[1] == "10.77.0.2"
    finally:
        await agent.teardown()


async def test_a_thousand_sandboxes_leak_no_address(agent: NetworkAgent, short_path: Path) -> None:
    for number in range(1000):
        pod, sandbox = Pod(), f"c{number}"
        await agent.handle(Request("ADD", sandbox, pod.path, "eth0"))
        await agent.handle(Request("DEL", sandbox, pod.path, "eth0"))
        pod.close()
    assert list((short_path / "state").iterdir()) == []
    # As many as there are addresses can be had at once.
    for number in range(253):
        agent._allocator.allocate(f"d{number}", "", "", "")
    with pytest.raises(PoolError):
        agent._allocator.allocate("one more", "", "", "")


async def test_datagrams_to_a_host_port_do_not_go_where_they_went_before(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod
) -> None:
    ports = [{"hostPort": 5353, "containerPort": 53, "protocol": "UDP"}]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.bind(("10.77.0.1", 0))
        for name in ("one", "two"):
            pod, _ = await add(agent, short_path, new_pod, name, ports)
            answer_datagrams(pod, name.encode(), 53)
            assert say(client, ("10.77.0.1", 5353)) == name
            await plugin(short_path, "DEL", name)


async def test_a_pods_traffic_is_limited_in_both_directions(host: None, short_path: Path, new_pod: NewPod) -> None:
    rates = {"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "16M"}
    small = {"kubernetes.io/egress-bandwidth": "10"}
    agent = NetworkAgent(config(short_path), Known(known("c1", rates), known("c2", small)))
    await agent.start()
    try:
        pod, ip = await add(agent, short_path, new_pod, "c1")
        answer_with(pod, b"slow")
        assert ask(ip) == "10.77.0.1 slow"

        def limits() -> str:
            return subprocess.run(["tc", "qdisc"], capture_output=True, text=True, check=True).stdout

        assert "tbf 1: dev hw" in limits() and "rate 8Mbit" in limits()
        assert "tbf 1: dev eth0" in pod.run(limits) and "rate 16Mbit" in pod.run(limits)
        status, result = await plugin(short_path, "ADD", "c2", new_pod().path, **named("c2"))
        assert status == 1 and result is not None
        assert result["msg"] == ("annotation kubernetes.io/egress-bandwidth: resource is unreasonably small (< 1kbit)")
        assert agent.record("c2") is None
    finally:
        await agent.teardown()


@pytest.mark.parametrize("kind", ["cc", "tcc", "/usr/bin/perl", None])
async def test_all_plugins_speak_the_protocol(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod, monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    binary, path = short_path / "bin" / "hawser", short_path / "cni.sock"
    binary.unlink()
    if kind is None or kind.startswith("/"):
        binary.write_text(plugin_text(path, kind))
        binary.chmod(0o755)
    elif shutil.which(kind) is None:
        pytest.skip(f"no {kind}")
    else:
        monkeypatch.setattr(compiler, "find_compiler", lambda: kind)
        monkeypatch.setattr(sys, "prefix", str(short_path))
        program(binary, path)
    await add(agent, short_path, new_pod, "c1")
    assert await plugin(short_path, "DEL", "c1") == (0, None)
    status, result = await plugin(short_path, "VERSION", "c1")
    assert status == 0 and result is not None and "1.0.0" in result["supportedVersions"]  # type: ignore[operator]


async def test_the_network_of_an_engine_that_is_down_is_removed(host: None, short_path: Path, new_pod: NewPod) -> None:
    agent = NetworkAgent(config(short_path))
    await agent.start()
    await add(agent, short_path, new_pod, "c1")
    await agent.stop()
    await NetworkAgent(config(short_path)).teardown()
    assert "hw" not in what_is_there() and "hawser" not in what_is_there()
    assert list((short_path / "state").iterdir()) == [] == list((short_path / "conf").iterdir())


def run(*words: str) -> None:
    subprocess.run(words, check=True)


async def test_namespaces_that_a_killed_runtime_left_are_released(
    agent: NetworkAgent, short_path: Path, new_pod: NewPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, _ = await add(agent, short_path, new_pod, "c1")
    folder = short_path / "netns"
    folder.mkdir()
    for name in ("claimed", "left"):
        (folder / name).touch()
        run("mount", "--bind", pod.path, str(folder / name))
    record = agent._held["c1"]
    agent._held["c1"] = replace(record, netns=str(folder / "claimed"))
    agent.config = replace(agent.config, namespaces=folder)
    try:
        await agent.gc(["c1"])
        assert len(list(folder.iterdir())) == 2, "it may be one that is just being made"
        monkeypatch.setattr("hawser.node.network.agent._NAMESPACE_SECONDS", 0.05)
        await asyncio.sleep(0.06)
        await agent.gc(["c1"])
        assert [p.name for p in folder.iterdir()] == ["claimed"]
    finally:
        run("umount", str(folder / "claimed"))

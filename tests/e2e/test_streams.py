"""exec, attach, port-forward, cp and logs for clients of both kinds: WebSocket and SPDY/3.1."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from .conftest import KUBECTL, Engine, Obj, eventually, pod

# What makes kubectl speak the older protocol.
PROTOCOLS: dict[str, dict[str, str]] = {
    "websocket": {},
    "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"},
}
ANSWERS = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 20}
SERVE = "mkdir -p /tmp/www; echo front > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"


@pytest.fixture(scope="module")
def space(engine: Engine) -> Iterator[str]:
    """A namespace with two pods that all tests share: ``a`` reads lines and serves HTTP, ``talker`` writes a log."""
    name = f"streams-{os.getpid()}"
    engine.kubectl("create", "namespace", name)
    manifest = pod("a", f"({SERVE}) & while read line; do echo got $line; done; sleep 1000000")
    manifest["spec"]["containers"][0] |= {"stdin": True, "readinessProbe": ANSWERS}
    engine.apply(manifest, name)
    engine.apply(_talker(), name)
    engine.wait_ready("a", name)
    engine.wait_ready("talker", name)
    for container in ("main", "second"):
        eventually(lambda c=container: len(_logs(engine, name, "talker", "-c", c)) == 4, f"the log of {container}")
    yield name
    engine.kubectl("delete", "namespace", name, "--wait=false", check=False)


def _talker() -> Obj:
    manifest = pod("talker", "for n in 1 2 3; do echo line $n; done; echo bad >&2; sleep 1000000")
    manifest["spec"]["containers"].append(manifest["spec"]["containers"][0] | {"name": "second"})
    return manifest


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sixty_commands_at_once_have_each_their_own_output(engine: Engine, space: str, protocol: str) -> None:
    def one(number: int) -> tuple[int, str, str]:
        script = f"cat; echo err{number} >&2; exit {number % 5}"
        done = engine.kubectl(
            *("exec", "-i", "a", "-n", space, "--", "sh", "-c", script),
            input=f"in{number}",
            check=False,
            env=PROTOCOLS[protocol],
        )
        return done.returncode, done.stdout, next(iter(done.stderr.splitlines()), "")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(60)))
    assert answers == [(n % 5, f"in{n}", f"err{n}") for n in range(60)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_files_are_copied_both_ways_byte_for_byte(engine: Engine, space: str, tmp_path: Path, protocol: str) -> None:
    data = os.urandom(8 << 20)
    (tmp_path / "out").write_bytes(data)
    env = PROTOCOLS[protocol]
    engine.kubectl("cp", str(tmp_path / "out"), f"{space}/a:/tmp/{protocol}", env=env)
    seen = engine.kubectl("exec", "a", "-n", space, "--", "sha256sum", f"/tmp/{protocol}", env=env).stdout
    assert seen.split()[0] == hashlib.sha256(data).hexdigest()
    engine.kubectl("cp", f"{space}/a:/tmp/{protocol}", str(tmp_path / "back"), env=env)
    assert (tmp_path / "back").read_bytes() == data


@contextmanager
def forwarded(engine: Engine, space: str, what: str, env: dict[str, str]) -> Iterator[int]:
    """A local port that leads to port 8080 of a pod."""
    command = [str(KUBECTL), "port-forward", "-n", space, what, ":8080", "--address", "127.0.0.1"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(engine.kubeconfig), **env}
    )
    assert process.stdout is not None
    try:
        match = re.search(r"127\.0\.0\.1:(\d+) ->", process.stdout.readline())
        assert match
        yield int(match[1])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()


def _fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_forwarded_port_carries_many_connections(engine: Engine, space: str, protocol: str) -> None:
    with forwarded(engine, space, "pod/a", PROTOCOLS[protocol]) as port, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: _fetch(port), range(40)))
    assert all(answer.endswith(b"front\n") for answer in answers)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_attach_reaches_the_containers_own_input(engine: Engine, space: str, protocol: str) -> None:
    word = f"hello-{protocol}"
    process = subprocess.Popen(
        [str(KUBECTL), "attach", "-i", "a", "-n", space],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "KUBECONFIG": str(engine.kubeconfig), **PROTOCOLS[protocol]},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(word + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"got {word}\n"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_run_with_input_ends_with_the_containers_code(engine: Engine, space: str, protocol: str) -> None:
    name = f"run-{protocol}"
    done = engine.kubectl(
        *("run", name, "-n", space, "--image=busybox:1.36", "--restart=Never", "-i", "--rm", "--quiet"),
        *("--command", "--", "sh", "-c", "cat; exit 3"),
        input="once\n",
        check=False,
        env=PROTOCOLS[protocol],
    )
    assert done.stdout.startswith("once\n"), done.stderr
    assert done.returncode == 3, done.stderr
    assert engine.kubectl("get", "pod", name, "-n", space, check=False).returncode == 1


def _logs(engine: Engine, space: str, *args: str) -> list[str]:
    return engine.kubectl("logs", "-n", space, *args).stdout.splitlines()


LINES = ["line 1", "line 2", "line 3"]
CASES: dict[str, tuple[list[str], Callable[[list[str]], bool]]] = {
    "all": (["-c", "main"], lambda out: sorted(out) == ["bad", *LINES]),
    "the last": (["-c", "main", "--tail=2"], lambda out: len(out) == 2),
    "none": (["-c", "main", "--tail=0"], lambda out: out == []),
    "few bytes": (["-c", "main", "--limit-bytes=4"], lambda out: out in (["line"], ["bad"])),
    "since": (["-c", "main", "--since-time=2100-01-01T00:00:00Z"], lambda out: out == []),
    "timestamps": (["-c", "main", "--timestamps"], lambda out: all(re.match(r"\d{4}-\d\d-\d\dT\S+Z ", o) for o in out)),
    "every container": (["--all-containers", "--prefix"], lambda out: any("/second] line 3" in o for o in out)),
    "by default the first": ([], lambda out: len(out) == 4),
}


@pytest.mark.parametrize("case", CASES)
def test_logs_are_chosen_by(engine: Engine, space: str, case: str) -> None:
    args, right = CASES[case]
    out = _logs(engine, space, "talker", *args)
    assert right(out), out


def test_a_stream_of_one_container_can_be_chosen(engine: Engine, space: str) -> None:
    path = f"/api/v1/namespaces/{space}/pods/talker/log?container=main&stream=Stderr"
    assert engine.kubectl("get", "--raw", path).stdout == "bad\n"


def test_fifty_followers_see_every_line_to_the_end(engine: Engine, space: str) -> None:
    manifest = pod("counter", "for n in $(seq 1 200); do echo $n; usleep 10000; done")
    manifest["spec"]["restartPolicy"] = "Never"
    engine.apply(manifest, space)
    eventually(lambda: engine.get("pod", "counter", space)["status"]["phase"] != "Pending", "a start")
    with ThreadPoolExecutor(25) as pool:
        seen = list(pool.map(lambda _: _logs(engine, space, "-f", "counter"), range(50)))
    assert all(lines == [str(n) for n in range(1, 201)] for lines in seen)


def test_the_log_of_the_instance_before_is_kept(engine: Engine, space: str) -> None:
    engine.apply(pod("crasher", "echo run; exit 1"), space)
    jsonpath = "jsonpath={.status.containerStatuses[0].restartCount}"
    engine.kubectl("wait", "pod/crasher", "-n", space, f"--for={jsonpath}=1", "--timeout=120s")
    assert _logs(engine, space, "-p", "crasher") == ["run"]
    engine.kubectl("delete", "pod", "crasher", "-n", space, "--grace-period=0", "--force")
    refused = engine.kubectl("logs", "-p", "talker", "-c", "main", "-n", space, check=False)
    assert 'previous terminated container "main" in pod "talker" not found' in refused.stderr


def test_a_long_log_is_rotated_and_goes_with_its_pod(engine: Engine, space: str) -> None:
    line = "x" * 1000
    script = f"n=0; while [ $n -lt 24000 ]; do n=$((n+1)); echo $n {line}; done; echo end; sleep 1000000"
    engine.apply(pod("loud", script), space)
    eventually(lambda: engine.get("pod", "loud", space)["status"]["phase"] == "Running", "a start")
    uid = engine.get("pod", "loud", space)["metadata"]["uid"]
    folder = engine.data_dir / "agent/logs/pods" / f"{space}_loud_{uid}" / "main"
    eventually(lambda: len(list(folder.iterdir())) > 1, "rotation")
    eventually(lambda: _logs(engine, space, "loud", "--tail=1") in (["end"], []), "the newest log")
    engine.kubectl("delete", "pod", "loud", "-n", space, "--grace-period=0", "--force")
    eventually(lambda: not folder.exists(), "no trace of its logs")


@pytest.mark.parametrize(("protocol", "text"), [("", False), ("binary.k8s.io", False), ("base64.binary.k8s.io", True)])
@pytest.mark.parametrize("follow", [False, True])
async def test_logs_come_over_websockets_too(
    engine: Engine, space: str, protocol: str, text: bool, follow: bool
) -> None:
    token = (engine.data_dir / "pki" / "tokens.csv").read_text().split(",")[0]
    tls = ssl.create_default_context(cafile=str(engine.data_dir / "pki" / "ca.crt"))
    server = json.loads((engine.data_dir / "config.json").read_text())["listen"]
    url = f"https://{server}/api/v1/namespaces/{space}/pods/talker/log?container=main&follow={str(follow).lower()}"
    headers = {"Authorization": f"Bearer {token}"}
    seen = b""
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(url, protocols=[protocol] if protocol else [], ssl=tls) as client,
    ):
        assert client.protocol == (protocol or None)
        assert not (await client.receive(timeout=60)).data
        if follow:
            await client.ping(b"are you there")
        while b"bad\n" not in seen or not follow:
            message = await client.receive(timeout=60)
            if message.type is aiohttp.WSMsgType.CLOSE:
                break
            assert message.type is (aiohttp.WSMsgType.TEXT if text else aiohttp.WSMsgType.BINARY)
            seen += base64.b64decode(message.data) if text else message.data
        assert client.closed is not follow
    await asyncio.sleep(0.25)  # as aiohttp's documentation says: until its TLS connection is closed
    assert sorted(seen.splitlines()) == [b"bad", b"line 1", b"line 2", b"line 3"]

"""What containers are and see of their node: users, powers, namespaces, names, environment; on real containers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import CONFIG_MAP, POD, RUNTIME_CLASS, SECRET, SERVICE
from hawser.client.client import Client

from .batch import outputs, phase, pod, running, said
from .engine import Engine
from .images import NAMED
from .isolation_cases import FILE_VARIABLES, TABLE, env, image, of_file, own, plain, ref
from .private_containerd import Containerd
from .running import log_of, node_is_there, until

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running(Path(tmp_path_factory.mktemp("isolation")), containerd, network=True) as engine:
        profiles = engine.folder / "agent/seccomp"
        profiles.mkdir(parents=True, exist_ok=True)
        rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}
        (profiles / "no-mkdir.json").write_text(json.dumps(profile))
        yield engine


@pytest.fixture(scope="module")
def written(engine: Engine) -> dict[str, str]:
    """What every pod of the table wrote."""

    async def run() -> dict[str, str]:
        async with Client.from_kubeconfig(engine.kubeconfig) as client:
            await until(lambda: node_is_there(client))
            meta = {"namespace": "default"}
            data = {"a": "1", "odd.name-1": "x"}
            await client.create(
                CONFIG_MAP,
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", **meta}, "data": data},
            )
            await client.create(
                SECRET,
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "hidden", **meta},
                    "stringData": {"b": "two"},
                },
            )
            ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "protocol": "UDP"}]
            await client.create(
                SERVICE,
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": "web-app", **meta},
                    "spec": {"ports": ports},
                },
            )
            return await outputs(client, engine, [pod(n, script, one, **more) for n, script, one, more, _ in TABLE])

    return asyncio.run(run())


@pytest.mark.parametrize(("name", "expected"), [(row[0], row[4]) for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_container_is_what_its_spec_says(written: dict[str, str], name: str, expected: str) -> None:
    text = written[name]
    assert (text == expected) if "\n" in expected and "#" not in expected else (expected in text), text


REJECTED = [
    (
        "unsafe-sysctl",
        own(sysctls=[plain("kernel.msgmax", "65536")]),
        "SysctlForbidden",
        'forbidden sysctl: "kernel.msgmax" not allowlisted',
    ),
    (
        "apparmor",
        own(appArmorProfile={"type": "RuntimeDefault"}),
        "AppArmor",
        "Cannot enforce AppArmor: AppArmor is not enabled on the host",
    ),
    (
        "strict-groups",
        own(supplementalGroupsPolicy="Strict"),
        "SupplementalGroupsPolicyNotSupported",
        "SupplementalGroupsPolicy=Strict is not supported in this node",
    ),
]


@pytest.mark.parametrize(("name", "spec", "reason", "message"), REJECTED, ids=[row[0] for row in REJECTED])
async def test_what_the_node_cannot_grant_is_rejected(
    client: Client, name: str, spec: Obj, reason: str, message: str
) -> None:
    await client.create(POD, pod(name, "true", **spec))
    status = (await phase(client, name, "Failed"))["status"]
    assert (status["reason"], status["message"]) == (reason, f"Pod was rejected: {message}")
    assert await said(client, name, reason, "") == message
    assert not status.get("containerStatuses")


FAILED = [
    (
        "own-users",
        {},
        {"hostUsers": False},
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces",
    ),
    (
        "no-handler",
        {},
        {"runtimeClassName": "nope"},
        "FailedCreatePodSandBox",
        'rpc error: code = Unknown desc = failed to get sandbox runtime: no runtime for "nope" is configured',
    ),
    (
        "long",
        {},
        {"hostname": "h" * 40, "subdomain": "s" * 20, "setHostnameAsFQDN": True},
        "FailedCreatePodSandBox",
        ".default.svc.cluster.local is too long (64 characters is the max, 87 characters requested)",
    ),
    (
        "root-image",
        own(runAsNonRoot=True),
        {},
        "Failed",
        'Error: container has runAsNonRoot and image will run as root (pod: "root-image_default(',
    ),
    (
        "unknown-user",
        image(NAMED, **own(runAsNonRoot=True)),
        {},
        "Failed",
        "Error: container has runAsNonRoot and image has non-numeric user (user), cannot verify user is non-root",
    ),
    ("no-map", env(ref("A", "configMap", "nowhere", "a")), {}, "Failed", 'Error: configmap "nowhere" not found'),
    (
        "no-key",
        env(ref("A", "secret", "hidden", "z")),
        {},
        "Failed",
        "Error: couldn't find key z in Secret default/hidden",
    ),
    (
        "no-profile",
        own(seccompProfile={"type": "Localhost", "localhostProfile": "nothing.json"}),
        {},
        "Failed",
        "nothing.json: no such file or directory",
    ),
    (
        "no-file",
        env(of_file("A", "nothing")),
        FILE_VARIABLES,
        "Failed",
        'Error: environment variable key "nothing" not found in file',
    ),
]


@pytest.mark.parametrize(("name", "one", "spec", "reason", "words"), FAILED, ids=[row[0] for row in FAILED])
async def test_what_cannot_start_says_why(
    client: Client, written: dict[str, str], name: str, one: Obj, spec: Obj, reason: str, words: str
) -> None:
    if name == "no-handler":
        await client.create(
            RUNTIME_CLASS,
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nope"}, "handler": "nope"},
        )
    await client.create(POD, pod(name, "true", one, **spec))
    assert words in await said(client, name, reason, words)
    status = (await client.get(POD, name, "default"))["status"]
    assert status["phase"] == "Pending"
    if reason == "Failed":
        waiting = await until(lambda: _waiting(client, name))
        assert waiting["reason"] in ("CreateContainerConfigError", "CreateContainerError")
    await client.delete(POD, name, "default", grace_period=0)


async def _waiting(client: Client, name: str) -> Obj:
    rows = (await client.get(POD, name, "default"))["status"].get("containerStatuses") or [{}]
    found: Obj = (rows[0].get("state") or {}).get("waiting") or {}
    return found if found.get("reason", "").startswith("Create") else {}


async def test_a_config_that_appears_later_starts_the_container(client: Client, engine: Engine) -> None:
    await client.create(POD, pod("patient", "echo $A", env(ref("A", "configMap", "late", "k"))))
    await said(client, "patient", "Failed", 'configmap "late" not found')
    made: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": "default"}}
    await client.create(CONFIG_MAP, {**made, "data": {"k": "here"}})
    assert log_of(engine, await phase(client, "patient", "Succeeded")) == "here"

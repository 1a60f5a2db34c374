"""What containers are and see of their node: users, powers, namespaces, names, environment; on real containers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import CONFIG_MAP, POD, RUNTIME_CLASS, SECRET, SERVICE
from hawser.client.client import Client

from .batch import log_of, outputs, phase, pod, registered, running, said, until
from .engine import Engine
from .images import BUSYBOX, ENTRY, NAMED, USER
from .private_containerd import Containerd

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]
IDS = "id -u; id -g; id -G"
STATUS = "/bin/busybox grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | /bin/busybox tr '\\t\\n' '  '"


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running(Path(tmp_path_factory.mktemp("isolation")), containerd, network=True) as engine:
        profiles = engine.folder / "agent/seccomp"
        profiles.mkdir(parents=True, exist_ok=True)
        rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}
        (profiles / "no-mkdir.json").write_text(json.dumps(profile))
        yield engine


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(engine.kubeconfig) as made:
        await until(lambda: registered(made))
        yield made


def own(**context: Any) -> Obj:
    return {"securityContext": context}


def image(name: str, **fields: Any) -> Obj:
    return {"image": name, **fields}


def env(*entries: Obj, **fields: Any) -> Obj:
    return {"env": list(entries), **fields}


def field(name: str, path: str) -> Obj:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name: str, what: str, divisor: str) -> Obj:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": what, "divisor": divisor}}}


def ref(name: str, kind: str, obj: str, key: str, **more: Any) -> Obj:
    return {"name": name, "valueFrom": {f"{kind}KeyRef": {"name": obj, "key": key, **more}}}


def plain(name: str, value: str) -> Obj:
    return {"name": name, "value": value}


USERS = [
    ("root", IDS, {}, {}, "0\n0\n0"),
    ("user-and-group", IDS, own(runAsUser=1001, runAsGroup=2002), {}, "1001\n2002\n2002"),
    (
        "groups",
        IDS,
        {},
        own(runAsUser=1001, runAsGroup=2002, supplementalGroups=[3003], fsGroup=4004),
        "1001\n2002\n2002 3003 4004",
    ),
    ("container-first", IDS, own(runAsUser=1002), own(runAsUser=1001), "1002\n0\n0"),
    ("groups-of-the-image", IDS, {}, own(runAsUser=1000), "1000\n1000\n1000 5000"),
    ("numeric-image", IDS, image(USER), {}, "1000\n1000\n1000 5000"),
    ("named-image", IDS, image(NAMED), {}, "1000\n1000\n1000 5000"),
    ("not-root", IDS, image(USER, **own(runAsNonRoot=True)), {}, "1000\n1000\n1000 5000"),
]
POWERS = [
    ("no-capabilities", STATUS, own(capabilities={"drop": ["ALL"]}), {}, "CapEff: 0000000000000000 "),
    ("one-capability", STATUS, own(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}), {}, "0000000000001000 "),
    ("all-but-one", STATUS, own(capabilities={"drop": ["CHOWN"]}), {}, "CapEff: 00000000a80425fa "),
    ("escalation", STATUS, own(allowPrivilegeEscalation=False), {}, "NoNewPrivs: 1 "),
    ("may-escalate", STATUS, {}, {}, "NoNewPrivs: 0 "),
    ("filtered", STATUS, {}, own(seccompProfile={"type": "RuntimeDefault"}), "Seccomp: 2 "),
    ("unfiltered", STATUS, own(seccompProfile={"type": "Unconfined"}), {}, "Seccomp: 0 "),
    (
        "own-filter",
        "/bin/busybox mkdir /tmp/x 2>&1",
        own(seccompProfile={"type": "Localhost", "localhostProfile": "no-mkdir.json"}),
        {},
        "Operation not permitted",
    ),
    ("read-only", "touch /x 2>&1", own(readOnlyRootFilesystem=True), {}, "Read-only file system"),
    ("masked", "/bin/busybox wc -c < /proc/keys; echo 1 2>&1 > /proc/sys/vm/swappiness", {}, {}, "0"),
    (
        "privileged",
        "test -c /dev/kmsg && echo devices; touch /sys/fs/cgroup 2>&1 || /bin/busybox mount -t tmpfs x /tmp && echo m",
        own(privileged=True),
        {},
        "devices",
    ),
]
PLACES = [
    ("name", "/bin/busybox hostname", {}, {}, "name"),
    ("named", "/bin/busybox hostname", {}, {"hostname": "other", "subdomain": "sub"}, "other"),
    (
        "full",
        "/bin/busybox hostname; cat /etc/hosts",
        {},
        {"hostname": "other", "subdomain": "sub", "setHostnameAsFQDN": True},
        "other.sub.default.svc.cluster.local\n# Kubernetes-managed hosts file.",
    ),
    ("override", "/bin/busybox hostname", {}, {"hostnameOverride": "x.example.org"}, "x.example.org"),
    ("x" * 60 + "-is-long", "/bin/busybox hostname", {}, {}, "x" * 60 + "-is"),
    (
        "aliases",
        "cat /etc/hosts",
        {},
        {"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]},
        "# Entries added by HostAliases.\n1.2.3.4\ta\tb",
    ),
    ("host-hosts", "cat /etc/hosts", {}, {"hostNetwork": True}, "# Kubernetes-managed hosts file (host network)."),
    (
        "host-ipc",
        "/bin/busybox readlink /proc/self/ns/ipc",
        {},
        {"hostIPC": True},
        str(Path("/proc/self/ns/ipc").readlink()),
    ),
    (
        "host-net",
        "/bin/busybox readlink /proc/self/ns/net",
        {},
        {"hostNetwork": True},
        str(Path("/proc/self/ns/net").readlink()),
    ),
    (
        "host-pid",
        "/bin/busybox readlink /proc/self/ns/pid",
        {},
        {"hostPID": True},
        str(Path("/proc/self/ns/pid").readlink()),
    ),
    ("own-pid", "echo $$$$", {}, {}, "1"),
    ("shared-pid", "cat /proc/1/comm", {}, {"shareProcessNamespace": True}, "sleep"),
    ("shm", "/bin/busybox df -k /dev/shm | /bin/busybox tail -1", {}, {}, "65536"),
    ("folder", "/bin/busybox pwd", {"workingDir": "/not/there"}, {}, "/not/there"),
    (
        "sysctl",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced",
        {},
        own(sysctls=[plain("net.ipv4.ip_unprivileged_port_start", "99"), plain("kernel/shm_rmid_forced", "1")]),
        "99\n1",
    ),
]
COMMANDS = [
    ("entry-neither", None, image(ENTRY), {}, "entry cmd"),
    ("entry-args", None, image(ENTRY, args=["other", "$(I)"]), {}, "entry other $(I)"),
    ("entry-command", None, image(ENTRY, command=["/bin/echo", "mine"]), {}, "mine"),
    (
        "entry-both",
        None,
        image(ENTRY, command=["/bin/echo", "$(A)"], args=["$$(A)", "$(B)"], env=[plain("A", "1")]),
        {},
        "1 $(A) $(B)",
    ),
]
ENVIRONMENT = [
    (
        "expand",
        'echo "$B|$C|$D"',
        env(plain("A", "1"), plain("B", "$(A)2"), plain("C", "$$(A)"), plain("D", "$(E)")),
        {},
        "12|$(A)|$(E)",
    ),
    (
        "fields",
        'echo "$A|$B|$C|$D|$E"; test -n "$F" -a -n "$G"',
        env(
            field("A", "metadata.name"),
            field("B", "metadata.namespace"),
            field("C", "metadata.labels['app']"),
            field("D", "spec.nodeName"),
            field("E", "spec.serviceAccountName"),
            field("F", "status.podIP"),
            field("G", "status.hostIP"),
        ),
        {},
        "fields|default|fields|node-1|default",
    ),
    (
        "amounts",
        'echo "$A|$B|$C|$D"',
        env(
            resource("A", "limits.cpu", "1m"),
            resource("B", "requests.memory", "1Mi"),
            resource("C", "limits.memory", "1"),
            resource("D", "limits.cpu", "1"),
            resources={"limits": {"cpu": "1500m", "memory": "32Mi"}},
        ),
        {},
        "1500|32|33554432|2",
    ),
    ("unlimited", "echo $A", env(resource("A", "limits.cpu", "1")), {}, str(os.cpu_count())),
    (
        "objects",
        'echo "$A|$B|$C|${D-none}|${E-none}"',
        env(
            ref("A", "configMap", "settings", "a"),
            ref("B", "secret", "hidden", "b"),
            plain("C", "$(A)$(B)"),
            ref("D", "configMap", "settings", "nothing", optional=True),
            ref("E", "secret", "nowhere", "x", optional=True),
        ),
        {},
        "1|two|1two|none|none",
    ),
    (
        "from",
        None,
        {
            "command": ["/bin/busybox", "env"],
            "envFrom": [
                {"prefix": "P_", "configMapRef": {"name": "settings"}},
                {"secretRef": {"name": "hidden"}},
                {"configMapRef": {"name": "nowhere", "optional": True}},
            ],
        },
        {},
        "P_odd.name-1=x",
    ),
    ("services", 'echo "$WEB_APP_SERVICE_HOST|$WEB_APP_PORT_81_UDP_PROTO"', {}, {}, "|udp"),
    (
        "no-services",
        'echo "${WEB_APP_SERVICE_HOST-none}|${KUBERNETES_SERVICE_PORT-none}"',
        {},
        {"enableServiceLinks": False},
        "none|443",
    ),
]
FILE_VARIABLES = {
    "initContainers": [
        {
            "name": "writer",
            "image": BUSYBOX,
            "command": ["/bin/sh", "-c", "echo \"# some\nA='one # two'\nB='line\nline'\" > /v/env"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
    ],
    "volumes": [{"name": "v", "emptyDir": {}}],
}


def of_file(name: str, key: str, **more: Any) -> Obj:
    return {"name": name, "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "env", "key": key, **more}}}


ENVIRONMENT.append(
    (
        "file",
        'echo "$X|$Y|${Z-none}"',
        env(of_file("X", "A"), of_file("Y", "B"), of_file("Z", "C", optional=True)),
        FILE_VARIABLES,
        "one # two|line\nline|none",
    )
)
TABLE = [*USERS, *POWERS, *PLACES, *COMMANDS, *ENVIRONMENT]


@pytest.fixture(scope="module")
def written(engine: Engine) -> dict[str, str]:
    """What every pod of the table wrote."""

    async def run() -> dict[str, str]:
        async with Client.from_kubeconfig(engine.kubeconfig) as client:
            await until(lambda: registered(client))
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
            return await outputs(
                client, engine, [pod(n, script, one, **_spec(more)) for n, script, one, more, _ in TABLE]
            )

    return asyncio.run(run())


def _spec(more: Obj) -> Obj:
    return dict(more)


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

"""Pods whose containers write down what they are and see: name, script, container, pod, and what it has to write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .images import BUSYBOX, ENTRY, NAMED, USER

Obj = dict[str, Any]
IDS = "id -u; id -g; id -G"
STATUS = "/bin/busybox grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | /bin/busybox tr '\\t\\n' '  '"


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
    ("terminal", "test -t 1 && echo yes", {"tty": True, "stdin": True, "stdinOnce": True}, {}, "yes"),
    ("no-terminal", "test -t 1 || echo no", {}, {}, "no"),
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

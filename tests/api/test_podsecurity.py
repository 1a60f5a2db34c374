"""Pod security: what each level forbids, in kube-apiserver's words."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.podsecurity.checks import details, reasons, violations
from hawser.api.podsecurity.levels import LATEST, Level, Policy, Rule, policy_of
from hawser.api.podsecurity.workloads import existing, significant, template

GOOD = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(*containers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"containers": list(containers) or [container("a")], **fields}


def container(name: str, security: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "securityContext": security or {}, **fields}


def said(level: Level, pod: dict[str, Any], version: int = LATEST, annotations: dict[str, str] | None = None) -> str:
    return details(violations(Rule(level, version), {"annotations": annotations or {}}, pod))


def seclevel(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


BASELINE: list[tuple[dict[str, Any], str]] = [
    (spec(), ""),
    (
        spec(hostNetwork=True, hostPID=True, hostIPC=True),
        "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
    ),
    (
        spec(container("a", {"privileged": True}), container("b", {"privileged": True})),
        'privileged (containers "a", "b" must not set securityContext.privileged=true)',
    ),
    (
        spec(container("a", {"capabilities": {"add": ["SYS", "CHOWN", "BPF"]}})),
        'non-default capabilities (container "a" must not include "BPF", "SYS" in securityContext.capabilities.add)',
    ),
    (
        spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]),
        'hostPath volumes (volume "v")',
    ),
    (spec(container("a", ports=[{"hostPort": 80}, {"hostPort": 0}])), 'hostPort (container "a" uses hostPort 80)'),
    (
        spec(container("a", ports=[{"hostPort": 80}]), container("b", ports=[{"hostPort": 81}])),
        'hostPort (containers "a", "b" use hostPorts 80, 81)',
    ),
    (
        spec(container("a", livenessProbe={"httpGet": {"host": "10.0.0.1"}})),
        'probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")',
    ),
    (
        spec(container("a", {"procMount": "Unmasked"})),
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
    ),
    (spec(container("a", {"procMount": "Unmasked"}), hostUsers=False), ""),
    (
        spec(
            container("a", {"seLinuxOptions": {"type": "x"}}),
            securityContext={"seLinuxOptions": {"user": "u", "role": "r"}},
        ),
        (
            'seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "x"; '
            "user may not be set; role may not be set)"
        ),
    ),
    (spec(securityContext={"seLinuxOptions": {"type": "container_engine_t"}}), ""),
    (
        spec(container("a", {"seccompProfile": {"type": "Unconfined"}})),
        'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
        "forbidden sysctls (kernel.msgmax)",
    ),
    (
        spec(securityContext={"windowsOptions": {"hostProcess": True}}),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    ),
    (
        spec(container("a", {"appArmorProfile": {"type": "Unconfined"}})),
        'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")',
    ),
]


@pytest.mark.parametrize(("pod", "words"), BASELINE)
def test_baseline_says_what_would_let_a_pod_out(pod: dict[str, Any], words: str) -> None:
    assert said(Level.BASELINE, pod) == words
    assert said(Level.PRIVILEGED, pod) == ""


def test_a_plain_pod_is_not_restricted_and_every_reason_is_given_at_once() -> None:
    assert said(Level.RESTRICTED, spec(container("c"))) == (
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")'
    )


RESTRICTED: list[tuple[dict[str, Any], str]] = [
    (spec(container("a", GOOD)), ""),
    (
        spec(container("a", seclevel(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}))),
        'unrestricted capabilities (container "a" must not include "CHOWN" in securityContext.capabilities.add)',
    ),
    (
        spec(container("a", seclevel(capabilities={"add": ["CHOWN"]})), container("b", GOOD)),
        (
            'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; '
            'container "a" must not include "CHOWN" in securityContext.capabilities.add)'
        ),
    ),
    (
        spec(container("a", GOOD), volumes=[{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}]),
        'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")',
    ),
    (
        spec(container("a", GOOD), volumes=[{"name": "v", "image": {}}]),
        'restricted volume types (volume "v" uses restricted volume type "unknown")',
    ),
    (
        spec(container("a", seclevel(runAsNonRoot=False)), securityContext={"runAsNonRoot": False}),
        'runAsNonRoot != true (pod and container "a" must not set securityContext.runAsNonRoot=false)',
    ),
    (spec(container("a", seclevel(runAsUser=0))), 'runAsUser=0 (container "a" must not set runAsUser=0)'),
    (spec(container("a", seclevel(runAsUser=0, runAsNonRoot=False)), hostUsers=False), ""),
    (spec(container("a", {"runAsNonRoot": True}), os={"name": "windows"}), ""),
    (
        spec(container("a", seclevel(procMount="Unmasked")), hostUsers=False),
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
    ),
    (
        spec(container("a", seclevel(seccompProfile={"type": "Unconfined"}))),
        'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
]


@pytest.mark.parametrize(("pod", "words"), RESTRICTED)
def test_restricted_says_what_a_careful_pod_must_say(pod: dict[str, Any], words: str) -> None:
    assert said(Level.RESTRICTED, pod) == words


@pytest.mark.parametrize(
    ("level", "version", "pod", "annotations", "words"),
    [
        (Level.BASELINE, 33, spec(container("a", livenessProbe={"httpGet": {"host": "h"}})), {}, ""),
        (
            Level.BASELINE,
            31,
            spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}),
            {},
            "forbidden sysctls (net.ipv4.tcp_rmem)",
        ),
        (
            Level.BASELINE,
            30,
            spec(securityContext={"seLinuxOptions": {"type": "container_engine_t"}}),
            {},
            'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "container_engine_t")',
        ),
        (
            Level.BASELINE,
            18,
            spec(),
            {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"},
            'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")',
        ),
        (
            Level.BASELINE,
            LATEST,
            spec(),
            {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"},
            (
                "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
                '"container.apparmor.security.beta.kubernetes.io/a="unconfined"")'
            ),
        ),
        (Level.RESTRICTED, 7, spec(container("a", {"runAsNonRoot": True})), {}, ""),
        (
            Level.RESTRICTED,
            21,
            spec(container("a", seclevel(capabilities={"add": ["SYS_ADMIN"]}))),
            {},
            'non-default capabilities (container "a" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        ),
    ],
)
def test_checks_are_those_of_the_version_that_is_asked_for(
    level: Level, version: int, pod: dict[str, Any], annotations: dict[str, str], words: str
) -> None:
    assert said(level, pod, version, annotations) == words


def test_labels_say_what_is_enforced_audited_and_warned_of() -> None:
    prefix = "pod-security.kubernetes.io/"
    found, errors = policy_of(
        {
            prefix + "enforce": "baseline",
            prefix + "enforce-version": "v1.30",
            prefix + "audit": "restricted",
            "other": "x",
        }
    )
    assert not errors
    assert found == Policy(Rule(Level.BASELINE, 30), Rule(Level.RESTRICTED), Rule(Level.BASELINE, 30))
    assert [str(found.enforce), str(found.audit)] == ["baseline:v1.30", "restricted:latest"]
    assert policy_of({}) == (Policy(), [])
    assert Policy().idle
    assert not found.idle


def test_labels_that_cannot_be_read_are_said_and_enforce_most() -> None:
    prefix = "pod-security.kubernetes.io/"
    found, errors = policy_of({prefix + "enforce": "strict", prefix + "warn-version": "1.30", prefix + "audit": "x"})
    assert (found.enforce.level, found.audit.level, found.warn.level) == ("restricted", "privileged", "privileged")
    assert list(map(str, errors)) == [
        (
            'metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": '
            "must be one of privileged, baseline, restricted"
        ),
        (
            'metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "x": '
            "must be one of privileged, baseline, restricted"
        ),
        'metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.30": must be "latest" or "v1.x"',
    ]


def test_pods_that_are_there_are_counted_by_what_they_violate() -> None:
    def pod(name: str, **fields: Any) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": spec(**fields)}

    pods = [pod("c", hostPID=True), pod("b", hostPID=True), pod("a", hostPID=True), pod("ok"), pod("d", hostIPC=True)]
    pods.append({"metadata": {"name": "p"}, "spec": spec(container("x", {"privileged": True}), hostPID=True)})
    assert existing("ns", Rule(Level.BASELINE), pods) == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 3 other pods): host namespaces",
        "p: host namespaces, privileged",
    ]
    assert existing("ns", Rule(Level.BASELINE), [pod("r", hostPID=True, runtimeClassName="rich")], {"rich"}) == []
    assert reasons([]) == ""


def test_only_images_containers_and_seccomp_annotations_make_an_update_matter() -> None:
    def pod(image: str, labels: str = "", **fields: Any) -> dict[str, Any]:
        return {"metadata": {"labels": {"a": labels}}, "spec": spec(container("a", image=image), **fields)}

    assert not significant(pod("x", "new"), pod("x"))
    assert significant(pod("y"), pod("x"))
    assert significant(pod("x", ephemeralContainers=[container("e")]), pod("x"))


def test_the_pod_of_a_workload_is_found() -> None:
    inner = {"metadata": {}, "spec": {}}
    assert template("Deployment", {"spec": {"template": inner}}) is inner
    assert template("CronJob", {"spec": {"jobTemplate": {"spec": {"template": inner}}}}) is inner
    assert template("PodTemplate", {"template": inner}) is inner
    assert template("ReplicationController", {"spec": {}}) is None


SECURITY = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "allowPrivilegeEscalation": st.booleans(),
        "runAsNonRoot": st.booleans(),
        "runAsUser": st.sampled_from([0, 1000]),
        "procMount": st.sampled_from(["Default", "Unmasked"]),
        "capabilities": st.fixed_dictionaries(
            {},
            optional={
                "add": st.lists(st.sampled_from(["CHOWN", "SYS_ADMIN", "NET_BIND_SERVICE"]), max_size=2),
                "drop": st.lists(st.sampled_from(["ALL", "CHOWN"]), max_size=1),
            },
        ),
        "seccompProfile": st.fixed_dictionaries({"type": st.sampled_from(["RuntimeDefault", "Unconfined"])}),
        "appArmorProfile": st.fixed_dictionaries({"type": st.sampled_from(["Localhost", "Unconfined"])}),
        "seLinuxOptions": st.fixed_dictionaries(
            {}, optional={"type": st.sampled_from(["container_t", "x"]), "user": st.just("u")}
        ),
    },
)
CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"])},
    optional={"securityContext": SECURITY, "ports": st.just([{"hostPort": 80}])},
)
POD = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINER, min_size=1, max_size=2)},
    optional={
        "securityContext": SECURITY,
        "initContainers": st.lists(CONTAINER, max_size=1),
        "hostUsers": st.booleans(),
        "hostPID": st.booleans(),
        "os": st.just({"name": "windows"}),
        "volumes": st.lists(
            st.sampled_from([{"name": "v", "hostPath": {}}, {"name": "w", "secret": {}}, {"name": "x", "nfs": {}}])
        ),
    },
)


@given(POD, st.sampled_from([*range(37), LATEST]))
def test_what_restricted_allows_baseline_and_privileged_allow_too(pod: dict[str, Any], version: int) -> None:
    before = copy.deepcopy(pod)
    found = {level: violations(Rule(level, version), {}, pod) for level in Level}
    assert pod == before
    assert found[Level.PRIVILEGED] == []
    # In a user namespace root is nobody, and windows pods have no capabilities: that is for restricted to say.
    if version < 25 or "os" not in pod:
        assert bool(found[Level.RESTRICTED]) >= bool(found[Level.BASELINE])
    assert all(violation.reason and violation.detail for listed in found.values() for violation in listed)

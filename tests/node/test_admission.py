"""What a node refuses, user namespaces, and files of variables: tables of cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node import options
from hawser.node.cri.model import Features
from hawser.node.pod import admission, configs, envfile, refs, security, userns
from hawser.node.pod.env import ConfigError, expand_strictly, service_variables
from hawser.node.pod.observed import Waiting

Obj = dict[str, Any]


def pod(uid: str = "u", **spec: Any) -> Obj:
    return {"metadata": {"name": "p", "namespace": "ns", "uid": uid}, "spec": {"containers": [{"name": "c"}], **spec}}


@pytest.mark.parametrize(
    ("name", "spec", "unsafe", "words"),
    [
        ("kernel.shm_rmid_forced", {}, (), ""),
        ("kernel/shm_rmid_forced", {}, (), ""),
        ("net.ipv4.tcp_rmem", {}, (), ""),
        ("net.core.somaxconn", {}, (), '"net.core.somaxconn" not allowlisted'),
        ("net/core/somaxconn", {}, (), '"net.core.somaxconn" not allowlisted'),
        ("net.core.somaxconn", {}, ("net.core.*",), ""),
        ("net.core.somaxconn", {"hostNetwork": True}, ("net.core.*",), "not allowed with host Net enabled"),
        ("kernel.shm_rmid_forced", {"hostIPC": True}, (), "not allowed with host IPC enabled"),
        ("kernel.sem", {}, ("kernel.sem",), ""),
        ("kernel.semaphores", {}, ("kernel.sem",), "not allowlisted"),
    ],
)
def test_sysctls_are_safe_or_allowed(name: str, spec: Obj, unsafe: tuple[str, ...], words: str) -> None:
    one = pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)
    why = admission.rejection(one, Features(), unsafe)
    assert (why.message if why else "").endswith(words) and bool(why) is bool(words)
    if why:
        assert why.reason == "SysctlForbidden"


def test_only_sysctls_of_namespaces_may_be_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--kubeconfig", "k", "--root-dir", "r", "--run-dir", "r", "--runtime-endpoint", "unix:///s"]
    given_names = options.parse([*arguments, "--allowed-unsafe-sysctls", "kernel.msg*,net/core/somaxconn"])
    assert given_names.allowed_unsafe_sysctls == ("kernel.msg*", "net/core/somaxconn")
    with pytest.raises(SystemExit):
        options.parse([*arguments, "--allowed-unsafe-sysctls", "vm.swappiness"])
    assert 'the sysctl "vm.swappiness" are not known to be namespaced' in capsys.readouterr().err


def test_a_runtime_that_can_is_given_strict_groups() -> None:
    one = pod(securityContext={"supplementalGroupsPolicy": "Strict"})
    assert admission.rejection(one, Features()) == Waiting(
        "SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node"
    )
    assert admission.rejection(one, Features(supplemental_groups_policy=True)) is None


def test_each_pod_has_users_of_its_own_and_keeps_them(tmp_path: Path) -> None:
    able = Features(user_namespaces=frozenset({""}))
    made = [userns.of(pod(uid, hostUsers=False), able, "", tmp_path) for uid in ("a", "b", "a")]
    first = [one["uids"][0]["host_id"] for one in made if one]
    assert first == [65536, 131072, 65536]
    (tmp_path / "a" / "userns").unlink()
    assert (userns.of(pod("c", hostUsers=False), able, "", tmp_path) or {})["gids"][0]["host_id"] == 65536
    kept = json.loads((tmp_path / "b" / "userns").read_text())
    assert kept["uidMappings"] == [{"hostId": 131072, "containerId": 0, "length": 65536}]
    assert userns.of(pod(), able, "", tmp_path) is None
    with pytest.raises(ConfigError, match='RuntimeClass handler "x" does not support user namespaces'):
        userns.of(pod(hostUsers=False), able, "x", tmp_path)


def test_mounts_of_a_pod_with_its_own_users_are_mapped(tmp_path: Path) -> None:
    users = userns.of(pod(hostUsers=False), Features(user_namespaces=frozenset({""})), "", tmp_path)
    assert security.namespaces(pod(hostUsers=False), users)["userns_options"]["mode"] == 0
    assert security.namespaces(pod())["userns_options"] == {"mode": 2}


@pytest.mark.parametrize(
    ("spec", "name", "domain", "kernel"),
    [
        ({}, "p", "", "p"),
        ({"hostname": "h"}, "h", "", "h"),
        ({"hostname": "h", "subdomain": "s"}, "h", "s.ns.svc.d", "h"),
        ({"subdomain": "s", "setHostnameAsFQDN": True}, "p", "s.ns.svc.d", "p.s.ns.svc.d"),
        ({"hostname": "h", "setHostnameAsFQDN": True}, "h", "", "h"),
        ({"hostnameOverride": "a.b", "hostname": "h", "subdomain": "s"}, "a.b", "", "a.b"),
    ],
)
def test_names_of_a_pods_machine(spec: Obj, name: str, domain: str, kernel: str) -> None:
    assert configs.hostname(pod(**spec), "d") == (name, domain)
    assert configs.kernel_name(pod(**spec), "d") == kernel


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("A='1'", {"A": "1"}),
        ("\n# note\n  A='1' # more\nB='two\nlines'\n", {"A": "1", "B": "two\nlines"}),
        ("A=''\nA='2'\n", {"A": ""}),
        ("odd name.1='$(X) \"#=' \r\n", {"odd name.1": '$(X) "#='}),
    ],
)
def test_files_of_variables(text: str, values: Obj) -> None:
    assert envfile.parse(text) == values


@pytest.mark.parametrize("text", ["A=1", "A='1", "A='1' B='2'", "='1'", "A", 'A="1"'])
def test_files_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid environment variable format in line 1"):
        envfile.parse(text)


_names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)
_values = st.text(st.characters(exclude_characters="'\r", codec="utf-8"))


@given(st.dictionaries(_names, _values))
def test_what_is_quoted_is_read_as_it_is(values: dict[str, str]) -> None:
    assert envfile.parse("".join(f"{name}='{value}'\n" for name, value in values.items())) == values


def test_labels_are_written_as_go_quotes() -> None:
    one = pod()
    one["metadata"]["annotations"] = {"b": 'x\n"y"\\', "a": "é\x01\u200b"}
    assert refs.field(one, "metadata.annotations", (), "") == 'a="é\\x01\\u200b"\nb="x\\n\\"y\\"\\\\"'


def test_a_path_is_made_of_known_variables_only() -> None:
    assert expand_strictly("$(A)/$$(B)", {"A": "1"}) == "1/$(B)"
    with pytest.raises(ConfigError, match='missing value for "B"'):
        expand_strictly("$(A)/$(B)", {"A": "1"})


def service(name: str, namespace: str, ip: str, port: int = 80) -> Obj:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": [{"port": port}]}}


@pytest.mark.parametrize(
    ("services", "links", "host"),
    [
        ([service("kubernetes", "default", "1.1.1.1")], True, "1.1.1.1"),
        ([service("kubernetes", "default", "1.1.1.1")], False, "1.1.1.1"),
        ([service("kubernetes", "default", "1.1.1.1"), service("kubernetes", "ns", "2.2.2.2")], True, "2.2.2.2"),
        ([service("kubernetes", "ns", "2.2.2.2"), service("kubernetes", "default", "1.1.1.1")], True, "2.2.2.2"),
        ([service("kubernetes", "ns", "2.2.2.2"), service("kubernetes", "default", "1.1.1.1")], False, "1.1.1.1"),
        ([service("kubernetes", "ns", "None"), service("kubernetes", "default", "1.1.1.1")], True, "1.1.1.1"),
        ([service("kubernetes", "other", "3.3.3.3")], True, None),
    ],
)
def test_a_namespaces_own_service_goes_before_the_apis(services: list[Obj], links: bool, host: str | None) -> None:
    made = service_variables(pod(enableServiceLinks=links), services)
    assert made.get("KUBERNETES_SERVICE_HOST") == host


@pytest.mark.parametrize(
    ("what", "whole", "value"),
    [
        ("limits.cpu", {}, "4"),
        ("limits.cpu", {"cpu": "1500m"}, "2"),
        ("limits.memory", {"cpu": "1"}, "1073741824"),
        ("requests.cpu", {"cpu": "1"}, "0"),
        ("limits.hugepages-2Mi", {}, "0"),
    ],
)
def test_what_is_not_limited_has_the_pods_or_the_nodes_limit(what: str, whole: Obj, value: str) -> None:
    one = pod(resources={"limits": whole})
    node = {"cpu": "4", "memory": "1Gi", "hugepages-2Mi": "8Mi"}
    assert refs.resource(one, {"resource": what}, one["spec"]["containers"][0], node) == value

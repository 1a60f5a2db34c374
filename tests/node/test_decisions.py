"""Environment, resources, security, DNS, back-off, probes and files: tables of cases."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.cgroups import Cgroups, Hierarchy, hierarchies, weight
from hawser.node.cri.model import Image
from hawser.node.pod import dns, env, resources, security, stopper
from hawser.node.pod.backoff import Backoff
from hawser.node.pod.configs import Machine
from hawser.node.pod.publisher import changes, patch
from hawser.node.probes.state import Kind, Settings, State, after, initial
from hawser.node.volumes import atomic, claims
from hawser.node.volumes.atomic import File
from hawser.node.volumes.payload import Contents, VolumeError, files

Obj = dict[str, Any]


def pod(container: Obj | None = None, **spec: Any) -> Obj:
    one = {"name": "c", "image": "i", **(container or {})}
    return {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [one], **spec}}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(C)", "$(C)"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("a$b", "a$b"),
    ],
)
def test_references_expand_as_documented(text: str, result: str) -> None:
    assert env.expand(text, {"A": "1", "B": "2"}) == result


def test_environment_takes_its_sources_in_order() -> None:
    secret = {"data": {"S": base64.b64encode(b"secret").decode()}}
    service = {
        "metadata": {"name": "web-app", "namespace": "ns"},
        "spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80}]},
    }
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "A", "value": "$(P_K)/$(WEB_APP_SERVICE_HOST)"},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "none", "optional": True}}},
            {"name": "L", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    obj = pod(container)
    sources = env.Sources({"m": {"data": {"K": "v"}}}, {"s": secret}, [service])
    result = env.environment(obj, obj["spec"]["containers"][0], sources)
    assert {k: result[k] for k in ("P_K", "S", "A", "N", "L")} == {
        "P_K": "v",
        "S": "secret",
        "A": "v/10.0.0.9",
        "N": "p",
        "L": "64",
    }
    assert "O" not in result
    assert result["WEB_APP_PORT_80_TCP"] == "tcp://10.0.0.9:80"
    assert result["WEB_APP_SERVICE_PORT_HTTP"] == "80"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"configMapKeyRef": {"name": "x", "key": "k"}}, 'configmap "x" not found'),
        ({"configMapKeyRef": {"name": "m", "key": "k"}}, "couldn't find key k in ConfigMap ns/m"),
        ({"secretKeyRef": {"name": "x", "key": "k"}}, 'secret "x" not found'),
    ],
)
def test_missing_sources_are_named_in_kubelets_words(source: Obj, words: str) -> None:
    obj = pod({"env": [{"name": "A", "valueFrom": source}]})
    with pytest.raises(env.ConfigError, match=words):
        env.environment(obj, obj["spec"]["containers"][0], env.Sources({"m": {"data": {}}}))


@pytest.mark.parametrize(
    ("given_resources", "wanted"),
    [
        ({}, {"cpu_shares": 2, "oom_score_adj": 1000}),
        (
            {"requests": {"cpu": "500m"}, "limits": {"cpu": "1500m", "memory": "1Gi"}},
            {"cpu_shares": 512, "cpu_period": 100000, "cpu_quota": 150000, "memory_limit_in_bytes": 1 << 30},
        ),
        ({"requests": {"cpu": "100m", "memory": "512Mi"}}, {"oom_score_adj": 500}),
        (
            {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            {"oom_score_adj": -997, "cpu_shares": 1024},
        ),
    ],
)
def test_resources_become_shares_quota_and_limits(given_resources: Obj, wanted: Obj) -> None:
    obj = pod({"resources": given_resources})
    made = resources.container_resources(obj, obj["spec"]["containers"][0], 1 << 30)
    assert made | wanted == made


@pytest.mark.parametrize(("cgroup_v2", "unified"), [(True, {"memory.oom.group": "1"}), (False, None)])
def test_on_cgroup_v2_a_container_out_of_memory_ends_as_a_whole(cgroup_v2: bool, unified: Obj | None) -> None:
    obj = pod({})
    made = resources.container_resources(obj, obj["spec"]["containers"][0], 1 << 30, cgroup_v2=cgroup_v2)
    assert made.get("unified") == unified


@pytest.mark.parametrize(
    ("qos", "path"),
    [("Guaranteed", "/r/podu"), ("Burstable", "/r/burstable/podu"), ("BestEffort", "/r/besteffort/podu")],
)
def test_pods_of_a_class_share_a_cgroup_tier(qos: str, path: str) -> None:
    assert resources.cgroup_parent("r", {**pod(), "status": {"qosClass": qos}}) == path


@pytest.mark.parametrize(
    ("context", "image", "words"),
    [
        ({"runAsNonRoot": True}, Image("i", (), (), 1, None, ""), "image will run as root"),
        ({"runAsNonRoot": True}, Image("i", (), (), 1, None, "web"), "non-numeric user \\(web\\)"),
        ({"runAsNonRoot": True, "runAsUser": 0}, Image("i", (), (), 1, 5, ""), "breaks non-root policy"),
        ({"runAsNonRoot": True}, Image("i", (), (), 1, 5, ""), ""),
    ],
)
def test_run_as_non_root(context: Obj, image: Image, words: str) -> None:
    obj = pod({"securityContext": context})
    container = obj["spec"]["containers"][0]
    if not words:
        assert security.container_security(obj, container, image, "")["run_as_user"] == {"value": 5}
        return
    with pytest.raises(env.ConfigError, match=words):
        security.container_security(obj, container, image, "")


def test_the_pause_process_is_confined_only_when_a_container_is() -> None:
    profile = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    assert security.sandbox_security(pod(), "")["seccomp"] == {"profile_type": 1}
    assert security.sandbox_security(pod(profile), "")["seccomp"] == {"profile_type": 0}


def test_cluster_first_searches_the_cluster_before_the_node() -> None:
    machine = Machine("/r", "c", 1, dns_servers=("10.0.0.10",))
    node = {"servers": ["1.1.1.1"], "searches": ["example.org"], "options": []}
    made = dns.dns_config(pod(dnsConfig={"options": [{"name": "ndots", "value": "2"}]}), machine, node)
    assert made["servers"] == ["10.0.0.10"]
    assert made["searches"] == ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"]
    assert made["options"] == ["ndots:2"]
    assert dns.dns_config(pod(hostNetwork=True), machine, node) == node


def test_what_resolvers_cannot_take_is_left_out_and_reported_in_kubelets_words() -> None:
    machine = Machine("/r", "c", 1, dns_servers=("10.0.0.10",))
    node = {"servers": ["1.1.1.1"], "searches": ["example.org"], "options": []}
    searches = ["y" * 254, *(f"d{i}.example.org" for i in range(40))]
    many = pod(dnsConfig={"nameservers": ["1.1.1.2", "1.1.1.3", "1.1.1.4"], "searches": searches})
    made = dns.dns_config(many, machine, node)
    assert made["servers"] == ["10.0.0.10", "1.1.1.2", "1.1.1.3"]
    assert (len(made["searches"]), made["searches"][4]) == (31, "d0.example.org")
    assert [(reason, text.partition(":")[0]) for reason, text in dns.complaints(many, machine, node)] == [
        (
            "DNSConfigForming",
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is",
        ),
        (
            "DNSConfigForming",
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is",
        ),
    ]
    assert dns.complaints(pod(), machine, node) == []
    assert [reason for reason, _ in dns.complaints(pod(), Machine("/r", "c", 1), node)] == ["MissingClusterDNS"]
    assert dns.complaints(pod(dnsPolicy="Default"), Machine("/r", "c", 1), node) == []


@pytest.mark.parametrize(
    ("searches", "said"),
    [
        (["a"] * 29, ""),
        (["a"] * 30, "Resolv.conf file '/e' contains search line consisting of more than 29 domains!"),
        (["a" * 254], 'Resolv.conf file "/e" contains a search path which length is more than allowed 253 chars!'),
        (
            ["a" * 250] * 9,
            "Resolv.conf file '/e' contains search line which length is more than allowed 2048 chars!",
        ),
    ],
)
def test_a_resolv_conf_without_room_for_the_clusters_domains_is_reported(searches: list[str], said: str) -> None:
    assert dns.node_complaint(Path("/e"), {"servers": [], "searches": searches, "options": []}) == said


def test_the_last_search_and_options_lines_of_a_resolv_conf_count(tmp_path: Path) -> None:
    text = "nameserver 1.1.1.1\nsearch a.\nsearch b. c\noptions x\noptions ndots:1 rotate\nnameserver 1.1.1.2 # two\n"
    parsed = {"servers": ["1.1.1.1", "1.1.1.2"], "searches": ["b", "c"], "options": ["ndots:1", "rotate"]}
    assert dns.parse_resolv_conf(text) == parsed
    etc, resolved = tmp_path / "etc", tmp_path / "resolved"
    assert dns.read_resolv_conf(etc)["servers"] == []
    etc.write_text("nameserver 127.0.0.53\n")
    assert dns.node_resolv_conf(etc, resolved) == etc
    resolved.write_text("nameserver 192.0.2.1\n")
    assert dns.node_resolv_conf(etc, resolved) == resolved
    etc.write_text("nameserver 192.0.2.2\n")
    assert dns.node_resolv_conf(etc, resolved) == etc


def test_back_off_doubles_to_its_limit_and_is_forgotten() -> None:
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(7):
        now = backoff.until("k", now)
        backoff.next("k", now, now)
        delays.append(backoff.delay("k"))
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert backoff.until("k", now + 601) == now + 601


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_a_probe_changes_its_mind_only_after_its_threshold(checks: list[bool], good: int, bad: int) -> None:
    settings, state = Settings(successes=good, failures=bad), initial(Kind.READINESS)
    for number, ok in enumerate(checks, 1):
        state, verdict = after(state, settings, ok)
        if verdict is not None:
            needed = good if verdict else bad
            assert checks[number - needed : number] == [verdict] * needed
            assert state.result is verdict


def test_a_startup_probe_fails_at_its_threshold() -> None:
    state: State = initial(Kind.STARTUP)
    verdicts = []
    for _ in range(3):
        state, verdict = after(state, Settings(failures=3), False)
        verdicts.append(verdict)
    assert verdicts == [None, None, False]


def test_files_change_together(tmp_path: Path) -> None:
    assert atomic.write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o400)})
    first = (tmp_path / "..data").readlink()
    assert not atomic.write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o400)})
    assert (tmp_path / "d/b").stat().st_mode & 0o777 == 0o400
    (tmp_path / "..left_by_a_crash").mkdir()
    assert atomic.write(tmp_path, {"a": File(b"3")})
    assert (tmp_path / "..data").readlink() != first
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("..2")) == ["..data", "a"]
    assert (tmp_path / "a").read_bytes() == b"3"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..data"])
def test_files_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        atomic.write(tmp_path, {name: File(b"")})


def test_projected_volumes_join_their_sources() -> None:
    volume = {
        "name": "v",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {"configMap": {"name": "m", "items": [{"key": "k", "path": "x/k", "mode": 0o400}]}},
                {"secret": {"name": "s", "optional": True}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ],
        },
    }
    made = files(pod(), volume, Contents({"m": {"data": {"k": "v"}}}))
    assert made == {"x/k": File(b"v", 0o400), "n": File(b"p", 0o440)}
    with pytest.raises(VolumeError, match='configmap "m" not found'):
        files(pod(), volume, Contents())


def test_only_what_changed_is_written() -> None:
    old = {"phase": "Pending", "podIPs": [{"ip": "1"}], "qosClass": "BestEffort"}
    new = {"phase": "Pending", "podIPs": [{"ip": "2"}], "containerStatuses": [{"name": "c", "lastState": {}}]}
    changed = changes(old, new)
    assert set(changed) == {"podIPs", "containerStatuses"}
    assert patch("u", old, changed)["status"]["podIPs"] == [{"ip": "2"}, {"$patch": "replace"}]
    assert (
        changes({"containerStatuses": [{"name": "c"}]}, {"containerStatuses": [{"name": "c", "lastState": {}}]}) == {}
    )


def test_a_condition_loses_its_reason() -> None:
    old = {"conditions": [{"type": "Ready", "status": "False", "reason": "X", "message": "y"}]}
    made = patch("u", old, {"conditions": [{"type": "Ready", "status": "True"}]})
    assert made["status"]["conditions"] == [{"type": "Ready", "status": "True", "reason": None, "message": None}]


def test_cgroup_hierarchies_are_found() -> None:
    v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
    assert [h.unified for h in hierarchies(v1)] == [False, True], "the runtime makes groups in both"
    assert not Cgroups("r", hierarchies(v1)).unified
    assert [h.unified for h in hierarchies(v2)] == [True]
    assert Cgroups("r", hierarchies(v2)).unified
    assert (weight(2), weight(1024), weight(262144)) == (1, 39, 10000)


def test_a_pods_cgroups_come_and_go_in_every_hierarchy(tmp_path: Path) -> None:
    found = [Hierarchy(tmp_path / "cpu", frozenset({"cpu"})), Hierarchy(tmp_path / "unified", frozenset())]
    for hierarchy in found:
        hierarchy.path.mkdir()
    cgroups = Cgroups("r", found)
    cgroups.prepare()
    cgroups.create("/r/burstable/podu", {})
    assert cgroups.pods() == {"u": "/r/burstable/podu"}
    for hierarchy in found:
        for file in (p for p in hierarchy.path.rglob("*") if p.is_file()):
            file.unlink()
    assert cgroups.remove("/r/burstable/podu")
    assert not [*tmp_path.rglob("podu")]


@pytest.mark.parametrize(
    ("given", "missing"),
    [("cpuset cpu io memory pids", set()), ("memory pids", {"cpu"}), ("", {"cpu", "memory", "pids"})],
)
def test_controllers_that_the_host_keeps_are_missed(tmp_path: Path, given: str, missing: set[str]) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "cgroup.subtree_control").write_text(given)
    unified = Hierarchy(tmp_path, frozenset())
    assert Cgroups("r", [unified]).missing() == missing
    assert Cgroups("r", [Hierarchy(tmp_path, frozenset({"cpu"})), unified]).missing() == set()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("SIGRTMIN+3", 37),
        ("SIGRTMAX-2", 62),
        ("SIGRTMIN+--3", 0),
        ("SIGRTMIN+²", 0),
        ("SIGRTMIN+" + "1" * 5000, 0),
        ("NOSUCH", 0),
    ],
)
def test_signals_of_manifests_and_images_have_numbers(name: str, number: int) -> None:
    assert stopper.signal_number(name) == number


@pytest.mark.parametrize(("text", "group"), [("1234", 1234), ("", None), ("x", None), ("²", None), ("1" * 5000, None)])
def test_a_volumes_annotation_may_name_a_group(text: str, group: int | None) -> None:
    volume = {"metadata": {"annotations": {"pv.beta.kubernetes.io/gid": text}}}
    assert claims.extra_group(volume) == group

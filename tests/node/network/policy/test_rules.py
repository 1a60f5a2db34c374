"""Policies to tables: compared with what policies mean, for policies and pods of any kind."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.node.network.policy.model import Pod, merged, policy
from hawser.node.network.policy.rules import Table, identifier, plan
from hawser.node.network.policy.table import commands, empty_table

from .model import allowed, passes

Obj = dict[str, Any]
NAMESPACES = {"x": {"ns": "x", "team": "1"}, "y": {"ns": "y", "team": "1"}, "z": {"ns": "z"}}
PORTS = {
    "a": (("http", "tcp", 80), ("dns", "udp", 53)),
    "b": (("http", "tcp", 81),),
    "c": (),
}
PODS = [
    Pod(
        ns, name, {"pod": name, "even": str(i % 2)}, (f"10.0.{i}.{j}",), PORTS[name], f"veth{i}{j}" if ns != "z" else ""
    )
    for i, ns in enumerate("xyz")
    for j, name in enumerate("abc")
]
OUTSIDE = [Pod("", "", {}, ("192.0.2.7",)), Pod("", "", {}, ("192.0.3.7",))]
PACKETS = [
    (source, target, protocol, port)
    for source, target in itertools.product([*PODS, *OUTSIDE], repeat=2)
    for protocol, port in (("tcp", 80), ("tcp", 81), ("udp", 53), ("sctp", 80))
    if source is not target or source.link
]

expressions = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        **({"values": values} if operator in ("In", "NotIn") else {}),
    },
    st.sampled_from(["pod", "even"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from(["a", "b", "0"]), min_size=1, max_size=2),
)
pod_selectors = st.one_of(
    st.just({}),
    st.builds(lambda v: {"matchLabels": {"pod": v}}, st.sampled_from("abc")),
    st.builds(lambda e: {"matchExpressions": e}, st.lists(expressions, max_size=2)),
)
namespace_selectors = st.one_of(
    st.just({}),
    st.just({"matchLabels": {"team": "1"}}),
    st.builds(
        lambda v: {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": [v]}]}, st.sampled_from("xyz")
    ),
)
blocks = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/16", "192.0.2.0/24"]},
        {"cidr": "10.0.0.0/24", "except": ["10.0.0.1/32"]},
        {"cidr": "10.0.1.1/32"},
        {"cidr": "10.0.0.0/30", "except": ["10.0.0.0/31", "10.0.0.2/31"]},
        {"cidr": "2001:db8::/64", "except": ["2001:db8::/96"]},
    ]
)
peers = st.one_of(
    st.builds(lambda p: {"podSelector": p}, pod_selectors),
    st.builds(lambda n: {"namespaceSelector": n}, namespace_selectors),
    st.builds(lambda n, p: {"namespaceSelector": n, "podSelector": p}, namespace_selectors, pod_selectors),
    st.builds(lambda b: {"ipBlock": b}, blocks),
)
ports = st.sampled_from(
    [
        {},
        {"protocol": "UDP"},
        {"port": 80},
        {"protocol": "TCP", "port": 80, "endPort": 90},
        {"protocol": "UDP", "port": 53},
        {"protocol": "SCTP", "port": 80},
        {"port": "http"},
        {"protocol": "UDP", "port": "dns"},
        {"port": "nobody-has-it"},
    ]
)


def rules(side: str) -> st.SearchStrategy[list[Obj]]:
    one = st.builds(
        lambda p, q: {**({side: p} if p is not None else {}), **({"ports": q} if q is not None else {})},
        st.none() | st.lists(peers, max_size=3),
        st.none() | st.lists(ports, max_size=3),
    )
    return st.lists(one, max_size=2)


policies = st.lists(
    st.builds(
        lambda number, ns, selector, types, ingress, egress: {
            "metadata": {"namespace": ns, "name": f"p{number}"},
            "spec": {"podSelector": selector, "policyTypes": sorted(types), "ingress": ingress, "egress": egress},
        },
        st.integers(0, 9),
        st.sampled_from("xyz"),
        pod_selectors,
        st.sets(st.sampled_from(["Ingress", "Egress"]), min_size=1),
        rules("from"),
        rules("to"),
    ),
    max_size=4,
    unique_by=lambda p: (p["metadata"]["namespace"], p["metadata"]["name"]),
)


@settings(max_examples=150)
@given(policies)
def test_a_table_lets_pass_what_the_policies_allow_and_nothing_else(given_policies: list[Obj]) -> None:
    table = plan(map(policy, given_policies), PODS, NAMESPACES)
    for packet in PACKETS:
        source, target, protocol, port = packet
        assert passes(table, packet) == allowed(given_policies, NAMESPACES, packet), (
            f"{source.namespace}/{source.name} to {target.namespace}/{target.name} {protocol} {port}"
        )


@settings(max_examples=60)
@given(policies, policies)
def test_what_no_pod_of_the_node_is_under_is_not_in_the_table(before: list[Obj], after: list[Obj]) -> None:
    table = plan(map(policy, before), [p for p in PODS if not p.link], NAMESPACES)
    assert table == Table()
    assert commands("t", table, table) == ""


def test_policy_types_have_their_defaults() -> None:
    def of(**spec: Any) -> tuple[bool, bool]:
        made = policy({"metadata": {"namespace": "n", "name": "p"}, "spec": {"podSelector": {}, **spec}})
        return made.ingress is not None, made.egress is not None

    assert of() == (True, False)
    assert of(egress=[{}]) == (True, True)
    assert of(policyTypes=["Egress"]) == (False, True)


def test_pods_under_the_same_policies_share_a_chain_and_equal_selectors_a_set() -> None:
    deny = {"metadata": {"namespace": "x", "name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    from_b = {"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}
    some = {
        "metadata": {"namespace": "x", "name": "some"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [from_b, {**from_b, "ports": [{"port": 1}]}],
        },
    }
    table = plan(map(policy, (deny, some)), PODS, NAMESPACES)
    assert len(table.pods) == 1 and len(set(table.ingress.values())) == 1 and len(table.ingress) == 3
    assert list(table.sets.values()) == [frozenset({"10.0.0.1"})]
    assert not table.egress


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p)))))
def test_merged_spans_hold_the_same_numbers(spans: list[tuple[int, int]]) -> None:
    def numbers(listed: Any) -> set[int]:
        return {n for first, last in listed for n in range(first, last + 1)}

    result = merged(spans)
    assert numbers(result) == numbers(spans)
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(result))


def test_names_fit_the_kernel_and_differ() -> None:
    long = ["n" * 63, "p" * 253]
    assert len(identifier("ingress", *long)) <= 120
    assert identifier("ingress", *long) != identifier("ingress", "n" * 63, "p" * 252)
    assert "table inet t" in empty_table("t")

"""The search for devices: what is allocated of what there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.client.informer import key_of
from hawser.scheduler.devices.allocator import allocate
from hawser.scheduler.devices.asks import AllocationError, NodeError
from hawser.scheduler.devices.inventory import Inventory
from hawser.scheduler.devices.ledger import Ledger

from .device_objects import DRIVER, claim, device, device_class, exactly, request, resource_slice, used

IS_BIG = 'device.attributes["gpu.example.com"][?"size"].orValue("") == "big"'


def ledger_of(*allocations):
    ledger = Ledger()
    for number, allocation in enumerate(allocations):
        ledger.put(str(number), allocation)
    return ledger


def allocated(claims, slices, *, classes=(), taken=(), node="n1", labels=None):
    """The names of the devices of each claim; None if there is no solution."""
    found = results(claims, slices, classes=classes, taken=taken, node=node, labels=labels)
    return found and [[one["device"] for one in each["devices"]["results"]] for each in found]


def results(claims, slices, *, classes=(), taken=(), node="n1", labels=None):
    known = {one["metadata"]["name"]: one for one in classes or [device_class()]}
    numbers = itertools.count()
    inventory = Inventory(slices)
    return allocate(claims, known, inventory, ledger_of(*taken), node, labels or {}, lambda: f"share-{next(numbers)}")


def test_the_first_free_devices_are_taken():
    slices = [resource_slice(device("a"), device("b"), device("c"), node="n1")]
    claims = [claim("one"), claim("two")]
    assert allocated(claims, slices) == [["a"], ["b"]]
    assert allocated(claims, slices, taken=[used("b")]) == [["a"], ["c"]]
    assert allocated(claims, slices, taken=[used("b", "c")]) is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('device.driver == "gpu.example.com"', "small"),
        (IS_BIG, "big"),
        ('device.attributes["gpu.example.com"].cores > 4', "big"),
        ('"other.example.com" in device.attributes && device.attributes["other.example.com"].fast', "other"),
        ('has(device.attributes["other.example.com"].fast)', "other"),
        ('device.capacity["gpu.example.com"].memory.compareTo(quantity("20Gi")) > 0', "big"),
        ('device.attributes["gpu.example.com"].version.isGreaterThan(semver("1.5.0"))', "big"),
        ('!("size" in device.attributes["gpu.example.com"])', "other"),
        (
            'cel.bind(own, device.attributes["gpu.example.com"], own.cores > 4 && cel.bind(s, own.size, s == "big"))',
            "big",
        ),
    ],
)
def test_expressions_select_devices(expression, expected):
    version = {"version": "1.2.0"}
    small = device("small", size="small", cores=2, version=version, capacity={"memory": "10Gi"})
    big = device("big", size="big", cores=8, version={"version": "2.0.0"}, capacity={"memory": "40Gi"})
    other = device("other", cores=1, version=version, capacity={"memory": "1Gi"}, **{"other.example.com/fast": True})
    slices = [resource_slice(small, big, other, node="n1")]
    assert allocated([claim("one", request("gpu", expression))], slices) == [[expected]]
    assert allocated([claim("one")], slices, classes=[device_class("gpu", expression)]) == [[expected]]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("device.attributes[", "claim default/one: selector #0: CEL compile error: "),
        (
            'device.attributes["x"].y',
            "claim default/one: selector #0: CEL runtime error: no such key: y",
        ),
    ],
)
def test_broken_expressions_end_the_search(expression, message):
    with pytest.raises(AllocationError) as caught:
        allocated([claim("one", request("gpu", expression))], [resource_slice(device("a"), node="n1")])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([resource_slice(device("a"), node="n2")], None),
        ([resource_slice(device("a"), allNodes=True)], [["a"]]),
        ([resource_slice(device("a"), nodeSelector={"nodeSelectorTerms": [{"matchExpressions": []}]})], None),
        (
            [resource_slice(device("a", nodeName="n2"), device("b", allNodes=True), perDeviceNodeSelection=True)],
            [["b"]],
        ),
        # A part of a pool is not enough, and older generations do not count.
        ([resource_slice(device("a"), node="n1", count=2)], None),
        (
            [
                resource_slice(device("a"), node="n1", generation=1),
                resource_slice(device("b"), node="n1", generation=2),
            ],
            [["b"]],
        ),
        (
            [
                resource_slice(device("a"), node="n1", count=2, name="s2"),
                resource_slice(device("b"), node="n1", count=2, name="s1"),
            ],
            [["b"]],
        ),
    ],
)
def test_devices_are_those_that_the_node_reaches_in_whole_pools(slices, expected):
    assert allocated([claim("one")], slices) == expected


def test_a_pool_with_a_name_twice_is_invalid():
    with pytest.raises(NodeError, match="invalid resource pools were encountered"):
        allocated([claim("one")], [resource_slice(device("a"), device("a"), node="n1")])


def test_all_means_every_device_that_matches_and_at_least_one():
    slices = [resource_slice(device("a", size="big"), device("b", size="s"), device("c", size="big"), node="n1")]
    everything = claim("one", request("gpu", IS_BIG, mode="All"))
    assert allocated([everything], slices) == [["a", "c"]]
    assert allocated([everything], slices, taken=[used("c")]) is None
    assert allocated([everything], [resource_slice(device("b", size="s"), node="n1")]) is None
    with pytest.raises(NodeError) as caught:
        allocated([everything], [resource_slice(device("a", size="big"), node="n1", count=2)])
    assert str(caught.value) == (
        "claim default/one, request gpu: asks for all devices, but resource pool gpu.example.com/n1 is currently "
        "being updated"
    )


def test_administrators_use_what_others_have():
    slices = [resource_slice(device("a"), node="n1")]
    admin = claim("one", request(adminAccess=True))
    (found,) = results([admin], slices, taken=[used("a")])
    assert found["devices"]["results"] == [
        {"request": "gpu", "driver": DRIVER, "pool": "n1", "device": "a", "adminAccess": True}
    ]
    # And nobody minds them.
    assert allocated([claim("two")], slices, taken=[used("a", adminAccess=True)]) == [["a"]]
    assert allocated([claim("one", request(adminAccess=True), request("more", adminAccess=True))], slices) is None


def test_constraints_hold_among_the_devices_of_a_claim():
    slices = [
        resource_slice(device("a", numa=0), device("b", numa=1), device("c"), device("d", numa=1), node="n1"),
    ]
    same = {"matchAttribute": "gpu.example.com/numa"}
    other = {"distinctAttribute": "gpu.example.com/numa"}
    assert allocated([claim("one", request(count=2), constraints=[same])], slices) == [["b", "d"]]
    assert allocated([claim("one", request(count=2), constraints=[other])], slices) == [["a", "b"]]
    assert allocated([claim("one", request(count=3), constraints=[same])], slices) is None
    both = claim("one", request("x"), request("y"), constraints=[{**same, "requests": ["x", "y"]}])
    assert allocated([both], slices) == [["b", "d"]]
    one = claim("one", request("x"), request("y"), constraints=[{**same, "requests": ["x"]}])
    assert allocated([one], slices) == [["a", "b"]]


def test_of_a_list_of_choices_the_first_that_can_be_had_is_taken():
    choices = {
        "name": "gpu",
        "firstAvailable": [
            {"name": "big", **exactly(IS_BIG)},
            {"name": "small", **exactly(count=2)},
        ],
    }
    config = [
        {"requests": ["gpu/small"], "opaque": {"driver": DRIVER, "parameters": {"mode": "small"}}},
        {"requests": ["gpu/big"], "opaque": {"driver": DRIVER, "parameters": {"mode": "big"}}},
    ]
    slices = [resource_slice(device("a", size="s"), device("b", size="s"), device("c", size="big"), node="n1")]
    (found,) = results([claim("one", choices, config=config)], slices)
    assert [(one["request"], one["device"]) for one in found["devices"]["results"]] == [("gpu/big", "c")]
    (found,) = results([claim("one", choices, config=config)], slices, taken=[used("c")])
    assert [(one["request"], one["device"]) for one in found["devices"]["results"]] == [
        ("gpu/small", "a"),
        ("gpu/small", "b"),
    ]
    assert [entry["opaque"]["parameters"]["mode"] for entry in found["devices"]["config"]] == ["small"]


def test_taints_keep_requests_off_that_do_not_tolerate_them():
    taint = {"key": "broken", "value": "yes", "effect": "NoSchedule"}
    slices = [resource_slice(device("a", taints=[taint]), device("b", taints=[{**taint, "effect": "None"}]), node="n1")]
    assert allocated([claim("one")], slices) == [["b"]]
    tolerations = [{"key": "broken", "operator": "Exists"}]
    (found,) = results([claim("one", request(tolerations=tolerations))], slices)
    (result,) = found["devices"]["results"]
    assert (result["device"], result["tolerations"]) == ("a", tolerations)
    wrong = [{"key": "broken", "operator": "Equal", "value": "no"}]
    assert allocated([claim("one", request(tolerations=wrong))], slices) == [["b"]]


def test_partitions_share_the_counters_of_their_pool():
    parts = [device("half-1", consumes={"memory": "20Gi"}), device("half-2", consumes={"memory": "20Gi"})]
    slices = [
        resource_slice(device("whole", consumes={"memory": "40Gi"}), *parts, node="n1", count=2),
        resource_slice(node="n1", count=2, counters={"memory": "40Gi"}),
    ]
    assert allocated([claim("one"), claim("two")], slices) == [["half-1"], ["half-2"]]
    assert allocated([claim("one")], slices, taken=[used("half-2")]) == [["half-1"]]
    assert allocated([claim("one")], slices, taken=[used("whole")]) is None


def test_shared_devices_are_allocated_as_long_as_there_is_capacity():
    shared = device("a", allowMultipleAllocations=True, capacity={"bandwidth": "10"})
    slices = [resource_slice(shared, node="n1")]

    def some(amount):
        return claim(f"c{amount}", request(capacity={"requests": {"bandwidth": amount}}))

    first, second = results([some("4"), some("6")], slices)
    (result,) = first["devices"]["results"]
    assert (result["shareID"], result["consumedCapacity"]) == ("share-0", {"bandwidth": "4"})
    assert second["devices"]["results"][0]["consumedCapacity"] == {"bandwidth": "6"}
    assert results([some("5"), some("6")], slices) is None
    assert results([some("7")], slices, taken=[first]) is None
    assert results([some("6")], slices, taken=[first]) is not None
    # Who does not say how much takes everything.
    assert results([claim("all")], slices, taken=[first]) is None


def test_what_is_taken_of_a_capacity_is_what_its_policy_allows():
    policy = {"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi", "max": "8Gi"}}
    values = {"default": "1", "validValues": ["1", "2", "4"]}
    capacity = {"memory": {"value": "16Gi", "requestPolicy": policy}, "lanes": {"value": "8", "requestPolicy": values}}
    slices = [resource_slice(device("a", allowMultipleAllocations=True, capacity=capacity), node="n1")]

    def consumed(**wanted):
        found = results([claim("one", request(capacity={"requests": wanted}))], slices)
        return found and found[0]["devices"]["results"][0]["consumedCapacity"]

    assert consumed() == {"memory": "1Gi", "lanes": "1"}
    assert consumed(memory="1500Mi", lanes="3") == {"memory": "2Gi", "lanes": "4"}
    assert consumed(memory="9Gi") is None
    assert consumed(lanes="5") is None
    assert consumed(unknown="1") is None


def test_the_allocation_says_where_it_is_and_how_it_is_configured():
    selector = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": ["r1"]}]}]}
    opaque = {"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}
    classes = [device_class("gpu", config=[opaque])]
    slices = [resource_slice(device("a"), device("b"), nodeSelector=selector)]
    asked = claim("one", request("x"), request("y"), config=[{"requests": ["y"], **opaque}])
    (found,) = results([asked], slices, classes=classes, labels={"rack": "r1"})
    assert found["nodeSelector"] == selector
    assert found["devices"]["config"] == [
        {"source": "FromClass", "requests": ["x", "y"], **opaque},
        {"source": "FromClaim", "requests": ["y"], **opaque},
    ]
    only = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    (found,) = results([claim("one")], [resource_slice(device("a"), node="n1")])
    assert found["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [only]}]}
    (found,) = results([claim("one")], [resource_slice(device("a", bindsToNode=True))])
    assert found["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [only]}]}
    (found,) = results([claim("one")], [resource_slice(device("a"))])
    assert "nodeSelector" not in found


def test_devices_that_take_time_to_bind_come_last_and_carry_their_conditions():
    conditions = {"bindingConditions": ["ready"], "bindingFailureConditions": ["failed"]}
    slices = [resource_slice(device("a", **conditions), pool="a"), resource_slice(device("b"), pool="b")]
    assert allocated([claim("one")], slices) == [["b"]]
    (found,) = results([claim("one")], slices, taken=[used("b", pool="b")])
    (result,) = found["devices"]["results"]
    assert {name: result[name] for name in conditions} == conditions


def test_no_claim_gets_more_devices_than_its_status_holds():
    slices = [resource_slice(*(device(f"d{number}") for number in range(40)), node="n1")]
    assert len(allocated([claim("one", request(count=32))], slices)[0]) == 32
    with pytest.raises(AllocationError, match="number of requested devices 33 exceeds the claim limit of 32"):
        allocated([claim("one", request(count=33))], slices)
    choices = {"name": "x", "firstAvailable": [{"name": "all", **exactly(mode="All")}, {"name": "one", **exactly()}]}
    assert len(allocated([claim("one", choices)], slices)[0]) == 1


def test_a_hopeless_search_ends():
    devices = [device(f"d{number:02}", group=number) for number in range(30)]
    slices = [resource_slice(*devices, node="n1")]
    same = {"matchAttribute": "gpu.example.com/group"}
    asked = claim("one", *(request(f"r{number}", count=4) for number in range(4)))
    asked["spec"]["devices"]["constraints"] = [{**same, "requests": ["r3"]}]
    with pytest.raises(NodeError, match="timed out trying to allocate devices"):
        allocated([asked], slices)


def test_devices_that_are_alike_are_tried_once():
    devices = [device(f"d{number:02}", numa=number % 2) for number in range(40)]
    slices = [resource_slice(*devices, node="n1")]
    same = {"matchAttribute": "gpu.example.com/numa"}
    # 21 of one kind there are not, whichever twenty are chosen first.
    assert allocated([claim("one", request(count=21), constraints=[same])], slices) is None
    assert len(allocated([claim("one", request(count=20), constraints=[same])], slices)[0]) == 20


def test_slices_come_change_and_go():
    inventory = Inventory()
    first = resource_slice(device("a"), node="n1", name="s")
    inventory.put(first)
    inventory.put(resource_slice(device("b"), node="n1", name="s"))
    assert [one.spec["name"] for reach in inventory.at("n1", {}) for one in reach.devices] == ["b"]
    inventory.put(resource_slice(device("c"), node="n1", pool="other", name="s"))
    assert [reach.pool.id[1] for reach in inventory.at("n1", {})] == ["other"]
    inventory.remove("s")
    assert not inventory.at("n1", {})
    inventory.remove("s")


# Against every combination that there is

ATTRIBUTES = st.fixed_dictionaries({"size": st.sampled_from(["big", "small"]), "numa": st.integers(0, 1)})


@st.composite
def problems(draw):
    count = draw(st.integers(0, 5))
    devices = [device(f"d{number}", **draw(ATTRIBUTES)) for number in range(count)]
    split = draw(st.integers(0, count))
    slices = [
        resource_slice(*devices[:split], node="n1", pool="p1") if split else resource_slice(node="n1", pool="p1"),
        resource_slice(*devices[split:], node="n1", pool="p2"),
    ]
    taken = draw(st.sets(st.integers(0, count - 1), max_size=2)) if count else set()
    held = [used(f"d{n}", pool="p1" if n < split else "p2") for n in taken]
    claims = []
    for number in range(draw(st.integers(1, 2))):
        wanted = [
            request(f"r{place}", *draw(st.sampled_from([(), (IS_BIG,)])), count=draw(st.integers(1, 2)))
            for place in range(draw(st.integers(1, 2)))
        ]
        kind = draw(st.sampled_from(["", "matchAttribute", "distinctAttribute"]))
        constraints = [{kind: "gpu.example.com/numa"}] if kind else []
        claims.append(claim(f"c{number}", *wanted, constraints=constraints))
    return claims, slices, devices, taken, held


def solvable(claims, devices, taken):
    """Whether any way to hand devices out does, tried one by one."""
    slots = [
        (number, asked["exactly"])
        for number, each in enumerate(claims)
        for asked in each["spec"]["devices"]["requests"]
        for _ in range(asked["exactly"]["count"])
    ]
    free = [one for number, one in enumerate(devices) if number not in taken]
    for chosen in itertools.permutations(free, len(slots)):
        if all(
            not asked.get("selectors") or one["attributes"]["size"]["string"] == "big"
            for (_, asked), one in zip(slots, chosen, strict=True)
        ) and all(
            _satisfied(each, [one for (owner, _), one in zip(slots, chosen, strict=True) if owner == number])
            for number, each in enumerate(claims)
        ):
            return True
    return False


def _satisfied(each, chosen):
    values = [one["attributes"]["numa"]["int"] for one in chosen]
    for constraint in each["spec"]["devices"].get("constraints") or ():
        if "matchAttribute" in constraint and len(set(values)) > 1:
            return False
        if "distinctAttribute" in constraint and len(set(values)) < len(values):
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(problems())
def test_a_solution_is_found_whenever_there_is_one_and_is_one(problem):
    claims, slices, devices, taken, held = problem
    found = results(claims, slices, taken=held)
    assert (found is not None) == solvable(claims, devices, taken)
    if found is None:
        return
    by_name = {one["name"]: one for one in devices}
    given_out = [one["device"] for each in found for one in each["devices"]["results"]]
    assert len(set(given_out)) == len(given_out) and not {f"d{n}" for n in taken} & set(given_out)
    for each, allocation in zip(claims, found, strict=True):
        mine = [by_name[one["device"]] for one in allocation["devices"]["results"]]
        assert _satisfied(each, mine), key_of(each)
        assert len(mine) == sum(one["exactly"]["count"] for one in each["spec"]["devices"]["requests"])

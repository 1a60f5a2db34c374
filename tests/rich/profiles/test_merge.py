"""Which RichProfiles a pod gets, and what they say together. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.rich.profiles.merge import ProfileError, agent, matching, merge, seconds

Obj = dict[str, Any]


def profile(name: str, **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": spec}


def labelled(**labels: str) -> Obj:
    return {"metadata": {"name": "x", "labels": labels}}


@pytest.mark.parametrize(
    ("spec", "selected"),
    [
        ({}, True),
        ({"namespaceSelector": {}, "podSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "shop"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "bank"}}}, False),
        ({"podSelector": {"matchLabels": {"tier": "legacy"}}}, True),
        ({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}, False),
        ({"namespaceSelector": {"matchLabels": {"team": "shop"}}, "podSelector": {"matchLabels": {"x": "y"}}}, False),
    ],
)
def test_both_selectors_have_to_select(spec: Obj, selected: bool) -> None:
    found = matching([profile("a", **spec)], labelled(team="shop"), labelled(tier="legacy"))
    assert bool(found) is selected


def test_profiles_apply_in_the_order_of_their_names() -> None:
    profiles = [profile(name, defaults={"init": name, name: "x"}, units={"mask": [name]}) for name in ("c", "a", "b")]
    merged = merge(matching(profiles, labelled(), labelled()))
    assert merged.defaults == {"init": "a", "a": "x", "b": "x", "c": "x"}
    assert merged.mask == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"agents": [{"name": "w"}]}, "b: the agent w is in RichProfile a, too"),
        ({"hooks": {"prestart": [{"name": "w"}]}}, "b: the prestart hook w is in RichProfile a, too"),
    ],
)
def test_one_name_in_two_profiles_is_a_mistake(spec: Obj, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        merge([profile("a", **spec), profile("b", **spec)])


def test_a_phase_has_names_of_its_own() -> None:
    hooks = {phase: [{"name": "w"}] for phase in ("prestart", "poststop")}
    assert merge([profile("a", hooks=hooks)]).hooks == hooks


def test_an_agent_is_told_in_the_runtimes_words() -> None:
    entry = {
        "name": "w",
        "image": "i",
        "command": ["x", "y"],
        "env": [{"name": "A", "value": "1"}, {"name": "B"}],
        "limits": {"memory": "64Mi", "cpu": "100m"},
        "restart": "OnFailure",
        "restartDelay": "500ms",
    }
    assert agent(entry, {"root": "/r"}) == {
        "name": "w",
        "root": "/r",
        "chroot": True,
        "command": ["x", "y"],
        "env": {"A": "1", "B": ""},
        "memory": 64 << 20,
        "cpu": 0.1,
        "restart": "on-failure",
        "restartSeconds": 0.5,
    }
    assert agent({"name": "w", "hostPath": "/h", "command": ["x"]}, {"root": "/h"})["chroot"] is False


@pytest.mark.parametrize(("text", "value"), [("5", 5.0), ("5s", 5.0), ("1.5s", 1.5), ("250ms", 0.25), ("2m", 120.0)])
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value

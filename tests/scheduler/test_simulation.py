"""``hawser schedule --simulate``: a dump is read as kubectl writes it, and every pending pod gets an answer."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from hawser.cli.main import build
from hawser.scheduler.shapes import GANG_LABEL
from hawser.scheduler.simulation import Simulation

from .conftest import make_node, make_pod
from .device_objects import claim, device, device_class, exactly, request, resource_slice


def answers(*objects):
    return {r.pod.split("/")[1]: (str(r.outcome), r.node) for r in Simulation(objects).run()}


def test_what_is_placed_counts_for_those_that_follow():
    assert answers(make_node("n", cpu="1"), make_pod("a", cpu="600m"), make_pod("b", cpu="600m")) == {
        "a": ("Placed", "n"),
        "b": ("Unschedulable", ""),
    }


def test_the_important_go_first_and_take_the_place_of_others():
    low = make_pod("low", cpu="1", node="n", priority=0)
    high, later = make_pod("high", cpu="800m", priority=9), make_pod("later", cpu="1", priority=1)
    results = list(Simulation([make_node("n", cpu="1"), low, later, high]).run())
    assert [(r.pod, str(r.outcome), r.victims) for r in results] == [
        ("default/high", "Preempting", ("default/low",)),
        ("default/later", "Unschedulable", ()),
    ]


def test_devices_are_handed_out():
    template = {
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"spec": {"devices": {"requests": [request()]}}},
    }
    own = [{"name": "gpu", "resourceClaimTemplateName": "one"}]
    shared = [{"name": "gpu", "resourceClaimName": "shared"}]
    devices = resource_slice(device("a"), device("b"), node="n2")
    nodes = [make_node("n1"), make_node("n2")]
    pods = [make_pod(f"own{number}", resourceClaims=own) for number in (1, 2)]
    pods += [make_pod(f"shares{number}", resourceClaims=shared) for number in (1, 2)]
    found = answers(*nodes, *pods, device_class(), devices, claim("shared"), template)
    assert sorted(found[name] for name in ("own1", "own2")) == [("Placed", "n2"), ("Placed", "n2")]
    assert {found[name] for name in ("shares1", "shares2")} == {("Unschedulable", "")}
    more = resource_slice(device("c"), node="n1")
    found = answers(*nodes, *pods[2:], device_class(), more, claim("shared"))
    assert {found[name] for name in ("shares1", "shares2")} == {("Placed", "n1")}


def test_a_node_that_has_the_first_choice_is_preferred():
    choices = [{"name": name, **exactly(f'device.attributes["gpu.example.com"].kind == "{name}"')} for name in "ab"]
    wish = {"name": "gpu", "firstAvailable": choices}
    wants = make_pod("wants", resourceClaims=[{"name": "gpu", "resourceClaimName": "one"}])
    # By itself the other node would be better: there is more room.
    nodes = [make_node("n1", cpu="2"), make_node("n2", cpu="64"), make_pod("busy", node="n1", cpu="500m")]
    slices = [resource_slice(device("x", kind="a"), node="n1"), resource_slice(device("x", kind="b"), node="n2")]
    assert answers(*nodes, wants, device_class(), *slices, claim("one", wish)) == {"wants": ("Placed", "n1")}
    assert answers(*nodes, wants, device_class(), slices[1], claim("one", wish)) == {"wants": ("Placed", "n2")}


def test_pods_that_are_not_to_be_placed_say_so():
    found = answers(
        make_node("n"),
        make_pod("gated", schedulingGates=[{"name": "x"}]),
        make_pod("foreign", schedulerName="mine"),
        {**make_pod("done"), "status": {"phase": "Succeeded"}},
    )
    assert found == {"gated": ("Gated", ""), "foreign": ("Foreign", "")}


def test_groups_are_whole():
    group = {"kind": "PodGroup", "metadata": {"name": "g", "namespace": "default"}, "spec": {"minMember": 2}}
    members = [make_pod(f"m{n}", cpu="1", labels={GANG_LABEL: "g"}) for n in range(2)]
    assert answers(make_node("n", cpu="1"), group, *members) == dict.fromkeys(("m0", "m1"), ("Unschedulable", ""))
    assert answers(make_node("n", cpu="2"), group, *members) == dict.fromkeys(("m0", "m1"), ("Placed", "n"))
    assert answers(make_node("n", cpu="2"), *members) == dict.fromkeys(("m0", "m1"), ("Unschedulable", ""))


def test_others_leave_for_a_whole_group_or_not_at_all():
    group = {"kind": "PodGroup", "metadata": {"name": "g", "namespace": "default"}, "spec": {"minMember": 2}}
    members = [make_pod(f"m{n}", cpu="1", labels={GANG_LABEL: "g"}, priority=9) for n in range(2)]
    low = make_pod("low", cpu="1", node="n", priority=0)
    later = make_pod("later", cpu="1")
    results = list(Simulation([make_node("n", cpu="2"), group, low, later, *members]).run())
    assert [(r.pod, str(r.outcome), r.victims) for r in results] == [
        ("default/m0", "Preempting", ()),
        ("default/m1", "Preempting", ("default/low",)),
        ("default/later", "Unschedulable", ()),
    ]
    assert answers(make_node("n", cpu="1"), group, low, *members) == dict.fromkeys(("m0", "m1"), ("Unschedulable", ""))


@pytest.fixture
def run(tmp_path):
    def run(*objects, form="json", arguments=(), text=None):
        path = tmp_path / "dump"
        if text is not None:
            path.write_text(text)
        elif form == "json":
            path.write_text(json.dumps({"kind": "List", "items": list(objects)}))
        else:
            path.write_text("---\n".join(yaml.safe_dump(obj) for obj in objects))
        return CliRunner().invoke(build(["schedule"]), ["schedule", "--simulate", str(path), *arguments])

    return run


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_command_prints_a_line_a_pod_and_fails_if_one_has_no_node(run, form):
    result = run(make_node("n", cpu="1"), make_pod("a", cpu="600m"), form=form)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["default", "a", "Placed", "n"]
    result = run(make_node("n", cpu="1"), make_pod("a", cpu="2"), form=form)
    assert result.exit_code == 3
    assert "1 Insufficient cpu." in result.stdout


def test_documents_have_all_there_is_to_say(run):
    low = make_pod("low", cpu="1", node="n")
    result = run(make_node("n", cpu="1"), low, make_pod("a", cpu="1", priority=1), arguments=["-o", "json"])
    document = json.loads(result.stdout)
    assert document["counts"] == {"Preempting": 1}
    assert document["pods"][0]["victims"] == ["default/low"]
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "unexpected end of data"),
        ("a: [", "while parsing"),
        ("just words", "an object has no kind"),
        ('{"kind": "Pod", "metadata": {"name": "a", "namespace": "d"}, "spec": {}}', "there are no nodes"),
        ('{"kind": "Node", "metadata": {}}', "an object is not as Kubernetes has them"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(run, text, said):
    result = run(text=text)
    assert result.exit_code == 1
    assert said in result.stderr


def test_the_schedulers_configuration_is_honoured(run, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
        "profiles: [{schedulerName: mine}]\n"
    )
    dump = (make_node("n"), make_pod("a", schedulerName="mine"))
    assert run(*dump).exit_code == 3
    assert run(*dump, arguments=["--scheduler-config", str(path)]).exit_code == 0
    path.write_text("kind: Pod\n")
    assert run(*dump, arguments=["--scheduler-config", str(path)]).exit_code == 1

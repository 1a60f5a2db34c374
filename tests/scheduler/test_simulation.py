"""``hawser schedule --simulate``: a dump is read as kubectl writes it, and every pending pod gets an answer."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from hawser.api.taints import UNSCHEDULABLE as CORDON
from hawser.cli.main import build
from hawser.scheduler.manifests import BadObjectError
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


def test_room_that_others_make_already_is_kept_for_whom_it_was_promised():
    leaving = make_pod("leaving", cpu="1", node="n")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    leaving["status"] = {"conditions": [target]}
    promised = make_pod("promised", cpu="1", priority=9) | {"status": {"nominatedNodeName": "n"}}
    results = list(Simulation([make_node("n", cpu="1"), leaving, promised, make_pod("late", cpu="1")]).run())
    assert [(r.pod, str(r.outcome), r.node, r.victims) for r in results] == [
        ("default/promised", "Preempting", "n", ()),
        ("default/late", "Unschedulable", "", ()),
    ]
    ready = [make_node("n", cpu="1"), promised, make_pod("late", cpu="1")]
    assert answers(*ready) == {"promised": ("Placed", "n"), "late": ("Unschedulable", "")}


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ({"a": ["user"]}, ("Preempting", "a", ("default/user",))),
        # More important, or one of several: nobody can make room.
        ({"a": ["boss"]}, ("Unschedulable", "", ())),
        ({"a": ["user"], "b": ["user"]}, ("Unschedulable", "", ())),
    ],
)
def test_a_claim_for_one_pod_only_is_taken_over_from_a_less_important_one(others, wanted):
    mounted = [{"name": "v", "persistentVolumeClaim": {"claimName": "own"}}]
    claim = {"volumeName": "v", "accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "1Gi"}}}
    notes = {"pv.kubernetes.io/bind-completed": "yes"}
    metadata = {"name": "own", "namespace": "default", "uid": "c", "annotations": notes}
    objects = [
        make_node("a"),
        make_node("b"),
        {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
        {"kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}}},
        make_pod("bystander", node="a"),
        make_pod("wants", priority=5, volumes=mounted),
    ]
    for node, names in others.items():
        priorities = {"user": 1, "boss": 9}
        objects += [
            make_pod(name if node == "a" else f"{name}-{node}", node=node, priority=priorities[name], volumes=mounted)
            for name in names
        ]
    (result,) = Simulation(objects).run()
    assert (str(result.outcome), result.node, result.victims) == wanted


def test_sentences_are_those_of_the_live_scheduler():
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]
    pods = [make_pod("claims", volumes=volumes), make_pod("shy", cpu="2", preemptionPolicy="Never")]
    first, second = Simulation([make_node("n", cpu="1"), *pods]).run()
    assert first.message == '0/1 nodes are available: persistentvolumeclaim "none" not found. not found'
    assert second.message == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )


def new(kind, name, version="apps/v1", **spec):
    """A manifest of a workload whose pods want half a core at most."""
    container = {"name": "c", "image": "app", "resources": {"limits": {"cpu": "500m"}}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
    else:
        spec["selector"] = {"matchLabels": {"app": name}}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"template": template, **spec}}


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        (new("Deployment", "web", replicas=3), ("web-0", "web-1", "web-2")),
        (new("ReplicaSet", "web"), ("web-0",)),
        (new("StatefulSet", "db", serviceName="db", replicas=2, ordinals={"start": 4}), ("db-4", "db-5")),
        (new("Job", "once", "batch/v1", parallelism=2), ("once-0", "once-1")),
    ],
)
def test_new_workloads_bring_their_pods(manifest, names):
    found = answers(make_node("n", cpu="1"), manifest)
    # What a container may use at most it also asks for, when it does not say what it asks for.
    assert found == {name: ("Placed", "n") if i < 2 else ("Unschedulable", "") for i, name in enumerate(names)}


def test_who_waits_already_goes_before_who_is_new():
    waiting = make_pod("waiting", cpu="1")
    assert answers(make_node("n", cpu="1"), new("ReplicaSet", "web"), waiting) == {
        "waiting": ("Placed", "n"),
        "web-0": ("Unschedulable", ""),
    }


def test_claims_of_a_new_stateful_set_get_the_default_class():
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    claim["spec"]["resources"] = {"requests": {"storage": "1Gi"}}
    made = new("StatefulSet", "db", serviceName="db", replicas=1, volumeClaimTemplates=[claim])
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    waits = {"provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}
    storage_class = {"kind": "StorageClass", "metadata": {"name": "local", "annotations": mark}, **waits}
    assert answers(make_node("n"), made, storage_class) == {"db-0": ("Placed", "n")}
    assert answers(make_node("n"), made) == {"db-0": ("Unschedulable", "")}


def test_new_pods_have_the_priority_of_their_class():
    important = {"kind": "PriorityClass", "metadata": {"name": "important"}, "value": 7}
    usual = {"kind": "PriorityClass", "metadata": {"name": "usual"}, "value": 3, "globalDefault": True}
    pods = [make_pod("plain", cpu="1"), make_pod("urgent", cpu="1", priorityClassName="important")]
    for pod in pods:
        del pod["metadata"]["uid"]
    node, held = make_node("n", cpu="1"), make_pod("held", cpu="1", node="n", priority=5)
    assert answers(node, held, *pods, important, usual) == {
        "urgent": ("Preempting", "n"),
        "plain": ("Unschedulable", ""),
    }


def test_a_new_daemon_set_brings_a_pod_for_each_node_that_it_runs_on():
    taint = {"key": "k", "effect": "NoSchedule"}
    nodes = [make_node("a"), make_node("b", cpu="100m"), make_node("c", taints=[taint])]
    cordoned = make_node("d", unschedulable=True, taints=[{"key": CORDON, "effect": "NoSchedule"}])
    assert answers(*nodes, cordoned, new("DaemonSet", "agent")) == {
        "agent-a": ("Placed", "a"),
        "agent-b": ("Unschedulable", ""),
        "agent-d": ("Placed", "d"),
    }


def test_a_new_node_gets_a_pod_of_each_daemon_set_that_runs_there():
    known, fresh = make_node("known"), make_node("fresh", cpu="1")
    known["metadata"]["uid"] = "u"
    there, elsewhere = new("DaemonSet", "agent"), new("DaemonSet", "gpu")
    elsewhere["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "yes"}
    for ds in (there, elsewhere):
        ds["metadata"] |= {"namespace": "default", "uid": ds["metadata"]["name"]}
    assert answers(known, fresh, there, elsewhere) == {"agent-fresh": ("Placed", "fresh")}


def test_limit_ranges_apply_to_what_is_new():
    container = {"type": "Container", "defaultRequest": {"cpu": "700m"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}}
    limits = {"kind": "LimitRange", "metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [container]}}
    asked = new("ReplicaSet", "web", replicas=2)
    asked["spec"]["template"]["spec"]["containers"][0]["resources"] = {}
    here, there = make_pod("here"), make_pod("there")
    assert answers(make_node("n", cpu="1"), limits, asked, here, there) == {
        "here": ("Placed", "n"),
        "there": ("Placed", "n"),
        "web-0": ("Placed", "n"),
        "web-1": ("Unschedulable", ""),
    }
    large = make_pod("large")
    large["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "3"}}
    del large["metadata"]["uid"]
    with pytest.raises(BadObjectError) as caught:
        Simulation([make_node("n"), limits, large])
    assert str(caught.value) == (
        'Pod large: pods "large" is forbidden: maximum cpu usage per Container is 1, but limit is 3'
    )


def small(kind, most):
    """A LimitRange that allows so much of something."""
    limit = {"type": kind, "max": most}
    return {"kind": "LimitRange", "metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [limit]}}


TOO_MUCH = "is forbidden: maximum cpu usage per Container is 100m, but limit is 500m"


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (new("DaemonSet", "agent"), {"agent-n": f'Error creating: pods "agent-n" {TOO_MUCH}'}),
        (new("Deployment", "web", replicas=1), {"web-0": f'Error creating: pods "web-0" {TOO_MUCH}'}),
        (
            new("StatefulSet", "db", serviceName="db", replicas=1),
            {"db-0": f'create Pod db-0 in StatefulSet db failed error: pods "db-0" {TOO_MUCH}'},
        ),
    ],
)
def test_a_pod_that_its_workload_may_not_create_says_why_and_the_rest_goes_on(manifest, said):
    results = list(Simulation([make_node("n"), small("Container", {"cpu": "100m"}), manifest, make_pod("a")]).run())
    assert {r.pod: r.message for r in results if str(r.outcome) == "Forbidden"} == {
        f"default/{name}": message for name, message in said.items()
    }
    assert [r.pod for r in results if str(r.outcome) == "Placed"] == ["default/a"]


def test_a_claim_that_is_forbidden_keeps_its_pod_from_being_created():
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    claim["spec"]["resources"] = {"requests": {"storage": "2Gi"}}
    made = new("StatefulSet", "db", serviceName="db", replicas=1, volumeClaimTemplates=[claim])
    limits = small("PersistentVolumeClaim", {"storage": "1Gi"})
    (result,) = Simulation([make_node("n"), limits, made]).run()
    assert result.message == (
        "create Pod db-0 in StatefulSet db failed error: failed to create PVC data-db-0: persistentvolumeclaims "
        '"data-db-0" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi'
    )


def test_daemons_of_the_cluster_that_a_new_node_may_not_get_say_why():
    known, fresh = make_node("known"), make_node("fresh")
    known["metadata"]["uid"] = "u"
    large, unclassed = new("DaemonSet", "large"), new("DaemonSet", "unclassed")
    unclassed["spec"]["template"]["spec"] |= {"priorityClassName": "x", "containers": [{"name": "c", "image": "app"}]}
    for ds in (large, unclassed):
        ds["metadata"] |= {"namespace": "default", "uid": ds["metadata"]["name"]}
    limits = small("Container", {"memory": "1Gi"})
    results = list(Simulation([known, fresh, limits, large, unclassed, make_pod("a")]).run())
    assert [(r.pod, str(r.outcome)) for r in results] == [
        ("default/large-fresh", "Forbidden"),
        ("default/unclassed-fresh", "Forbidden"),
        ("default/a", "Placed"),
    ]
    unlimited = Simulation([known, fresh, unclassed]).run()
    assert [r.message for r in unlimited] == [
        'Error creating: pods "unclassed-fresh" is forbidden: no PriorityClass with name x was found'
    ]


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


def test_the_command_fails_when_a_pod_is_forbidden(run):
    result = run(make_node("n"), small("Container", {"cpu": "100m"}), new("DaemonSet", "agent"))
    assert result.exit_code == 3
    assert TOO_MUCH in result.stdout
    assert "1 forbidden" in result.stderr


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


CONTAINER = {"name": "c", "image": "app"}


def pods(*specs):
    """A node, and pods that are new."""
    made = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec} for spec in specs]
    return json.dumps([make_node("n"), *made])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "unexpected end of data"),
        ("a: [", "while parsing"),
        ("just words", "an object has no kind"),
        ('{"kind": "Service", "metadata": {"name": "a"}}', "there are no nodes"),
        ('{"kind": "Node", "metadata": {}}', "Node without a name: there is no name"),
        ('{"kind": "Node", "metadata": []}', "Node without a name: it is not as Kubernetes has them"),
        ('{"kind": "PodList", "items": ["a"]}', "PodList: an item is not an object"),
        (pods({"containers": []}), "Pod p: spec.containers: Required value"),
        (pods({"containrs": [], "containers": [CONTAINER]}), 'Pod p: unknown field "spec.containrs"'),
        (pods({"containers": 1}), "Pod p: Pod in version"),
        (pods({"containers": [CONTAINER], "priorityClassName": "x"}), "no PriorityClass with name x was found"),
        (pods({"containers": [CONTAINER]}, {"containers": [CONTAINER]}), 'Pod p: pods "p" already exists'),
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

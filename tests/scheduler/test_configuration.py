"""kube-scheduler's configuration file, and what profiles do."""

from __future__ import annotations

import random

import pytest

from hawser.controllers import manager
from hawser.scheduler.cache import Cache
from hawser.scheduler.configuration import VERSION, ConfigurationError, load, parse
from hawser.scheduler.placement import Placement
from hawser.scheduler.profile import Packing, Profile


def config(**fields):
    return {"apiVersion": VERSION, "kind": "KubeSchedulerConfiguration", **fields}


def one(plugins=None, **args):
    """The profile of a file with these plugins and arguments."""
    given = [{"name": name, "args": value} for name, value in args.items()]
    return parse(config(profiles=[{"plugins": plugins or {}, "pluginConfig": given}])).profiles[0]


def test_an_empty_file_is_the_default():
    assert parse(config()).profiles == (Profile(),)
    assert parse(config(leaderElection={"leaderElect": False}, parallelism=8)).profiles == (Profile(),)


def test_back_off_and_share_of_nodes_are_taken():
    found = parse(config(podInitialBackoffSeconds=2, podMaxBackoffSeconds=30, percentageOfNodesToScore=70))
    assert (found.first_backoff, found.longest_backoff, found.profiles[0].percentage) == (2, 30, 70)


def test_profiles_differ_by_name():
    found = parse(config(profiles=[{"schedulerName": "a"}, {"schedulerName": "b", "percentageOfNodesToScore": 5}]))
    assert [(p.name, p.percentage) for p in found.profiles] == [("a", None), ("b", 5)]


def test_plugins_are_enabled_and_disabled_by_point_with_weights():
    profile = one({"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality", "weight": 5}]}})
    assert profile.weights == {"ImageLocality": 5}
    profile = one({"multiPoint": {"disabled": [{"name": "DefaultPreemption"}, {"name": "NodePorts"}]}})
    assert not profile.preempts
    assert "NodePorts" not in profile.filters
    profile = one({"filter": {"disabled": [{"name": "TaintToleration"}]}})
    assert "TaintToleration" not in profile.filters
    assert profile.weights["TaintToleration"] == 3


def test_arguments_of_plugins():
    shape = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
    profile = one(
        NodeResourcesFit={
            "ignoredResources": ["example.com/x"],
            "ignoredResourceGroups": ["example.org"],
            "scoringStrategy": {
                "type": "RequestedToCapacityRatio",
                "resources": [{"name": "cpu", "weight": 3}],
                "requestedToCapacityRatio": {"shape": shape},
            },
        },
        PodTopologySpread={"defaultingType": "List", "defaultConstraints": []},
        InterPodAffinity={"hardPodAffinityWeight": 7},
        VolumeBinding={"bindTimeoutSeconds": 60},
        DynamicResources={"filterTimeout": "5s", "bindingTimeout": "90s"},
    )
    assert profile.device_seconds == 90.0
    assert profile.packing is Packing.RATIO
    assert profile.ratio == ((0, 0), (100, 100))
    assert profile.resources == (("cpu", 3),)
    assert profile.ignored == ("example.com/x", "example.org/")
    assert (profile.spread, profile.hard_affinity_weight, profile.bind_seconds) == ((), 7, 60.0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "must be an object"),
        ({"kind": "KubeSchedulerConfiguration"}, "apiVersion, kind: must be"),
        (config(surprise=1), 'unknown field "surprise"'),
        (config(extenders=[{}]), 'unknown field "extenders"'),
        (config(profiles=[{"plugins": {"dance": {}}}]), 'unknown field "profiles[0].plugins.dance"'),
        (
            config(profiles=[{"plugins": {"score": {"enabled": [{"name": "Nope"}]}}}]),
            'profiles[0].plugins.score.enabled[0].name: plugin "Nope" does not exist',
        ),
        (config(profiles=[{}, {}]), 'profiles[1].schedulerName: Duplicate value: "default-scheduler"'),
        (config(podInitialBackoffSeconds=0), "podInitialBackoffSeconds: must be a whole number from 1"),
        (config(podInitialBackoffSeconds=9, podMaxBackoffSeconds=8), "podMaxBackoffSeconds: must be greater"),
        (
            config(
                profiles=[{"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"kind": 1}}}]}]
            ),
            'unknown field "profiles[0].pluginConfig[0].args.scoringStrategy.kind"',
        ),
        (
            config(profiles=[{"plugins": {"multiPoint": {"disabled": [{"name": "*"}]}}}]),
            "cannot be disabled: there is no other one",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_field(data, said):
    with pytest.raises(ConfigurationError, match=r".*") as caught:
        parse(data)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_used_stops_the_process_with_a_sentence(tmp_path, capsys):
    path = tmp_path / "scheduler.yaml"
    path.write_text(f"apiVersion: {VERSION}\nkind: KubeSchedulerConfiguration\nprofile: []\n")
    with pytest.raises(ConfigurationError):
        load(path)
    with pytest.raises(SystemExit) as stopped:
        manager.arguments(["--scheduler-config", str(path)])
    assert stopped.value.code == 2
    assert 'unknown field "profile"' in capsys.readouterr().err
    path.write_text(f"apiVersion: {VERSION}\nkind: KubeSchedulerConfiguration\n")
    assert manager.arguments(["--scheduler-config", str(path)]).scheduler_config == path


def placed(profile, cache, pod):
    return Placement(cache, random.Random(1), profile=profile).decide(cache.shapes.pod(pod)).node


def test_most_allocated_packs_where_least_allocated_spreads(pod, node):
    cache = Cache()
    for name in "ab":
        cache.set_node(node(name))
    cache.set_pod(cache.shapes.pod(pod(cpu="1", memory="2Gi")), "a")
    assert placed(Profile(), cache, pod(cpu="1", memory="2Gi")) == "b"
    packing = one(NodeResourcesFit={"scoringStrategy": {"type": "MostAllocated"}})
    assert placed(packing, cache, pod(cpu="1", memory="2Gi")) == "a"


def test_a_filter_that_is_off_refuses_nobody(pod, node):
    cache = Cache()
    cache.set_node(node("a", taints=[{"key": "k", "effect": "NoSchedule"}]))
    assert placed(Profile(), cache, pod()) is None
    assert placed(one({"filter": {"disabled": [{"name": "TaintToleration"}]}}), cache, pod()) == "a"


def test_resources_that_are_ignored_are_no_reason(pod, node):
    cache = Cache()
    cache.set_node(node("a"))
    wish = pod()
    wish["spec"]["containers"][0]["resources"] = {"requests": {"example.com/x": "1"}}
    assert placed(Profile(), cache, wish) is None
    assert placed(one(NodeResourcesFit={"ignoredResources": ["example.com/x"]}), cache, wish) == "a"
    assert placed(one(NodeResourcesFit={"ignoredResourceGroups": ["example.com"]}), cache, wish) == "a"


def test_added_affinity_holds_for_all_pods_of_the_profile(pod, node):
    cache = Cache()
    cache.set_node(node("a"))
    cache.set_node(node("b", labels={"pool": "x"}))
    term = {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    profile = one(NodeAffinity={"addedAffinity": required})
    assert placed(profile, cache, pod()) == "b"

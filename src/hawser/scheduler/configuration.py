"""kube-scheduler's configuration file: KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1.

Source: Kubernetes reference, "kube-scheduler Configuration (v1)" and "Scheduler Configuration". What is not supported
is refused with its path, never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hawser.api.durations import length
from hawser.api.types import Obj
from hawser.scheduler.profile import (
    CPU_AND_MEMORY,
    DEFAULT_SCHEDULER,
    FILTERING,
    SYSTEM_SPREAD,
    WEIGHTS,
    Packing,
    Profile,
    Resources,
)
from hawser.scheduler.queue import FIRST_BACKOFF, LONGEST_BACKOFF

VERSION = "kubescheduler.config.k8s.io/v1"
_ALWAYS = ("PrioritySort", "SchedulingGates", "DefaultBinder")
_PLUGINS = frozenset((*FILTERING, *WEIGHTS, *_ALWAYS, "DefaultPreemption"))
_POINTS = (
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "multiPoint",
)
# Of a process of its own, which this scheduler is not: accepted, as every file of kube-scheduler has them.
_OF_THE_PROCESS = (
    "leaderElection",
    "clientConnection",
    "enableProfiling",
    "enableContentionProfiling",
    "parallelism",
    "delayCacheUntilActive",
)


class ConfigurationError(ValueError):
    """The file cannot be used; the message names the field and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says. first_backoff, longest_backoff: seconds."""

    profiles: tuple[Profile, ...] = (Profile(),)
    first_backoff: float = FIRST_BACKOFF
    longest_backoff: float = LONGEST_BACKOFF


def load(path: Path) -> Configuration:
    """Reads a file, YAML or JSON. Raises ConfigurationError, OSError."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as err:
        raise ConfigurationError(f"{path}: {err}") from None
    return parse(data)


def parse(data: Any) -> Configuration:
    """A KubeSchedulerConfiguration. Raises ConfigurationError."""
    if not isinstance(data, dict):
        raise ConfigurationError("the configuration must be an object")
    if (data.get("apiVersion"), data.get("kind")) != (VERSION, "KubeSchedulerConfiguration"):
        given = f"{data.get('apiVersion')} {data.get('kind')}"
        raise ConfigurationError(f"apiVersion, kind: must be {VERSION} KubeSchedulerConfiguration, not {given}")
    known = ("profiles", "percentageOfNodesToScore", "podInitialBackoffSeconds", "podMaxBackoffSeconds")
    _only(data, "", ("apiVersion", "kind", *known, *_OF_THE_PROCESS))
    first = _integer(data, "podInitialBackoffSeconds", "", 1, int(FIRST_BACKOFF))
    longest = _integer(data, "podMaxBackoffSeconds", "", 1, int(LONGEST_BACKOFF))
    if longest < first:
        raise ConfigurationError("podMaxBackoffSeconds: must be greater than or equal to PodInitialBackoffSeconds")
    percentage = _integer(data, "percentageOfNodesToScore", "", 0, 0, 100)
    profiles = [
        _profile(item, f"profiles[{number}]", percentage) for number, item in enumerate(_list(data, "profiles", ""))
    ]
    names = [profile.name for profile in profiles]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigurationError(f'profiles[{number}].schedulerName: Duplicate value: "{name}"')
    return Configuration(tuple(profiles) or (replace(Profile(), percentage=percentage or None),), first, longest)


def _profile(data: Any, path: str, percentage: int) -> Profile:
    _only(data, path, ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"))
    profile = _plugins(Profile(name=data.get("schedulerName") or DEFAULT_SCHEDULER), data.get("plugins") or {}, path)
    own = _integer(data, "percentageOfNodesToScore", path, 0, 0, 100)
    profile = replace(profile, percentage=own or percentage or None)
    for number, item in enumerate(_list(data, "pluginConfig", path)):
        at = f"{path}.pluginConfig[{number}]"
        _only(item, at, ("name", "args"))
        if item.get("name") not in _ARGUMENTS:
            raise ConfigurationError(f'{at}.name: plugin "{item.get("name")}" takes no arguments here')
        given = {k: v for k, v in (item.get("args") or {}).items() if k not in ("apiVersion", "kind")}
        profile = _ARGUMENTS[item["name"]](profile, given, f"{at}.args")
    return profile


def _plugins(profile: Profile, data: Any, path: str) -> Profile:
    path = f"{path}.plugins"
    _only(data, path, _POINTS)
    filters, weights, others = set(FILTERING), dict(WEIGHTS), {"DefaultPreemption", *_ALWAYS}
    # What is said of all points comes first, so that a single point can differ.
    for point in sorted(data, key=lambda point: point != "multiPoint"):
        at = f"{path}.{point}"
        _only(data[point] or {}, at, ("enabled", "disabled"))
        for name in _names(data[point] or {}, "disabled", at):
            every = point == "multiPoint"
            gone = _PLUGINS if name == "*" else {name}
            if every or point == "filter":
                filters -= gone
            if every or point == "score":
                weights = {plugin: weight for plugin, weight in weights.items() if plugin not in gone}
            if every or point in ("postFilter", "queueSort", "bind", "preEnqueue"):
                others -= gone
        for number, item in enumerate(_list(data[point] or {}, "enabled", at)):
            name = _plugin(item, f"{at}.enabled[{number}]")
            weight = _integer(item, "weight", f"{at}.enabled[{number}]", 0, 0)
            if point in ("multiPoint", "filter") and name in FILTERING:
                filters.add(name)
            if point in ("multiPoint", "score") and name in WEIGHTS:
                weights[name] = weight or WEIGHTS[name]
            others.add(name)
    for name in _ALWAYS:
        if name not in others:
            raise ConfigurationError(f'{path}: plugin "{name}" cannot be disabled: there is no other one')
    return replace(profile, filters=frozenset(filters), weights=weights, preempts="DefaultPreemption" in others)


def _names(data: Obj, field: str, path: str) -> Iterable[str]:
    for number, item in enumerate(_list(data, field, path)):
        yield "*" if item.get("name") == "*" else _plugin(item, f"{path}.{field}[{number}]")


def _plugin(item: Any, path: str) -> str:
    _only(item, path, ("name", "weight"))
    name = item.get("name")
    if name not in _PLUGINS:
        raise ConfigurationError(f'{path}.name: plugin "{name}" does not exist')
    return str(name)


def _fit(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("scoringStrategy", "ignoredResources", "ignoredResourceGroups"))
    ignored = [*_list(args, "ignoredResources", path), *(f"{g}/" for g in _list(args, "ignoredResourceGroups", path))]
    profile = replace(profile, ignored=tuple(ignored))
    strategy = args.get("scoringStrategy")
    if strategy is None:
        return profile
    path = f"{path}.scoringStrategy"
    _only(strategy, path, ("type", "resources", "requestedToCapacityRatio"))
    kind = strategy.get("type") or Packing.LEAST
    if kind not in set(Packing):
        raise ConfigurationError(f"{path}.type: must be one of {', '.join(Packing)}")
    ratio = strategy.get("requestedToCapacityRatio") or {}
    _only(ratio, f"{path}.requestedToCapacityRatio", ("shape",))
    points = _list(ratio, "shape", f"{path}.requestedToCapacityRatio")
    if kind == Packing.RATIO and not points:
        raise ConfigurationError(f"{path}.requestedToCapacityRatio.shape: at least one point must be specified")
    shape = []
    for number, point in enumerate(points):
        at = f"{path}.requestedToCapacityRatio.shape[{number}]"
        _only(point, at, ("utilization", "score"))
        shape.append((_integer(point, "utilization", at, 0, 0, 100), _integer(point, "score", at, 0, 0, 10) * 10))
        if number and shape[number][0] <= shape[number - 1][0]:
            raise ConfigurationError(f"{at}.utilization: utilization values must be sorted in increasing order")
    resources = _resources(strategy, path)
    return replace(profile, packing=Packing(kind), resources=resources, ratio=tuple(shape))


def _balance(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("resources",))
    return replace(profile, balanced=_resources(args, path))


def _spread(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("defaultConstraints", "defaultingType"))
    constraints = _list(args, "defaultConstraints", path)
    kind = args.get("defaultingType") or "System"
    if kind not in ("System", "List"):
        raise ConfigurationError(f"{path}.defaultingType: must be System or List")
    if kind == "System" and constraints:
        message = 'when .defaultingType is "System", .defaultConstraints must be empty'
        raise ConfigurationError(f"{path}.defaultingType: {message}")
    for number, constraint in enumerate(constraints):
        at = f"{path}.defaultConstraints[{number}]"
        _only(constraint, at, ("maxSkew", "topologyKey", "whenUnsatisfiable", "minDomains"))
        _integer(constraint, "maxSkew", at, 1)
        if not constraint.get("topologyKey"):
            raise ConfigurationError(f"{at}.topologyKey: can not be empty")
        if constraint.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            raise ConfigurationError(f"{at}.whenUnsatisfiable: must be DoNotSchedule or ScheduleAnyway")
    return replace(profile, spread=SYSTEM_SPREAD if kind == "System" else tuple(constraints))


def _affinity(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"))
    weight = _integer(args, "hardPodAffinityWeight", path, 0, 1, 100)
    ignore = bool(args.get("ignorePreferredTermsOfExistingPods"))
    return replace(profile, hard_affinity_weight=weight, ignore_preferred_of_others=ignore)


def _node_affinity(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("addedAffinity",))
    added = args.get("addedAffinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    _only(added, f"{path}.addedAffinity", (required, "preferredDuringSchedulingIgnoredDuringExecution"))
    return replace(profile, added_affinity=added or None)


def _preemption(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("minCandidateNodesPercentage", "minCandidateNodesAbsolute"))
    percent = _integer(args, "minCandidateNodesPercentage", path, 0, 10, 100)
    least = _integer(args, "minCandidateNodesAbsolute", path, 0, 100)
    if not percent and not least:
        message = "minCandidateNodesPercentage and minCandidateNodesAbsolute cannot both be zero"
        raise ConfigurationError(f"{path}: {message}")
    return replace(profile, min_candidates_percent=percent, min_candidates=least)


def _volumes(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("bindTimeoutSeconds",))
    return replace(profile, bind_seconds=float(_integer(args, "bindTimeoutSeconds", path, 0, 600)))


def _devices(profile: Profile, args: Obj, path: str) -> Profile:
    _only(args, path, ("filterTimeout", "bindingTimeout"))
    # How long a search may take is a matter of tries here: the time of the file has no meaning.
    found = {}
    for field in ("filterTimeout", "bindingTimeout"):
        try:
            found[field] = length(str(args.get(field) or "0"))
        except ValueError as err:
            raise ConfigurationError(f"{path}.{field}: {err}") from None
    if args.get("bindingTimeout") and found["bindingTimeout"] < 1:
        raise ConfigurationError(f"{path}.bindingTimeout: must be at least 1 second")
    return replace(profile, device_seconds=found["bindingTimeout"] or profile.device_seconds)


_ARGUMENTS = {
    "DynamicResources": _devices,
    "NodeResourcesFit": _fit,
    "NodeResourcesBalancedAllocation": _balance,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _affinity,
    "NodeAffinity": _node_affinity,
    "DefaultPreemption": _preemption,
    "VolumeBinding": _volumes,
}


def _resources(data: Obj, path: str) -> Resources:
    found = []
    for number, item in enumerate(_list(data, "resources", path)):
        at = f"{path}.resources[{number}]"
        _only(item, at, ("name", "weight"))
        found.append((str(item.get("name")), _integer(item, "weight", at, 1, 1, 100)))
    return tuple(found) or CPU_AND_MEMORY


def _only(data: Any, path: str, known: Iterable[str]) -> None:
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: must be an object")
    for name in data:
        if name not in known:
            raise ConfigurationError(f'unknown field "{path}.{name}"' if path else f'unknown field "{name}"')


def _list(data: Mapping[str, Any], field: str, path: str) -> list[Any]:
    found = data.get(field) or []
    if not isinstance(found, list):
        raise ConfigurationError(f"{path}.{field}: must be a list")
    return found


def _integer(
    data: Mapping[str, Any], field: str, path: str, least: int, default: int | None = None, most: int = 2**31 - 1
) -> int:
    value = data.get(field)
    if value is None:
        value = default
    at = f"{path}.{field}" if path else field
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(f"{at}: must be a whole number from {least} to {most}")
    return value

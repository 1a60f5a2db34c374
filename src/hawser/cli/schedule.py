"""``hawser schedule --simulate``: where pending pods would go, and why not."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from hawser.api import kinds
from hawser.api.errors import APIError
from hawser.api.types import Obj
from hawser.cli import context
from hawser.cli.context import Context, DataDir, Failure, Format, Kubeconfig, Output, err
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.tables import aligned
from hawser.scheduler.configuration import Configuration, ConfigurationError, load
from hawser.scheduler.gangs import POD_GROUP
from hawser.scheduler.manifests import BadObjectError
from hawser.scheduler.simulation import Outcome, Result, Simulation

NOT_PLACED = 3
"""Exit code when a pod would stay without a node."""

_ASKED = (
    kinds.NODE,
    kinds.POD,
    kinds.NAMESPACE,
    kinds.SERVICE,
    kinds.REPLICA_SET,
    kinds.STATEFUL_SET,
    kinds.REPLICATION_CONTROLLER,
    kinds.DAEMON_SET,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.PERSISTENT_VOLUME,
    kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.STORAGE_CLASS,
    kinds.CSI_DRIVER,
    kinds.CSI_NODE,
    kinds.CSI_STORAGE_CAPACITY,
    kinds.VOLUME_ATTACHMENT,
    kinds.PRIORITY_CLASS,
    kinds.LIMIT_RANGE,
)
_HINT = "make a dump with `kubectl get nodes,pods,pv,pvc,sc,services,replicasets,statefulsets -A -o json`"
# Not every cluster has them.
_ASKED_TOO = (
    POD_GROUP,
    kinds.DEVICE_CLASS,
    kinds.RESOURCE_CLAIM,
    kinds.RESOURCE_CLAIM_TEMPLATE,
    kinds.RESOURCE_SLICE,
)


def schedule(
    simulate: Annotated[
        list[str],
        typer.Option(
            "--simulate",
            metavar="DUMP",
            help="A file of objects, JSON or YAML, - for standard input; `live` asks a cluster. May be repeated.",
        ),
    ],
    scheduler_config: Annotated[
        Path | None, typer.Option("--scheduler-config", metavar="FILE", help="A KubeSchedulerConfiguration.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides between equally good nodes.")] = 0,
    kubeconfig: Kubeconfig = None,
    context_name: Context = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: Format = Output.TABLE,
) -> None:
    """Tell where the pending pods of a cluster would go, and why not, with the scheduler's own code.

    Nothing is written anywhere. Files are added to each other: a dump of a cluster, and manifests of what is
    to come to it: pods, Deployments and other workloads, nodes. New DaemonSets bring a pod for each node that
    they run on, and new nodes one of each DaemonSet. LimitRanges and PriorityClasses apply, and pods of workloads that
    they forbid say so; webhooks, RuntimeClasses and quotas are not asked.

    Exits with 0 when every pod has a node (or gets one by preemption), 3 when one has not.

    Examples:

      kubectl get nodes,pods,pv,pvc,sc -A -o json >cluster.json

      hawser schedule --simulate cluster.json

      hawser schedule --simulate cluster.json --simulate new.yaml -o wide

      hawser schedule --simulate live --kubeconfig ~/.kube/config

    Services and ReplicaSets in the dump decide how pods are spread; PriorityClasses, PodDisruptionBudgets,
    ResourceClaims and ResourceSlices count too where they matter.
    """

    async def work() -> tuple[list[Result], float]:
        try:
            configuration = load(scheduler_config) if scheduler_config is not None else Configuration()
        except ConfigurationError as e:
            raise Failure(f"{scheduler_config}: {e}") from None
        objects: list[Obj] = []
        for source in simulate:
            if source == "live":
                objects += await _live(kubeconfig, context_name, data_dir)
            else:
                objects += _read(source)
        try:
            simulation = Simulation(objects, configuration, random.Random(seed))
            if not simulation.cache.ready:
                raise Failure("there are no nodes in what was read", _HINT)
            started = time.perf_counter()
            return list(simulation.run()), time.perf_counter() - started
        except BadObjectError as e:
            raise Failure(str(e)) from None

    results, seconds = context.run(work)
    if output in (Output.JSON, Output.YAML):
        context.show(_document(results), output)
    else:
        _print(results, seconds, wide=output is Output.WIDE)
    if any(result.outcome in (Outcome.UNSCHEDULABLE, Outcome.FOREIGN, Outcome.FORBIDDEN) for result in results):
        raise typer.Exit(NOT_PLACED)


def _document(results: list[Result]) -> dict[str, Any]:
    pods = []
    for result in results:
        namespace, _, name = result.pod.rpartition("/")
        entry = {"namespace": namespace, "name": name, "outcome": str(result.outcome), "node": result.node}
        pods.append({**entry, "message": result.message, "victims": list(result.victims)})
    return {"pods": pods, "counts": {str(k): v for k, v in Counter(result.outcome for result in results).items()}}


def _print(results: list[Result], seconds: float, *, wide: bool) -> None:
    columns = ("NAMESPACE", "NAME", "OUTCOME", "NODE", *(("VICTIMS", "MESSAGE") if wide else ("MESSAGE",)))
    rows = []
    for result in results:
        namespace, _, name = result.pod.rpartition("/")
        told = result.message
        if result.victims and not wide:
            told = f"preempts {', '.join(result.victims)}"
        row = (namespace, name, str(result.outcome), result.node or "<none>")
        rows.append((*row, *((",".join(result.victims) or "<none>", told) if wide else (told,))))
    if rows:
        sys.stdout.write(aligned(columns, rows))
    counts = Counter(result.outcome for result in results)
    said = ", ".join(f"{count} {outcome.lower()}" for outcome, count in counts.items()) or "no pod is pending"
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = f", {len(results) / seconds:.0f} pods/s" if results and seconds else ""
    err.print(f"{said}; {seconds:.2f} s{rate}, {megabytes:.0f} MiB")


def _read(source: str) -> Iterator[Obj]:
    """The objects of a file."""
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError as e:
            raise Failure(f"{source}: {e}") from None
        documents = found if isinstance(found, list) else [found]
    else:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            documents = list(yaml.load_all(data, loader))
        except yaml.YAMLError as e:
            raise Failure(f"{source}: {e}") from None
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or "kind" not in document:
            raise Failure(f"{source}: an object has no kind", _HINT)
        yield document


async def _live(kubeconfig: Path | None, name: str, data_dir: Path) -> list[Obj]:
    """All objects that placement depends on, of a live cluster."""
    found: list[Obj] = []
    async with context.cluster(kubeconfig, name, data_dir) as client:
        for kind in (*_ASKED, *_ASKED_TOO):
            try:
                items = (await client.list(kind)).items
            except APIError as e:
                if e.code == 404:
                    continue
                raise
            found += [{**item, "kind": kind.kind} for item in items]
    return found

"""Jobs against Hawser's own API server, with the test as node agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, JOB, POD
from hawser.client.client import Client
from hawser.controllers import pods as any_pods
from hawser.controllers.job.controller import JobController
from hawser.controllers.job.pods import FINALIZER

from ..running import eventually, running

Obj = dict[str, Any]


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, JobController()) as made:
        yield made


def work(namespace: str, **spec: Any) -> Obj:
    container = {"name": "main", "image": "a"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 0}}
    metadata = {"name": "work", "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template, **spec}}


async def pods(client: Client, namespace: str) -> list[Obj]:
    return (await client.list(POD, namespace)).items


async def active(client: Client, namespace: str, count: int) -> list[Obj]:
    """The pods that run, when there are so many."""

    async def check() -> list[Obj] | None:
        found = [p for p in await pods(client, namespace) if any_pods.is_active(p)]
        return found or [{}] if len(found) == count else None

    return [p for p in await eventually(check) if p]


async def status(client: Client, namespace: str, check: Callable[[Obj], bool]) -> Obj:
    async def asked() -> Obj | None:
        found: Obj = (await client.get(JOB, "work", namespace)).get("status", {})
        return found if check(found) else None

    return await eventually(asked)


def has(kind: str) -> Callable[[Obj], bool]:
    return lambda status: any(c["type"] == kind and c["status"] == "True" for c in status.get("conditions", ()))


async def end(client: Client, pod: Obj, code: int = 0) -> None:
    phase = "Failed" if code else "Succeeded"
    at = "2026-01-01T00:00:00Z"
    ended = {"exitCode": code, "finishedAt": at, "startedAt": at}
    container = {"name": "main", "image": "a", "imageID": "", "ready": False, "restartCount": 0}
    body = {"status": {"phase": phase, "containerStatuses": [{**container, "state": {"terminated": ended}}]}}
    metadata = pod["metadata"]
    await client.patch(POD, metadata["name"], metadata["namespace"], body, subresource="status")


async def test_a_job_runs_its_pods_to_completion(client: Client, namespace: str) -> None:
    await client.create(JOB, work(namespace, completions=3, parallelism=2))
    for left in (2, 2, 1):
        found = await active(client, namespace, left)
        assert all(FINALIZER in p["metadata"]["finalizers"] for p in found)
        await end(client, found[0])
    told = await status(client, namespace, has("Complete"))
    assert told["succeeded"] == 3
    assert told["completionTime"]
    assert [(c["type"], c["reason"], c["message"]) for c in told["conditions"]] == [
        (kind, "CompletionsReached", "Reached expected number of succeeded pods")
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    assert (told["uncountedTerminatedPods"], told["ready"], told["terminating"]) == ({}, 0, 0)
    assert not any(p["metadata"].get("finalizers") for p in await pods(client, namespace))

    async def reported() -> bool:
        found = {(e["reason"], e["message"]) for e in (await client.list(EVENT, namespace)).items}
        created = {reason for reason, message in found if message.startswith("Created pod: work-")}
        return ("Completed", "Job completed") in found and created == {"SuccessfulCreate"}

    await eventually(reported)


async def test_pods_of_indexes_are_numbered(client: Client, namespace: str) -> None:
    await client.create(JOB, work(namespace, completions=3, parallelism=3, completionMode="Indexed"))
    found = sorted(await active(client, namespace, 3), key=lambda p: str(p["metadata"]["name"]))
    assert [p["spec"]["hostname"] for p in found] == ["work-0", "work-1", "work-2"]
    assert [p["metadata"]["name"][:7] for p in found] == ["work-0-", "work-1-", "work-2-"]
    for pod in found[1:]:
        await end(client, pod)
    assert (await status(client, namespace, lambda s: s.get("succeeded") == 2))["completedIndexes"] == "1,2"
    await client.patch(JOB, "work", namespace, {"spec": {"completions": 2, "parallelism": 2}})
    told = await status(client, namespace, lambda s: s.get("succeeded") == 1)
    assert told["completedIndexes"] == "1"
    await end(client, found[0])
    assert (await status(client, namespace, has("Complete")))["completedIndexes"] == "0,1"


async def test_a_job_that_fails_too_often_ends_its_pods(client: Client, namespace: str) -> None:
    await client.create(JOB, work(namespace, completions=2, parallelism=2, backoffLimit=0))
    found = await active(client, namespace, 2)
    await end(client, found[0], 1)
    told = await status(client, namespace, has("Failed"))
    assert told["failed"] == 2
    assert [(c["type"], c["reason"]) for c in told["conditions"]] == [
        ("FailureTarget", "BackoffLimitExceeded"),
        ("Failed", "BackoffLimitExceeded"),
    ]
    assert [p["metadata"]["name"] for p in await pods(client, namespace)] == [found[0]["metadata"]["name"]]


async def test_failed_indexes_are_told_apart(client: Client, namespace: str) -> None:
    limits = {"backoffLimitPerIndex": 0, "maxFailedIndexes": 1}
    await client.create(JOB, work(namespace, completions=2, parallelism=2, completionMode="Indexed", **limits))
    first, second = sorted(await active(client, namespace, 2), key=lambda p: str(p["metadata"]["name"]))
    await end(client, first, 1)
    assert (await status(client, namespace, lambda s: s.get("failed") == 1))["failedIndexes"] == "0"
    await end(client, second)
    told = await status(client, namespace, has("Failed"))
    assert (told["completedIndexes"], told["conditions"][-1]["reason"]) == ("1", "FailedIndexes")


async def test_a_suspended_job_has_no_pods_and_may_be_aimed_anew(client: Client, namespace: str) -> None:
    await client.create(JOB, work(namespace))
    await active(client, namespace, 1)
    await client.patch(JOB, "work", namespace, {"spec": {"suspend": True}})
    told = await status(client, namespace, lambda s: has("Suspended")(s) and not s.get("active"))
    assert "startTime" not in told
    assert "failed" not in told
    await active(client, namespace, 0)
    aimed = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}
    await client.patch(JOB, "work", namespace, aimed)
    await client.patch(JOB, "work", namespace, {"spec": {"suspend": False}})
    (pod,) = await active(client, namespace, 1)
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    told = await status(client, namespace, lambda s: s.get("active") == 1)
    assert (told["conditions"][0]["status"], told["conditions"][0]["reason"]) == ("False", "JobResumed")
    with pytest.raises(APIError):
        await client.patch(JOB, "work", namespace, aimed | {"spec": {"template": {"spec": {"nodeSelector": None}}}})


async def test_a_job_adopts_its_pods_and_lets_others_go(client: Client, namespace: str) -> None:
    await client.create(JOB, work(namespace))
    (pod,) = await active(client, namespace, 1)
    name = pod["metadata"]["name"]
    await client.patch(POD, name, namespace, {"metadata": {"ownerReferences": None}})

    async def adopted() -> bool:
        return bool((await client.get(POD, name, namespace))["metadata"].get("ownerReferences"))

    await eventually(adopted)
    await client.patch(POD, name, namespace, {"metadata": {"labels": None}})

    async def released() -> bool:
        metadata = (await client.get(POD, name, namespace))["metadata"]
        return not metadata.get("ownerReferences") and not metadata.get("finalizers")

    await eventually(released)


async def test_pods_of_a_job_that_is_gone_are_not_held(client: Client, namespace: str) -> None:
    await client.create(JOB, work(namespace))
    (pod,) = await active(client, namespace, 1)
    await client.delete(JOB, "work", namespace, propagation="Background")

    async def let_go() -> bool:
        return not (await client.get(POD, pod["metadata"]["name"], namespace))["metadata"].get("finalizers")

    await eventually(let_go)


async def test_a_job_that_another_controller_manages_is_left_alone(client: Client, namespace: str) -> None:
    other = work(namespace, managedBy="example.com/other")
    other["metadata"]["name"] = "other"
    await client.create(JOB, other)
    await client.create(JOB, work(namespace))
    (pod,) = await active(client, namespace, 1)
    await end(client, pod)
    await status(client, namespace, has("Complete"))
    assert not (await client.get(JOB, "other", namespace)).get("status")


async def test_the_deadline_ends_a_job(client: Client, namespace: str) -> None:
    name = (await client.create(JOB, work(namespace)))["metadata"]["name"]
    await active(client, namespace, 1)
    await client.patch(JOB, name, namespace, {"spec": {"activeDeadlineSeconds": 1}})
    told = await status(client, namespace, has("Failed"))
    assert told["conditions"][-1]["reason"] == "DeadlineExceeded"
    await active(client, namespace, 0)

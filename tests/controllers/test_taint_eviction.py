"""Which pods have to leave a tainted node, and when."""

from __future__ import annotations

import math

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, NODE, POD
from hawser.api.taints import NO_EXECUTE, UNREACHABLE
from hawser.controllers.taint_eviction import TaintEvictionController, patience

from .running import eventually, running

TAINT = {"key": UNREACHABLE, "effect": NO_EXECUTE}


def waiting(seconds, key=UNREACHABLE):
    return {"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds}


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0),
        ([waiting(300)], 300),
        ([waiting(0)], 0),
        ([waiting(-5)], 0),
        ([{"operator": "Exists"}], math.inf),
        ([waiting(300), waiting(10)], 10),
        ([{"operator": "Exists"}, waiting(10)], 10),
        ([waiting(300, "other")], 0),
    ],
)
def test_a_pod_stays_as_long_as_all_its_tolerations_of_a_taint_allow(tolerations, expected):
    assert patience(tolerations, [TAINT]) == expected


def test_every_taint_counts_and_without_one_there_is_no_limit():
    other = {"key": "mine", "effect": NO_EXECUTE, "value": "v"}
    assert patience([waiting(300)], [TAINT, other]) == 0
    assert patience([waiting(300), waiting(20, "mine")], [TAINT, other]) == 20
    assert patience([], []) == math.inf


def a_pod(name, *tolerations):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": "tainted",
            "automountServiceAccountToken": False,
            "serviceAccountName": "default",
            "tolerations": list(tolerations),
            "containers": [{"name": "c", "image": "i"}],
        },
    }


async def test_pods_leave_when_their_time_is_up_and_stay_when_the_taint_goes(api_server):
    async with running(api_server.kubeconfig, TaintEvictionController()) as client:
        await client.create(NODE, {"metadata": {"name": "tainted"}})
        for pod in (a_pod("at-once"), a_pod("soon", waiting(1, "k")), a_pod("later", waiting(500, "k"))):
            await eventually(lambda pod=pod: created(client, pod))
        await client.patch(NODE, "tainted", None, {"spec": {"taints": [{"key": "k", "effect": NO_EXECUTE}]}})

        async def leaving():
            pods = (await client.list(POD, "default")).items
            return {p["metadata"]["name"] for p in pods if "deletionTimestamp" in p["metadata"]} == {"at-once", "soon"}

        await eventually(leaving)
        conditions = (await client.get(POD, "soon", "default"))["status"]["conditions"]
        assert [(c["type"], c["reason"]) for c in conditions if c["type"] == "DisruptionTarget"] == [
            ("DisruptionTarget", "DeletionByTaintManager")
        ]
        await client.patch(NODE, "tainted", None, {"spec": {"taints": []}})

        async def told():
            listing = await client.list(EVENT, "default")
            messages = {(e["involvedObject"]["name"], e["message"]) for e in listing.items}
            return {
                ("soon", "Marking for deletion Pod default/soon"),
                ("later", "Cancelling deletion of Pod default/later"),
            } <= messages

        await eventually(told)


async def created(client, pod):
    try:
        await client.create(POD, pod)
    except APIError as err:
        # The default namespace and its account may still be on their way at the server's start.
        return err.reason == "AlreadyExists"
    return True

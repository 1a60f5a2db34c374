"""What may change in a pod, in kube-apiserver's words."""

import copy
from typing import Any

import pytest

from hawser.api import kinds
from hawser.api.validation import validate_status_update, validate_update

from .pods import container, pod


def update(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return [str(e) for e in validate_update(kinds.POD, new, old)]


def test_images_labels_and_tolerations_may_change() -> None:
    old = pod(activeDeadlineSeconds=10, tolerations=[{"key": "a", "operator": "Exists"}])
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"a": "b"}
    new["spec"]["containers"][0]["image"] = "c"
    new["spec"]["activeDeadlineSeconds"] = 5
    new["spec"]["tolerations"].append({"key": "b", "operator": "Exists"})
    assert update(new, old) == []


def test_other_fields_of_a_pod_stay() -> None:
    old = pod()
    new = copy.deepcopy(old)
    new["spec"]["containers"][0]["command"] = ["sleep"]
    (wrong,) = update(new, old)
    first, *changes = wrong.split("\n")
    assert first == (
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
        "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    assert changes == ['  spec.containers[0].command: null -> ["sleep"]']


def test_what_go_clients_leave_out_is_no_change() -> None:
    old = pod(hostNetwork=False, containers=[container(stdin=False, args=[])])
    new = copy.deepcopy(old)
    del new["spec"]["hostNetwork"], new["spec"]["containers"][0]["stdin"], new["spec"]["containers"][0]["args"]
    assert update(new, old) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            {},
            {"containers": [container(), container("b")]},
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            {"activeDeadlineSeconds": 5},
            {"activeDeadlineSeconds": 6},
            "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
        ),
        (
            {"activeDeadlineSeconds": 5},
            {},
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists"}]},
            {},
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (
            {},
            {"schedulingGates": [{"name": "a"}]},
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'",
        ),
    ],
)
def test_refused_updates(old: dict[str, Any], new: dict[str, Any], expected: str) -> None:
    assert update(pod(**new), pod(**old)) == [expected]


def test_a_gated_pod_may_be_aimed_and_released() -> None:
    old = pod(schedulingGates=[{"name": "a"}], nodeSelector={"a": "b"})
    assert update(pod(schedulingGates=[], nodeSelector={"a": "b", "c": "d"}), old) == []
    assert update(pod(nodeSelector={"a": "c"}), old)[0].startswith("spec: Forbidden")


def test_containers_that_ended_for_good_stay_ended() -> None:
    old = pod(restartPolicy="Never")
    old["status"] = {"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 1}}}]}
    new = copy.deepcopy(old)
    assert validate_status_update(kinds.POD, new, old) == []
    new["status"]["containerStatuses"][0]["state"] = {"running": {}}
    assert [str(e) for e in validate_status_update(kinds.POD, new, old)] == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


def _rule(action: str, operator: str, code: int) -> dict[str, Any]:
    return {"restartPolicyRules": [{"action": action, "exitCodes": {"operator": operator, "values": [code]}}]}


@pytest.mark.parametrize(
    ("own", "code", "comes_back"),
    [
        ({"restartPolicy": "Always"}, 0, True),
        ({"restartPolicy": "OnFailure"}, 0, False),
        ({"restartPolicy": "OnFailure"}, 1, True),
        ({"restartPolicy": "Never", **_rule("Restart", "In", 42)}, 42, True),
        ({"restartPolicy": "Never", **_rule("Restart", "In", 42)}, 1, False),
        ({"restartPolicy": "Never", **_rule("Restart", "NotIn", 42)}, 1, True),
        ({"restartPolicy": "Never", **_rule("RestartAllContainers", "In", 42)}, 0, True),
    ],
)
def test_a_container_that_ended_comes_back_by_its_own_policy(own: dict[str, Any], code: int, comes_back: bool) -> None:
    old = pod(restartPolicy="Never")
    old["spec"]["containers"][0] |= own
    old["status"] = {"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": code}}}]}
    new = copy.deepcopy(old)
    new["status"]["containerStatuses"][0]["state"] = {"running": {}}
    assert (validate_status_update(kinds.POD, new, old) == []) is comes_back

"""What admission makes of a pod's service account: tables of the pure part, then the server."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.apiserver.admission.builtin import service_account as sut

Obj = dict[str, Any]


def _pod(**spec: Any) -> Obj:
    return {"containers": [{"name": "c", "image": "i"}], **spec}


@pytest.mark.parametrize(
    ("pod", "account", "wanted"),
    [
        (None, None, True),
        (None, False, False),
        (None, True, True),
        (False, True, False),
        (True, False, True),
        (False, None, False),
    ],
)
def test_the_pods_word_on_its_token_counts_before_the_accounts(
    pod: bool | None, account: bool | None, wanted: bool
) -> None:
    said = {} if account is None else {"automountServiceAccountToken": account}
    spec = _pod() if pod is None else _pod(automountServiceAccountToken=pod)
    assert sut.wants_token(spec, said) is wanted


def test_the_token_is_mounted_into_every_container_that_has_nothing_there() -> None:
    own = {"name": "mine", "mountPath": sut.MOUNT_PATH}
    spec: Obj = {
        "initContainers": [{"name": "i"}],
        "containers": [{"name": "a", "volumeMounts": [own]}, {"name": "b"}],
        "ephemeralContainers": [{"name": "e"}],
        "volumes": [{"name": "mine", "emptyDir": {}}],
    }
    sut.mount_token(spec, lambda prefix: prefix + "x")
    mount = {"name": "kube-api-access-x", "readOnly": True, "mountPath": sut.MOUNT_PATH}
    assert spec["initContainers"][0]["volumeMounts"] == [mount]
    assert spec["containers"][0]["volumeMounts"] == [own]
    assert spec["containers"][1]["volumeMounts"] == [mount]
    assert "volumeMounts" not in spec["ephemeralContainers"][0]
    volume = spec["volumes"][1]
    assert volume["name"] == "kube-api-access-x"
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]


def test_mounting_twice_changes_nothing_more() -> None:
    spec = _pod()
    names = iter("12")
    sut.mount_token(spec, lambda prefix: prefix + next(names))
    once = repr(spec)
    sut.mount_token(spec, lambda prefix: prefix + next(names))
    assert repr(spec) == once


def test_no_volume_is_added_that_nobody_mounts() -> None:
    spec: Obj = {"containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": sut.MOUNT_PATH}]}]}
    sut.mount_token(spec, lambda prefix: prefix + "x")
    assert "volumes" not in spec


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, None),
        ({"serviceAccountName": "x"}, "a mirror pod may not reference service accounts"),
        ({"imagePullSecrets": [{"name": "s"}]}, "a mirror pod may not reference secrets"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]},
            "a mirror pod may not reference secrets",
        ),
        (
            {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]},
            "a mirror pod may not reference secrets",
        ),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
def test_a_mirror_pod_uses_nothing_of_the_api(spec: Obj, problem: str | None) -> None:
    assert sut.mirror_problem(_pod(**spec)) == problem


_ACCOUNT = {"metadata": {"name": "robot"}, "secrets": [{"name": "ok"}], "imagePullSecrets": [{"name": "pull"}]}
_NOT = "is not allowed because service account robot does not reference that"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "ok"}}], "imagePullSecrets": [{"name": "pull"}]}, None),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "no"}}]},
            f'volume with secret.secretName="no" {_NOT} secret',
        ),
        (
            {
                "containers": [
                    {"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]}
                ]
            },
            f'container c with envVar E referencing secret.secretName="no" {_NOT} secret',
        ),
        (
            {"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "no"}}]}]},
            f'init container i with envFrom referencing secret.secretName="no" {_NOT} secret',
        ),
        ({"imagePullSecrets": [{"name": "ok"}]}, f'imagePullSecrets[0].name="ok" {_NOT} imagePullSecret'),
    ],
)
def test_an_account_may_limit_its_pods_to_the_secrets_it_lists(spec: Obj, problem: str | None) -> None:
    assert sut.secret_problem(_pod(**spec), _ACCOUNT) == problem


async def test_a_pod_gets_the_account_default_with_its_token_and_pull_secrets(api: Any) -> None:
    account = {"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "pull"}]}
    await api.create(api.path("serviceaccounts"), account)
    made = await api.create(api.path("pods"), {"metadata": {"name": "p"}, "spec": _pod()})
    spec = made["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": sut.MOUNT_PATH}
    ]


async def test_the_account_default_is_there_as_soon_as_a_pod_wants_it(api: Any) -> None:
    await api.create(api.path("pods"), {"metadata": {"name": "p"}, "spec": _pod()})
    assert (await api.get(api.path("serviceaccounts", "default"))).status == 200


async def test_a_pod_of_an_account_that_does_not_exist_is_forbidden(api: Any) -> None:
    body = {"metadata": {"name": "p"}, "spec": _pod(serviceAccountName="robot")}
    answer = await api.call("POST", api.path("pods"), body)
    assert answer.status == 403
    assert answer.message == (
        f'pods "p" is forbidden: error looking up service account {api.namespace}/robot: '
        'serviceaccount "robot" not found'
    )


async def test_a_mirror_pod_stays_as_it_is(api: Any) -> None:
    metadata = {"name": "p", "annotations": {"kubernetes.io/config.mirror": "hash"}}
    made = await api.create(api.path("pods"), {"metadata": metadata, "spec": _pod(nodeName="n")})
    assert "serviceAccountName" not in made["spec"]
    assert "volumes" not in made["spec"]
    body = {"metadata": {**metadata, "name": "q"}, "spec": _pod(nodeName="n", serviceAccountName="default")}
    answer = await api.call("POST", api.path("pods"), body)
    assert answer.message == 'pods "q" is forbidden: a mirror pod may not reference service accounts'

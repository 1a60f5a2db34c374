"""Acting as somebody else."""

from __future__ import annotations

from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.apiserver.authentication import impersonation as sut

WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def _headers(*pairs: tuple[str, str]) -> sut.Headers:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


@pytest.mark.parametrize(
    ("pairs", "groups"),
    [
        ([("Impersonate-User", "jane")], ("system:authenticated",)),
        ([("impersonate-user", "jane"), ("Impersonate-Group", "dev")], ("dev", "system:authenticated")),
        ([("Impersonate-User", "jane"), ("Impersonate-Group", "system:authenticated")], ("system:authenticated",)),
        ([("Impersonate-User", "system:anonymous")], ("system:unauthenticated",)),
        (
            [("Impersonate-User", "system:serviceaccount:ns:robot")],
            ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"),
        ),
        (
            [("Impersonate-User", "system:serviceaccount:ns:robot"), ("Impersonate-Group", "a")],
            ("a", "system:authenticated"),
        ),
    ],
)
def test_groups_come_as_asked_and_as_the_kind_of_user_has_them(
    pairs: list[tuple[str, str]], groups: tuple[str, ...]
) -> None:
    wish = sut.read(_headers(*pairs))
    assert wish is not None
    assert sut.granted(wish).groups == groups


def test_extra_keys_are_decoded_and_every_value_is_asked_for() -> None:
    pairs = [("Impersonate-User", "j"), ("Impersonate-Extra-Example.com%2Fscope", "a")]
    wish = sut.read(_headers(*pairs, ("Impersonate-Extra-example.com%2fscope", "b"), ("Impersonate-Uid", "7")))
    assert wish is not None
    assert sut.granted(wish).extra == (("example.com/scope", ("a", "b")),)
    asked = [(q.group, q.combined, q.name) for q in sut.questions(wish)]
    assert asked == [
        ("", "users", "j"),
        ("authentication.k8s.io", "userextras/example.com/scope", "a"),
        ("authentication.k8s.io", "userextras/example.com/scope", "b"),
        ("authentication.k8s.io", "uids", "7"),
    ]


def test_a_group_without_a_user_is_an_error() -> None:
    with pytest.raises(APIError) as raised:
        sut.read(_headers(("Impersonate-Group", "system:masters")))
    assert raised.value.code == 500


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("system:serviceaccount:a:b", ("a", "b")),
        ("system:serviceaccount:a:", None),
        ("system:serviceaccount:a:b:c", None),
        ("jane", None),
    ],
)
def test_names_of_service_accounts(name: str, expected: tuple[str, str] | None) -> None:
    assert sut.service_account(name) == expected


def test_other_headers_ask_for_nothing() -> None:
    assert not sut.asked(_headers(("If-None-Match", "x"), ("Accept", "impersonate-user")))


async def test_an_administrator_may_be_anybody(api: Any) -> None:
    headers = {"Impersonate-User": "jane", "Impersonate-Group": "dev", "Impersonate-Uid": "7"}
    answer = await api.call("POST", WHO_AM_I, {}, headers=headers)
    assert answer.json["status"]["userInfo"] == {
        "username": "jane",
        "uid": "7",
        "groups": ["dev", "system:authenticated"],
    }
    answer = await api.get("/api/v1/nodes", headers={"Impersonate-User": "jane"})
    assert answer.message.startswith('nodes is forbidden: User "jane" cannot list resource "nodes"')


async def test_others_may_not(api: Any) -> None:
    answer = await api.get("/version", token="joe-token", headers={"Impersonate-User": "jane"})
    assert answer.status == 403
    assert answer.message == (
        'users "jane" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    headers = {"Impersonate-User": "system:serviceaccount:ns:robot"}
    answer = await api.get("/version", token="joe-token", headers=headers)
    assert answer.message == (
        'serviceaccounts "robot" is forbidden: User "joe" cannot impersonate resource "serviceaccounts" in API group '
        '"" in the namespace "ns"'
    )


def test_kubectl_acts_as_somebody_else(kubectl: Any) -> None:
    assert "jane" in kubectl("auth", "whoami", "--as=jane", "--as-group=dev")

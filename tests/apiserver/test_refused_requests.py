"""Reads and deletions that cannot be are refused in kube-apiserver v1.36's words, with its codes and reasons.

Source of the words: k8s.io/apiserver's endpoints/handlers and apimachinery's conversion of queries, both v0.36.
"""

from __future__ import annotations

from typing import Any

import pytest

NINES = "9" * 5000


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("configmaps?limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "configmaps?limit=9223372036854775808",
            400,
            'strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
        (f"configmaps?limit=-{NINES}", 400, f'strconv.ParseInt: parsing "-{NINES}": value out of range'),
        ("configmaps?timeoutSeconds=", 400, 'strconv.ParseInt: parsing "": invalid syntax'),
        ("configmaps?watch=1&timeoutSeconds=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("configmaps?limit=1&limit=x", 200, ""),
        (
            "configmaps?resourceVersion=x",
            400,
            'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
        ),
        (
            "configmaps?resourceVersion=18446744073709551616",
            400,
            (
                'resourceVersion: Invalid value: "18446744073709551616": strconv.ParseUint: parsing '
                '"18446744073709551616": value out of range'
            ),
        ),
        ("configmaps?continue=x", 400, "invalid continue token: continue key is not valid"),
        (
            "configmaps?continue=eyJ2IjoidiJ9",
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version v",
        ),
        ("configmaps?fieldSelector=a", 400, "invalid selector: 'a'; can't understand 'a'"),
        (
            "configmaps?fieldSelector=a%3Db",
            400,
            '"a" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("pods?fieldSelector=a%3Db", 400, "field label not supported: a"),
        ("configmaps/c?export=1", 400, "the export parameter, deprecated since v1.14, is no longer supported"),
        ("configmaps/c?export=false", 200, ""),
        (
            "configmaps/c?watch=1&fieldSelector=metadata.name%3Dd",
            400,
            "fieldSelector metadata.name doesn't match requested name",
        ),
        ("configmaps/c/status", 404, "the server could not find the requested resource"),
        ("nopes", 404, "the server could not find the requested resource"),
    ],
)
async def test_a_read_that_cannot_be(api: Any, path: str, code: int, message: str) -> None:
    await api.config_map("c")
    answer = await api.get(f"/api/v1/namespaces/{api.namespace}/{path}")
    assert (answer.status, answer.json.get("message", "")) == (code, message)


@pytest.mark.parametrize(("method", "name"), [("PUT", ""), ("PATCH", ""), ("POST", "c"), ("OPTIONS", "c")])
async def test_a_method_that_a_path_does_not_have(api: Any, method: str, name: str) -> None:
    answer = await api.call(method, api.path("configmaps", name), {"metadata": {"name": "c"}})
    assert (answer.status, answer.json["reason"], answer.json["details"]) == (405, "MethodNotAllowed", {})
    assert answer.message == "the server does not allow this method on the requested resource"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "configmaps/c", 404),
        ("DELETE", "configmaps/c", 404),
        ("GET", "pods/c/log", 404),
        ("POST", "configmaps", 405),
        ("DELETE", "configmaps", 405),
        ("POST", "watch/configmaps", 405),
    ],
)
async def test_what_is_in_a_namespace_is_not_found_outside(api: Any, method: str, path: str, code: int) -> None:
    assert (await api.call(method, f"/api/v1/{path}", {"metadata": {"name": "c"}})).status == code


@pytest.mark.parametrize(
    ("query", "body", "code", "message"),
    [
        ("?gracePeriodSeconds=x", None, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "?propagationPolicy=",
            None,
            422,
            (
                'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "": supported values: '
                '"Foreground", "Background", "Orphan", "nil"'
            ),
        ),
        (
            "",
            {"gracePeriodSeconds": "x"},
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            "",
            {"preconditions": {"uid": 5}},
            400,
            "json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type string",
        ),
        (
            "",
            {"dryRun": [True]},
            400,
            "json: cannot unmarshal bool into Go struct field DeleteOptions.dryRun of type string",
        ),
        (
            "",
            b"nope",
            400,
            "couldn't get version/kind; json parse error: invalid character 'o' in literal null (expecting 'u')",
        ),
        (
            "",
            {"kind": "Pod", "apiVersion": "v1"},
            400,
            'no kind "Pod" is registered for version "v1" in scheme "pkg/runtime/scheme.go:110"',
        ),
        (
            "?resourceVersion=1",
            None,
            409,
            (
                'Operation cannot be fulfilled on ConfigMap "c": the ResourceVersion in the precondition (1) does not '
                "match the ResourceVersion in record (VERSION). The object might have been modified"
            ),
        ),
        ("", {"kind": "DeleteOptions", "apiVersion": "apps/v1"}, 200, ""),
    ],
)
async def test_a_deletion_that_cannot_be(api: Any, query: str, body: Any, code: int, message: str) -> None:
    made = await api.config_map("c")
    answer = await api.call("DELETE", api.path("configmaps", "c") + query, body)
    expected = message.replace("VERSION", made["metadata"]["resourceVersion"])
    assert (answer.status, answer.json.get("message", "")) == (code, expected)


@pytest.mark.parametrize(
    ("query", "body", "left"),
    [
        ("dryRun=All", None, True),
        ("dryRun=All", {}, False),
        ("dryRun=no&fieldValidation=no&force=no", {}, False),
        ("dryRun=no", None, True),
        ("fieldValidation=no&force=no", None, False),
        ("", {"dryRun": ["All"]}, True),
        ("resourceVersion=1", None, True),
        ("resourceVersion=1", {}, False),
        ("resourceVersion=1", {"preconditions": None, "dryRun": []}, False),
    ],
)
async def test_the_query_of_a_deletion_counts_only_without_a_body(api: Any, query: str, body: Any, left: bool) -> None:
    await api.config_map("c")
    path = api.path("configmaps", "c")
    await api.call("DELETE", f"{path}?{query}", body)
    assert (await api.get(path)).status == (200 if left else 404)


async def test_a_deletion_of_many_that_may_not_be_says_why(api: Any) -> None:
    for name in ("a", "b"):
        await api.config_map(name)
    answer = await api.call("DELETE", api.path("configmaps"), {"preconditions": {"uid": "x"}})
    assert (answer.status, answer.json["reason"], answer.json["details"]["name"]) == (409, "Conflict", "a")
    assert len((await api.get(api.path("configmaps"))).json["items"]) == 2


async def test_a_deletion_of_many_answers_with_what_was_there(api: Any) -> None:
    made = [
        await api.create(api.path("configmaps"), {"metadata": {"name": name, "finalizers": ["x.io/y"]}})
        for name in ("a", "b")
    ]
    answer = await api.call("DELETE", api.path("configmaps"))
    assert [item["metadata"] for item in answer.json["items"]] == [one["metadata"] for one in made]


async def test_a_deletion_that_goes_on_below_is_accepted(api: Any) -> None:
    """Only for whoever says so in the old way: other clients were told 200 all along."""
    for name, body, code in (("a", {"orphanDependents": False}, 202), ("b", {"propagationPolicy": "Background"}, 200)):
        await api.create(api.path("configmaps"), {"metadata": {"name": name, "finalizers": ["x.io/y"]}})
        assert (await api.call("DELETE", api.path("configmaps", name), body)).status == code

"""What a request line asks for."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.apiserver.paths import known, parse, parse_query, remember


@given(st.text("ab=&;?/_.%+é2", max_size=14))
def test_a_query_is_read_as_urllib_reads_it_but_the_first_of_several_counts(text: str) -> None:
    expected = dict(reversed(parse_qsl(text, keep_blank_values=True)))
    assert list(parse_query(text).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("method", "path", "verb", "namespace", "name", "served"),
    [
        ("GET", "/api/v1/pods", "list", "", "", True),
        ("GET", "/api/v1/pods/x", "get", "", "x", False),
        ("GET", "/api/v1/pods/x/log", "get", "", "x", False),
        ("GET", "/api/v1/namespaces/n/nodes", "list", "n", "", False),
        ("GET", "/api/v1/nodes/x", "get", "", "x", True),
        ("GET", "/api/v1/namespaces/n", "get", "n", "n", True),
        ("GET", "/api/v1/watch/pods", "watch", "", "", True),
        ("GET", "/api/v1/watch/namespaces", "watch", "", "", True),
        ("GET", "/api/v1/watch/namespaces/n", "watch", "n", "n", True),
        ("GET", "/api/v1/watch/namespaces/n/pods", "watch", "n", "", True),
        ("GET", "/api/v1/watch/namespaces/n/pods/x", "watch", "n", "x", True),
        ("GET", "/apis/apps/v1/watch/namespaces/n/deployments/x", "watch", "n", "x", True),
        ("DELETE", "/api/v1/watch/namespaces/n/pods", "watch", "n", "", True),
        ("GET", "/api/v1/watch/namespaces/n/pods/x/proxy/y", "watch", "n", "x", False),
        ("GET", "/api/v1/watch/namespaces/n/status", "watch", "n", "n", False),
        ("GET", "/api/v1/watch", "list", "", "", False),
        ("GET", "/api/v1" + "/watch" * 2000, "get", "", "watch", False),
        ("GET", "/api/v1/namespaces/n/watch/pods", "get", "n", "pods", False),
    ],
)
def test_a_path_names_a_resource(method: str, path: str, verb: str, namespace: str, name: str, served: bool) -> None:
    target = parse(method, path)
    assert (target.verb, target.namespace, target.name, target.kind is not None) == (verb, namespace, name, served)


def test_only_lines_that_ask_for_a_creation_without_options_are_known_again() -> None:
    for method, path, again in (
        ("POST", "/api/v1/namespaces/n/configmaps", True),
        ("POST", "/apis/apps/v1/namespaces/n/deployments", True),
        ("POST", "/api/v1/namespaces/n/configmaps?dryRun=All", False),
        ("POST", "/api/v1/namespaces/n/pods/p/binding", False),
        ("GET", "/api/v1/namespaces/n/configmaps", False),
        ("POST", f"/api/v1/namespaces/{'n' * 256}/configmaps", False),
        ("POST", "/apis/example.com/v1/widgets", False),
    ):
        line, target = f"{method} {path} HTTP/1.1".encode(), parse(method, path)
        remember(line, target)
        found = known(line)
        assert (found is not None) == again
        if found is not None:
            assert found is not target
            assert all(getattr(found, name) == getattr(target, name) for name in target.__slots__)
            found.warnings.append("mine alone")
            assert known(line).warnings == []  # type: ignore[union-attr]

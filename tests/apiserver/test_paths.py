"""What a request line asks for."""

from __future__ import annotations

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from hawser.apiserver.paths import known, parse, parse_query, remember


@given(st.text("ab=&;?/_.%+é2", max_size=14))
def test_a_query_is_read_as_urllib_reads_it_but_the_first_of_several_counts(text: str) -> None:
    expected = dict(reversed(parse_qsl(text, keep_blank_values=True)))
    assert list(parse_query(text).items()) == list(expected.items())


def test_only_lines_that_ask_for_a_creation_without_options_are_known_again() -> None:
    for method, path, again in (
        ("POST", "/api/v1/namespaces/n/configmaps", True),
        ("POST", "/apis/apps/v1/namespaces/n/deployments", True),
        ("POST", "/api/v1/namespaces/n/configmaps?dryRun=All", False),
        ("POST", "/api/v1/namespaces/n/pods/p/binding", False),
        ("GET", "/api/v1/namespaces/n/configmaps", False),
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

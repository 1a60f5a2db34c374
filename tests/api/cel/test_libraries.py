"""Kubernetes' libraries: cases of its documentation, evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hawser.api.cel.library.authorizer import AUTHORIZER, Check
from hawser.api.cel.program import EvalError, compile_expression, environment
from hawser.api.cel.types import Type

_NOTHING = environment({})


def value(source: str) -> Any:
    return compile_expression(source, _NOTHING).evaluate([])[0]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'hello mellow'.indexOf('ello', 2)", 7),
        ("'hello mellow'.lastIndexOf('ello', 6)", 1),
        ("'TacoCat'.lowerAscii() + 'ä'.upperAscii()", "tacocatä"),
        ("'hello hello'.replace('he', 'we', 1)", "wello hello"),
        ("'hello hello'.replace('', '_', 2)", "_h_ello hello"),
        ("'hello hello hello'.split(' ', 2)", ["hello", "hello hello"]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'tacocat'.substring(4)", "cat"),
        ("' \\ttrim\\n '.trim()", "trim"),
        ("['a', 'b'].join('-')", "a-b"),
        ("strings.quote('a\"b\\n')", '"a\\"b\\n"'),
        ("'%s is %d, %.2f, %x, %b, %e, %%'.format([dyn('a'), 3, 1234.5, 255, 5, 1052.03])",
         "a is 3, 1,234.50, ff, 101, 1.052030\u202f×\u202f10⁰³, %"),
        ("'%s'.format([['a', dyn(1.5), dyn(duration('1s'))]]) + '%s'.format([{'b': 1, 'a': 2}])",
         '["a", 1.500000, duration("1s")]{"a":2, "b":1}'),
        ("[1, 2, 2, 3].isSorted() && ![2, 1].isSorted()", True),
        ("[1, 3].sum() + [4, 5].min() + [4, 5].max()", 13),
        ("[1, 2, 2].indexOf(2) * 10 + [1, 2, 2].lastIndexOf(2)", 12),
        ("[1, 2, 3, 4].slice(1, 3)", [2, 3]),
        ("[[1], [2, 3]].flatten()", [1, 2, 3]),
        ("['b', 'a'].sort()", ["a", "b"]),
        ("[{'n': 2}, {'n': 1}].sortBy(e, e.n).map(e, e.n)", [1, 2]),
        ("[1, 2, 1].distinct()", [1, 2]),
        ("lists.range(3)", [0, 1, 2]),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])", True),
        ("'abc 123 def 456'.find('[0-9]+')", "123"),
        ("'123 abc 456'.findAll('[0-9]*', 2)", ["123", ""]),
        ("'a\\nb'.matches('a.b')", False),
        ("url('https://user@example.com:80/path%20a?k=a&k=b').getHost()", "example.com:80"),
        ("url('https://[::1]:80/').getHostname() + url('https://[::1]:80/').getPort()", "::180"),
        ("url('/a?k=a&k=b').getQuery()", {"k": ["a", "b"]}),
        ("isURL('https://a b') || isURL('../a')", False),
        ("isQuantity('1.3Gi') && !isQuantity('1,3')", True),
        ("quantity('50k').add(20).compareTo(quantity('50020'))", 0),
        ("quantity('50M').asInteger()", 50_000_000),
        ("quantity('1Ki') == quantity('1024')", True),
        ("quantity('1.5').isInteger()", False),
        ("ip('127.0.0.1').isLoopback() && ip('::1').family() == 6", True),
        ("isIP('::ffff:1.2.3.4') || isIP('1.2.3.04') || isIP('fe80::1%eth0')", False),
        ("ip.isCanonical('2001:DB8::abcd')", False),
        ("cidr('192.168.0.0/24').containsIP(ip('192.168.0.1'))", True),
        ("cidr('192.168.0.0/24').containsCIDR('192.168.0.0/25')", True),
        ("string(cidr('192.168.0.7/24').masked()) + string(cidr('10.0.0.0/8').ip())", "192.168.0.0/2410.0.0.0"),
        ("cidr('10.0.0.0/8').prefixLength()", 8),
        ("semver('1.2.3').isLessThan(semver('2.0.0-rc.1')) && semver('1.0.0-a').isLessThan(semver('1.0.0'))", True),
        ("isSemver('v1.0') || isSemver('01.0.0')", False),
        ("semver('v1.02', true).minor()", 2),
        ("format.dns1123Label().validate('my-label').hasValue()", False),
        ("format.named('uuid').value().validate('no').value()", ["does not match the UUID format"]),
        ("format.named('nope').hasValue()", False),
    ],
)  # fmt: skip
def test_a_library_function_has_its_value(source: str, expected: Any) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("[1].slice(0, 2)", r"cannot slice\(0, 2\), list is length 1"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("quantity('1,5')", "quantities must match the regular expression"),
        ("ip('1.2.3')", "parse error during conversion from string"),
        ("'%d'.format([dyn('a')])", "decimal clause can only be used on integers, was given string"),
        ("[dyn(1), dyn('a')].sortBy(e, e)", "list elements must have the same type"),
        (
            "lists.range(50000).map(x, '1234567890').join('').replace('', '1234567890' + '1234567890123456789012345')",
            "exceeds maximum",
        ),
        ("lists.range(100000000)", "exceeds maximum allowed"),
    ],
)
def test_a_library_function_says_why_it_fails(source: str, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        value(source)


def test_the_authorizer_is_asked_what_the_expression_says() -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def decide(user: str, attributes: Mapping[str, Any]) -> tuple[bool, str]:
        asked.append((user, attributes))
        return attributes["verb"] == "get", "because"

    known = environment({"authorizer": Type("opaque", AUTHORIZER)})
    source = (
        "authorizer.group('apps').resource('deployments').namespace('a').name('b').check('get').allowed() && "
        "!authorizer.serviceAccount('n', 's').path('/x').check('post').allowed()"
    )
    found, cost = compile_expression(source, known).evaluate([Check(decide)])
    assert found is True
    assert cost > 700_000
    assert asked == [
        ("", {"group": "apps", "resource": "deployments", "namespace": "a", "name": "b", "verb": "get"}),
        ("system:serviceaccount:n:s", {"path": "/x", "verb": "post"}),
    ]

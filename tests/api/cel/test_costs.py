"""What expressions cost: figures of Kubernetes' own libraries, which are part of its API."""

from __future__ import annotations

import pytest

from hawser.api.cel.estimator import worst_cost
from hawser.api.cel.library.authorizer import AUTHORIZER, Check
from hawser.api.cel.program import compile_expression, environment
from hawser.api.cel.types import Type

_AUTHORIZER = Type("opaque", AUTHORIZER)
_KNOWN = environment({"authorizer": _AUTHORIZER})
_TEXTS = "['aa', 'bb', 'cc', 'd', 'e', 'f', 'g', 'h', 'i', 'j']"
_LONG = "'01234567890123456789012345678901234567890123456789'"
_SELECTOR = "'spec.nodeName=example-node-name.fully.qualified.domain.name.example.com'"
_PODS = "authorizer.group('apps').resource('deployments').subresource('status').namespace('test').name('backend')"


@pytest.mark.parametrize(
    ("source", "most", "cost"),
    [
        ("[1, 2, 3, 4, 5].sum()", 15, 15),
        ("[uint(1), uint(2), uint(3), uint(4), uint(5)].max()", 20, 20),
        ("[true, false, true, false, true].isSorted()", 15, 15),
        ("['012345678901', '012345678901', '012345678901', '012345678901', '012345678901'].isSorted()", 25, 15),
        ("[1, 2, 3, 4, 5].indexOf(3)", 15, 15),
        (f"{_LONG}.indexOf('123')", 5, 5),
        ("url('https:://kubernetes.io/').getScheme()", 4, 4),
        ("ip('192.168.0.1').family()", 3, 3),
        ("ip('2001:db8:3333:4444:5555:6666:7777:8888')", 4, 4),
        ("ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')", 8, 8),
        ("cidr('192.168.0.0/16').masked()", 3, 3),
        ("cidr('192.168.0.0/16').ip()", 3, 3),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii()", 3, 3),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 9, 9),
        ("strings.quote('ABCDEFGHIJ abcdefghij')", 3, 3),
        ("'abc 123 def 123'.replace('123', '456')", 3, 3),
        ("'abc 123 def 123'.split(' ', 1)", 3, 3),
        ("'abc 123 def 123'.substring(5, 8)", 2, 2),
        ("'  abc 123 def 123  '.trim()", 2, 2),
        (f"{_TEXTS}.join(' ')", 13, 15),
        (f"{_TEXTS}.join()", 12, 13),
        ("'abc 123 def 123'.findAll('123', 1)", 2, 2),
        ("authorizer.path('/healthz')", 2, 2),
        ("authorizer.path('/healthz').check('get').allowed()", 350_003, 350_003),
        (_PODS, 6, 6),
        (f"{_PODS}.check('create').errored()", 350_007, 350_007),
        (f"authorizer.group('').resource('pods').fieldSelector({_SELECTOR})", 1821, 1821),
        ("quantity('12Mi')", 1, 1),
        ("quantity('50M').isLessThan(quantity('50Mi'))", 3, 3),
        ("quantity('50k').add(20).sub(quantity('100k')).sub(-50000).asInteger() > 0", 7, 7),
        ("format.named('dns1123subdomain')", 1, 1),
        ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29),
        ("sets.contains([1], [])", 21, 21),
    ],
)
def test_an_expression_costs_what_it_costs_in_kubernetes(source: str, most: int, cost: int) -> None:
    program = compile_expression(source, _KNOWN)
    _, found = program.evaluate([Check(lambda user, attributes: (True, ""))])
    assert (worst_cost(program.checked, {"authorizer": _AUTHORIZER}), found) == (most, cost)

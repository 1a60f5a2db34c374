"""Who may ask the node agent's server, and for what that counts."""

from __future__ import annotations

import pytest

from hawser.node.server.access import subresources
from hawser.node.server.identity import allowed


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/metrics/cadvisor", ("metrics",)),
        ("/stats/summary", ("stats",)),
        ("/checkpoint/a/b/c", ("checkpoint",)),
        ("/runningpods/", ("pods", "proxy")),
        ("/configz", ("configz", "proxy")),
        ("/exec/a/b/c", ("proxy",)),
    ],
)
def test_a_path_is_a_subresource_of_nodes(path: str, wanted: tuple[str, ...]) -> None:
    assert subresources(path) == wanted


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ((("organizationName", "system:masters"),), True),
        ((("commonName", "kube-apiserver-kubelet-client"),), True),
        ((("commonName", "system:masters"),), False),
        ((("organizationName", "kube-apiserver-kubelet-client"),), False),
    ],
)
def test_certificates_that_may_use_the_api(subject: tuple[tuple[str, str], ...], expected: bool) -> None:
    assert allowed({"subject": (subject,)}) is expected

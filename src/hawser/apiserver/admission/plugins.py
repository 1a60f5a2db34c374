"""Which plugins there are, in Kubernetes' order.

Source: kube-apiserver, ``--enable-admission-plugins``: the recommended order is fixed, whatever order the flag has.
"""

from __future__ import annotations

from hawser.apiserver.admission.chain import Chain
from hawser.apiserver.strategies.base import Lookup


def chain(lookup: Lookup) -> Chain:
    """Every plugin that is on."""
    return Chain()

"""What a server serves beyond the kinds this program knows: custom resources, in the version it prefers.

Source: Kubernetes documentation, "API Discovery" (aggregated discovery, apidiscovery.k8s.io/v2).
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from hawser.api.kinds import KINDS, Kind
from hawser.client.client import Client

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Discovered(NamedTuple):
    """kinds: a row for every resource that the kind table lacks and that can be listed.

    stale: group versions (``metrics.k8s.io/v1beta1``) whose server does not say now what it has.
    """

    kinds: list[Kind]
    stale: list[str]


async def discover(client: Client) -> Discovered:
    """What the server serves beyond the kind table. Raises APIError."""
    document = orjson.loads(await client.raw("GET", "/apis", accept=_AGGREGATED))
    known = {(kind.group, kind.plural) for kind in KINDS}
    found = Discovered([], [])
    for item in document.get("items") or ():
        group = item["metadata"]["name"]
        # Versions come in order of preference.
        for version in item.get("versions") or ():
            if version.get("freshness") == "Stale":
                found.stale.append(f"{group}/{version['version']}")
            for resource in version.get("resources") or ():
                plural, verbs = resource["resource"], tuple(resource.get("verbs") or ())
                if (group, plural) in known or "list" not in verbs:
                    continue
                known.add((group, plural))
                kind = resource["responseKind"]["kind"]
                namespaced = resource["scope"] == "Namespaced"
                found.kinds.append(Kind(group, version["version"], kind, plural, namespaced, verbs=verbs))
    return found


async def custom_kinds(client: Client) -> list[Kind]:
    """A row for every resource that the kind table lacks and that can be listed. Raises APIError."""
    return (await discover(client)).kinds

"""What a server serves beyond the kinds this program knows: custom resources, in the version it prefers.

Source: Kubernetes documentation, "API Discovery" (aggregated discovery, apidiscovery.k8s.io/v2).
"""

from __future__ import annotations

import orjson

from hawser.api.kinds import KINDS, Kind
from hawser.client.client import Client

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def custom_kinds(client: Client) -> list[Kind]:
    """A row for every resource that the kind table lacks and that can be listed. Raises APIError."""
    document = orjson.loads(await client.raw("GET", "/apis", accept=_AGGREGATED))
    known = {(kind.group, kind.plural) for kind in KINDS}
    found: list[Kind] = []
    for item in document.get("items") or ():
        group = item["metadata"]["name"]
        # Versions come in order of preference.
        for version in item.get("versions") or ():
            for resource in version.get("resources") or ():
                plural, verbs = resource["resource"], tuple(resource.get("verbs") or ())
                if (group, plural) in known or "list" not in verbs:
                    continue
                known.add((group, plural))
                kind = resource["responseKind"]["kind"]
                namespaced = resource["scope"] == "Namespaced"
                found.append(Kind(group, version["version"], kind, plural, namespaced, verbs=verbs))
    return found

"""Field numbers of kubelet's API to drivers of dynamic resources.

Source: kubelet's dra/v1 and dra/v1beta1 api.proto, which differ by nothing but their package.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from hawser.node.rpc.schema import Schema

SERVICES = ("v1.DRAPlugin", "v1beta1.DRAPlugin")
"""What a driver says that it serves, when it registers."""
_MESSAGES: dict[str, Any] = {
    "Claim": {"namespace": [1, "string"], "uid": [2, "string"], "name": [3, "string"]},
    "Device": {
        "request_names": [1, "repeated string"],
        "pool_name": [2, "string"],
        "device_name": [3, "string"],
        "cdi_device_ids": [4, "repeated string"],
        "share_id": [5, "string"],
    },
    "NodePrepareResourcesRequest": {"claims": [1, "repeated Claim"]},
    "NodePrepareResourceResponse": {"devices": [1, "repeated Device"], "error": [2, "string"]},
    # Maps to messages: on the wire a list of pairs.
    "Prepared": {"key": [1, "string"], "value": [2, "NodePrepareResourceResponse"]},
    "NodePrepareResourcesResponse": {"claims": [1, "repeated Prepared"]},
    "NodeUnprepareResourcesRequest": {"claims": [1, "repeated Claim"]},
    "NodeUnprepareResourceResponse": {"error": [1, "string"]},
    "Unprepared": {"key": [1, "string"], "value": [2, "NodeUnprepareResourceResponse"]},
    "NodeUnprepareResourcesResponse": {"claims": [1, "repeated Unprepared"]},
}
_METHODS = {name: [f"{name}Request", f"{name}Response"] for name in ("NodePrepareResources", "NodeUnprepareResources")}


@cache
def dra(service: str) -> Schema:
    """The API of one of ``SERVICES``."""
    package = f"k8s.io.kubelet.pkg.apis.dra.{service.partition('.')[0]}"
    return Schema({"package": package, "enums": {}, "messages": _MESSAGES, "services": {"DRAPlugin": _METHODS}})

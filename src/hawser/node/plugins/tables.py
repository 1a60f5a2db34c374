"""Field numbers of kubelet's plugin registration. Source: kubelet's pluginregistration/v1 api.proto."""

from __future__ import annotations

from functools import cache

from hawser.node.rpc.schema import Schema, Table

_REGISTRATION: Table = {
    "package": "pluginregistration",
    "enums": {},
    "messages": {
        "InfoRequest": {},
        "PluginInfo": {
            "type": [1, "string"],
            "name": [2, "string"],
            "endpoint": [3, "string"],
            "supported_versions": [4, "repeated string"],
        },
        "RegistrationStatus": {"plugin_registered": [1, "bool"], "error": [2, "string"]},
        "RegistrationStatusResponse": {},
    },
    "services": {
        "Registration": {
            "GetInfo": ["InfoRequest", "PluginInfo"],
            "NotifyRegistrationStatus": ["RegistrationStatus", "RegistrationStatusResponse"],
        }
    },
}


@cache
def registration() -> Schema:
    """Kubelet's plugin registration."""
    return Schema(_REGISTRATION)

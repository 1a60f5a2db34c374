"""The gRPC APIs that the agent calls on its own machine, besides drivers of volumes.

CRI's table is ``fields.json``; the small ones of containerd's event service and of gRPC's health check are written
here.
Source of their numbers: containerd api/services/events/v1, api/events/task.proto; grpc/health/v1/health.proto.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from hawser.node.rpc.schema import Schema, Table

_TIMESTAMP = {"seconds": [1, "int64"], "nanos": [2, "int32"]}
EVENTS_TABLE: Table = {
    "package": "containerd.services.events.v1",
    "enums": {},
    "messages": {
        "SubscribeRequest": {"filters": [1, "repeated string"]},
        "Timestamp": _TIMESTAMP,
        "Any": {"type_url": [1, "string"], "value": [2, "bytes"]},
        "Envelope": {
            "timestamp": [1, "Timestamp"],
            "namespace": [2, "string"],
            "topic": [3, "string"],
            "event": [4, "Any"],
        },
        "TaskExit": {
            "container_id": [1, "string"],
            "id": [2, "string"],
            "pid": [3, "uint32"],
            "exit_status": [4, "uint32"],
            "exited_at": [5, "Timestamp"],
        },
    },
    "services": {"Events": {"Subscribe": ["SubscribeRequest", "stream Envelope"]}},
}
HEALTH_TABLE: Table = {
    "package": "grpc.health.v1",
    "enums": {"ServingStatus": {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}},
    "messages": {
        "HealthCheckRequest": {"service": [1, "string"]},
        "HealthCheckResponse": {"status": [1, "ServingStatus"]},
    },
    "services": {"Health": {"Check": ["HealthCheckRequest", "HealthCheckResponse"]}},
}


@cache
def cri() -> Schema:
    """CRI runtime.v1."""
    return Schema(json.loads((Path(__file__).parent / "fields.json").read_text()))


@cache
def events() -> Schema:
    """containerd's event service."""
    return Schema(EVENTS_TABLE)


@cache
def health() -> Schema:
    """gRPC's health checking protocol."""
    return Schema(HEALTH_TABLE)

"""Field numbers of the Container Storage Interface's node service. Source: the CSI specification 1.11, csi.proto."""

from __future__ import annotations

from functools import cache

from hawser.node.rpc.schema import Schema, Table

_CSI: Table = {
    "package": "csi.v1",
    "enums": {},
    "messages": {
        "Empty": {},
        "MountVolume": {
            "fs_type": [1, "string"],
            "mount_flags": [2, "repeated string"],
            "volume_mount_group": [3, "string"],
        },
        "AccessMode": {"mode": [1, "int32"]},
        "VolumeCapability": {
            "block": [1, "Empty"],
            "mount": [2, "MountVolume"],
            "access_mode": [3, "AccessMode"],
        },
        "NodeStageVolumeRequest": {
            "volume_id": [1, "string"],
            "publish_context": [2, "map<string,string>"],
            "staging_target_path": [3, "string"],
            "volume_capability": [4, "VolumeCapability"],
            "secrets": [5, "map<string,string>"],
            "volume_context": [6, "map<string,string>"],
        },
        "NodeUnstageVolumeRequest": {"volume_id": [1, "string"], "staging_target_path": [2, "string"]},
        "NodePublishVolumeRequest": {
            "volume_id": [1, "string"],
            "publish_context": [2, "map<string,string>"],
            "staging_target_path": [3, "string"],
            "target_path": [4, "string"],
            "volume_capability": [5, "VolumeCapability"],
            "readonly": [6, "bool"],
            "secrets": [7, "map<string,string>"],
            "volume_context": [8, "map<string,string>"],
        },
        "NodeUnpublishVolumeRequest": {"volume_id": [1, "string"], "target_path": [2, "string"]},
        "CapacityRange": {"required_bytes": [1, "int64"]},
        "NodeExpandVolumeRequest": {
            "volume_id": [1, "string"],
            "volume_path": [2, "string"],
            "capacity_range": [3, "CapacityRange"],
            "staging_target_path": [4, "string"],
            "volume_capability": [5, "VolumeCapability"],
            "secrets": [6, "map<string,string>"],
        },
        "Rpc": {"type": [1, "int32"]},
        "NodeServiceCapability": {"rpc": [1, "Rpc"]},
        "NodeGetCapabilitiesResponse": {"capabilities": [1, "repeated NodeServiceCapability"]},
        "Topology": {"segments": [1, "map<string,string>"]},
        "NodeGetInfoResponse": {
            "node_id": [1, "string"],
            "max_volumes_per_node": [2, "int64"],
            "accessible_topology": [3, "Topology"],
        },
    },
    "services": {
        "Node": {
            "NodeStageVolume": ["NodeStageVolumeRequest", "Empty"],
            "NodeUnstageVolume": ["NodeUnstageVolumeRequest", "Empty"],
            "NodePublishVolume": ["NodePublishVolumeRequest", "Empty"],
            "NodeUnpublishVolume": ["NodeUnpublishVolumeRequest", "Empty"],
            "NodeExpandVolume": ["NodeExpandVolumeRequest", "Empty"],
            "NodeGetCapabilities": ["Empty", "NodeGetCapabilitiesResponse"],
            "NodeGetInfo": ["Empty", "NodeGetInfoResponse"],
        }
    },
}


@cache
def csi() -> Schema:
    """CSI 1.x."""
    return Schema(_CSI)

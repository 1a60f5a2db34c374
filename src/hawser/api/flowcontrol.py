"""The flow schemas and priority levels whose spec is fixed.

Source: "API Priority and Fairness", "Mandatory configuration objects".
"""

from __future__ import annotations

from hawser.api.types import Obj

_ALL = ["*"]


def _schema(level: str, precedence: int, *groups: str) -> Obj:
    """Everything that members of groups ask for."""
    resources = {"verbs": _ALL, "apiGroups": _ALL, "resources": _ALL, "clusterScope": True, "namespaces": _ALL}
    return {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [
            {
                "subjects": [{"kind": "Group", "group": {"name": name}} for name in groups],
                "resourceRules": [resources],
                "nonResourceRules": [{"verbs": _ALL, "nonResourceURLs": _ALL}],
            }
        ],
    }


MANDATORY_LEVELS: dict[str, Obj] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
    },
}
MANDATORY_SCHEMAS: dict[str, Obj] = {
    "exempt": _schema("exempt", 1, "system:masters"),
    "catch-all": {
        **_schema("catch-all", 10000, "system:unauthenticated", "system:authenticated"),
        "distinguisherMethod": {"type": "ByUser"},
    },
}

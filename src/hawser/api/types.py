"""Shared shapes of Kubernetes objects.

Kubernetes resources are plain dicts everywhere in Hawser; these aliases only say so in signatures.
"""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
"""A Kubernetes object (or a part of one) as decoded from JSON."""

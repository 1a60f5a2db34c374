"""Asks everything of the node that has a say whether it takes a pod."""

from __future__ import annotations

import contextlib

from hawser.api.errors import APIError
from hawser.api.kinds import NODE
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.pod import admission, preemption, view
from hawser.node.pod.context import Context
from hawser.node.pod.observed import Waiting


async def refusal(context: Context, pod: Obj, *, begun: bool) -> Waiting | None:
    """Why the node does not take the pod; None when it does, and then the pod is in the node's book.

    begun: something of it runs already, so it is not asked.
    """
    if view.deleting(pod) or has_ended(pod):
        return None
    book, machine = context.book, context.machine
    found = None
    if not begun:
        found = admission.rejection(pod, machine.features, machine.unsafe_sysctls)
        found = found or context.pressure(pod) or await context.devices.admit(pod) or book.refusal(pod, context.node())
    if found is not None and found.reason in ("NodeAffinity", "TaintToleration"):
        # Labels and taints may be newer than what the node last heard of itself.
        with contextlib.suppress(APIError):
            found = book.refusal(pod, await context.client.get(NODE, machine.node_name))
    if found is not None and found.reason.startswith("OutOf") and preemption.critical(pod):
        gone = book.victims(pod, context.node())
        for uid in gone:
            context.preempt(uid)
            book.release(uid)
        found = book.refusal(pod, context.node()) if gone else found
    if found is None:
        book.enter(pod)
    elif not begun:
        await context.devices.release(view.uid(pod))
    return found

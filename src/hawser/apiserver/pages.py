"""Pages for whoever looks into the server. What makes them is loaded when somebody asks."""

from __future__ import annotations

from aiohttp import web

from hawser.apiserver.documents import Documents
from hawser.apiserver.flowcontrol.control import FlowControl
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Reply

_FLOW = "/debug/api_priority_and_fairness"


def add(documents: Documents, flags: tuple[tuple[str, str], ...], flow: FlowControl) -> None:
    """Have them served. flags: how the server was started."""

    def statusz(request: web.BaseRequest, target: Target) -> Reply:
        from hawser.apiserver import zpages

        return zpages.statusz(documents.paths, request.headers.get("Accept", ""))

    def flagz(request: web.BaseRequest, target: Target) -> Reply:
        from hawser.apiserver import zpages

        return zpages.flagz(dict(flags), request.headers.get("Accept", ""))

    def dump(request: web.BaseRequest, target: Target) -> Reply:
        from hawser.apiserver.flowcontrol import dumps

        match target.path.rpartition("/")[2]:
            case "dump_priority_levels":
                return dumps.levels(flow)
            case "dump_queues":
                return dumps.queues(flow)
        return dumps.requests(flow, bool(target.query.get("includeRequestDetails")))

    documents.pages |= {"/statusz": statusz, "/flagz": flagz}
    names = ("dump_priority_levels", "dump_queues", "dump_requests")
    documents.pages |= dict.fromkeys((f"{_FLOW}/{name}" for name in names), dump)

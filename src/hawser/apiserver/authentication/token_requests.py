"""serviceaccounts/token: a token for a service account, posted as a TokenRequest.

Source: API reference, TokenRequest; KEP-1205 (bound tokens), KEP-2799 (extended life of the node agents' own).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson

from hawser.api import kinds
from hawser.api.errors import APIError, Cause, FieldError, bad_request, conflict, invalid
from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.authentication.claims import Binding
from hawser.apiserver.authentication.service_accounts import ServiceAccountTokens
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options, timestamp

KIND = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", True, verbs=("create",))
_DEFAULT_SECONDS = 3600
_LEAST_SECONDS = 600
_MOST_SECONDS = 1 << 32
_PROJECTED_SECONDS = 3607
"""What admission writes into pods; only tokens of exactly this life are made to last longer, as clients rely on."""
_EXTENDED_SECONDS = 365 * 24 * 3600


class TokenRequests:
    """Answers them."""

    def __init__(self, resources: Resources, tokens: ServiceAccountTokens) -> None:
        self._resources = resources
        self._tokens = tokens

    async def create(self, request: Obj, target: Target, user: User) -> None:
        """Fill in a posted TokenRequest. APIError 400, 404, 409, 422."""
        resources = self._resources
        account: Obj = self._load(kinds.SERVICE_ACCOUNT, target.namespace, target.name)
        _settle(request, target, timestamp(resources.now()))
        spec = request["spec"]
        options = Options(user=user, dry_run="dryRun" in target.query, kind="CreateOptions")
        posted = Request(
            Operation.CREATE, kinds.SERVICE_ACCOUNT, target.namespace, target.name, request, None, options, "token"
        )
        binding = self._binding(spec.get("boundObjectRef"), target)
        await resources.admission.admit(posted)
        if not spec.get("audiences"):
            spec["audiences"] = list(self._tokens.audiences)
        seconds = spec["expirationSeconds"]
        extended = (
            binding.pod is not None
            and seconds == _PROJECTED_SECONDS
            and set(spec["audiences"]) <= set(self._tokens.audiences)
        )
        life, warn_after = (_EXTENDED_SECONDS, seconds) if extended else (seconds, 0)
        request["status"] = {
            "token": self._tokens.issue(account, binding, spec["audiences"], life, warn_after),
            "expirationTimestamp": timestamp(datetime.fromtimestamp(int(time.time()) + seconds, UTC)),
        }

    def _load(self, kind: Kind, namespace: str, name: str) -> Obj:
        loaded: Obj = orjson.loads(self._resources[kind].get(namespace, name).value)
        return loaded

    def _binding(self, ref: Obj | None, target: Target) -> Binding:
        """What the token is to be bound to, looked up and checked."""
        if not ref:
            return Binding()
        group, _, version = (ref.get("apiVersion") or "").rpartition("/")
        name, what = ref.get("name") or "", ref.get("kind") or ""
        if group or what not in ("Pod", "Secret", "Node"):
            shown = f"{group}/{version}, Kind={what}"
            raise bad_request(f"cannot bind token to object of type {shown}")
        if what == "Node":
            return Binding(node=_same(ref, self._load(kinds.NODE, "", name)))
        if what == "Secret":
            return Binding(secret=_same(ref, self._load(kinds.SECRET, target.namespace, name)))
        pod = self._load(kinds.POD, target.namespace, name)
        if (pod["spec"].get("serviceAccountName") or "") != target.name:
            raise bad_request(
                f'cannot bind token for serviceaccount "{target.name}" to pod running with different '
                "serviceaccount name."
            )
        on = pod["spec"].get("nodeName")
        # A node that is not registered any more is still named: that says where the pod was placed.
        node = self._resources.find(kinds.NODE, "", on) or {"metadata": {"name": on}} if on else None
        return Binding(pod=_same(ref, pod), node=node)


def _settle(request: Obj, target: Target, now: str) -> None:
    """Defaults and what the server owns; APIError for what may not be asked."""
    metadata = request.get("metadata") or {}
    request["metadata"] = metadata
    if metadata.get("name", target.name) not in (target.name, ""):
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    if metadata.get("namespace", target.namespace) not in (target.namespace, ""):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata.update(name=target.name, namespace=target.namespace, creationTimestamp=now)
    request.pop("status", None)
    spec = request.get("spec") or {}
    request["spec"] = spec
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        seconds = spec["expirationSeconds"] = _DEFAULT_SECONDS
    path = "spec.expirationSeconds"
    errors = []
    if seconds < _LEAST_SECONDS:
        errors.append(FieldError(Cause.INVALID, path, "may not specify a duration less than 10 minutes", seconds))
    if seconds > _MOST_SECONDS:
        errors.append(FieldError(Cause.INVALID, path, "may not specify a duration larger than 2^32 seconds", seconds))
    if errors:
        raise invalid(KIND.group, KIND.kind, "", errors)


def _same(ref: Obj, obj: Obj) -> Obj:
    """The object, if it is the one that was meant. APIError 409."""
    uid = ref.get("uid")
    if uid and uid != obj["metadata"]["uid"]:
        raise _mismatch(ref, uid)
    return obj


def _mismatch(ref: Obj, uid: str) -> APIError:
    return conflict(
        "",
        ref["kind"],
        ref["name"],
        f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been "
        "deleted and then recreated",
    )

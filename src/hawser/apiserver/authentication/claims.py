"""The claims of service account tokens: what is said of an account and of what the token is bound to. Pure.

Source: Kubernetes documentation, "Managing Service Accounts", bound service account tokens; KEP-1205, KEP-4193.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hawser.api import kinds
from hawser.api.jws import TokenError
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver.identity import AUTHENTICATED, User

LEEWAY = 60.0
"""Seconds by which the clocks of machines may differ."""
LEGACY_ISSUER = "kubernetes/serviceaccount"
PREFIX = "system:serviceaccount:"
_GROUP = "system:serviceaccounts"
_EXTRA = "authentication.kubernetes.io/"
_LEGACY = "kubernetes.io/serviceaccount/"


@dataclass(frozen=True, slots=True)
class Reference:
    """An object that must still exist for a token to be good; uid empty: whatever has the name."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What verified claims say.

    since, until: seconds since the epoch, 0 for always. audiences: legacy tokens have none.
    """

    user: User
    references: tuple[Reference, ...]
    audiences: tuple[str, ...]
    since: float = 0.0
    until: float = 0.0
    legacy: bool = False

    def check_time(self, now: float) -> None:
        """TokenError unless the token is of now."""
        if self.until and now - LEEWAY > self.until:
            raise TokenError("service account token has expired")
        if self.since and now + LEEWAY < self.since:
            raise TokenError("service account token is not valid yet")


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token is bound to: at most one of pod and secret; node alone, or as the pod's."""

    pod: Obj | None = None
    secret: Obj | None = None
    node: Obj | None = None


def bound(
    account: Obj, binding: Binding, audiences: Sequence[str], now: int, seconds: int, warn_after: int, jti: str
) -> Obj:
    """The claims of a new token but for the issuer. warn_after: seconds until its use is remarkable, 0 for never."""
    metadata = account["metadata"]
    private: Obj = {"namespace": metadata["namespace"], "serviceaccount": _ref(account)}
    for name, obj in (("pod", binding.pod), ("secret", binding.secret), ("node", binding.node)):
        if obj is not None:
            private[name] = _ref(obj)
    if warn_after:
        private["warnafter"] = now + warn_after
    return {
        "aud": list(audiences),
        "exp": now + seconds,
        "iat": now,
        "jti": jti,
        "kubernetes.io": private,
        "nbf": now,
        "sub": f"{PREFIX}{metadata['namespace']}:{metadata['name']}",
    }


def identity(claims: Obj) -> Identity:
    """What verified claims say. TokenError when they say nothing sensible."""
    try:
        return _legacy(claims) if claims.get("iss") == LEGACY_ISSUER else _bound(claims)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TokenError("service account token claims could not be validated") from None


def _bound(claims: Obj) -> Identity:
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    references = [Reference(kinds.SERVICE_ACCOUNT, namespace, account["name"], account["uid"])]
    extra: dict[str, tuple[str, ...]] = {}
    if claims.get("jti"):
        extra[f"{_EXTRA}credential-id"] = (f"JTI={claims['jti']}",)
    pod, secret, node = (private.get(name) for name in ("pod", "secret", "node"))
    if secret:
        references.append(Reference(kinds.SECRET, namespace, secret["name"], secret["uid"]))
    if node:
        extra[f"{_EXTRA}node-name"] = (node["name"],)
        if node.get("uid"):
            extra[f"{_EXTRA}node-uid"] = (node["uid"],)
    if pod:
        references.append(Reference(kinds.POD, namespace, pod["name"], pod["uid"]))
        extra[f"{_EXTRA}pod-name"] = (pod["name"],)
        extra[f"{_EXTRA}pod-uid"] = (pod["uid"],)
    elif node:
        # A pod's token lives as long as the pod does; only one for a node itself depends on the node.
        references.append(Reference(kinds.NODE, "", node["name"], node["uid"]))
    audiences = claims.get("aud") or ()
    return Identity(
        _user(namespace, account["name"], account["uid"], extra),
        tuple(references),
        (audiences,) if isinstance(audiences, str) else tuple(audiences),
        float(claims.get("nbf") or 0),
        float(claims.get("exp") or 0),
    )


def _legacy(claims: Obj) -> Identity:
    namespace, secret = claims[f"{_LEGACY}namespace"], claims[f"{_LEGACY}secret.name"]
    name, uid = claims[f"{_LEGACY}service-account.name"], claims[f"{_LEGACY}service-account.uid"]
    if claims.get("sub") != f"{PREFIX}{namespace}:{name}" or not (namespace and secret and name and uid):
        raise ValueError
    references = (
        Reference(kinds.SERVICE_ACCOUNT, namespace, name, uid),
        Reference(kinds.SECRET, namespace, secret, ""),
    )
    return Identity(_user(namespace, name, uid, {}), references, (), legacy=True)


def _user(namespace: str, name: str, uid: str, extra: dict[str, tuple[str, ...]]) -> User:
    groups = (_GROUP, f"{_GROUP}:{namespace}", AUTHENTICATED)
    return User(f"{PREFIX}{namespace}:{name}", uid, groups, tuple(sorted(extra.items())))


def _ref(obj: Obj) -> Obj:
    metadata = obj["metadata"]
    return {"name": metadata["name"], "uid": metadata["uid"]} if metadata.get("uid") else {"name": metadata["name"]}

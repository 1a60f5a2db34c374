"""Acting as somebody else: the Impersonate-* headers, each of which the asker must be allowed.

Source: Kubernetes documentation, "User impersonation". Constrained impersonation (KEP-5284) is not there: its verbs
(``impersonate:user-info`` …) grant nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from hawser.api.errors import internal
from hawser.apiserver.authentication.claims import PREFIX
from hawser.apiserver.authorization.base import Attributes, Authorizer, denied
from hawser.apiserver.identity import ANONYMOUS, AUTHENTICATED, User

_USER, _GROUP, _UID, _EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_PREFIX = b"impersonate-"
_UNAUTHENTICATED = "system:unauthenticated"
_AUTHENTICATION = "authentication.k8s.io"

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class Wish:
    """Whom the headers name; extra: values by key, in the order they came."""

    user: str = ""
    uid: str = ""
    groups: list[str] = field(default_factory=list)
    extra: dict[str, list[str]] = field(default_factory=dict)


def asked(headers: Headers) -> bool:
    """Whether a request wants to be somebody else's. Every request is looked at."""
    for name, _ in headers:  # noqa: SIM110 - a generator costs more than the loop
        if name[:1] in b"iI" and name[:12].lower() == _PREFIX:
            return True
    return False


def read(headers: Headers) -> Wish | None:
    """Whom the headers name; None when they are there but empty. APIError 500 when they name all but a user."""
    wish = Wish()
    for raw, value_bytes in headers:
        name, value = raw.decode("latin-1").lower(), value_bytes.decode("utf-8", "surrogateescape")
        if name == _USER:
            wish.user = wish.user or value
        elif name == _UID:
            wish.uid = wish.uid or value
        elif name == _GROUP:
            wish.groups.append(value)
        elif name.startswith(_EXTRA):
            wish.extra.setdefault(unquote(name[len(_EXTRA) :]), []).append(value)
    if wish.user:
        return wish
    if wish.uid or wish.groups or wish.extra:
        named = [*wish.groups, *([wish.uid] if wish.uid else []), *wish.extra]
        raise internal(f"requested {named} without impersonating a user")
    return None


def questions(wish: Wish) -> Iterable[Attributes]:
    """What the asker must be allowed, all of it."""
    account = service_account(wish.user)
    if account is not None:
        yield Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Attributes("impersonate", resource="users", name=wish.user)
    for group in wish.groups:
        yield Attributes("impersonate", resource="groups", name=group)
    for key, values in wish.extra.items():
        for value in values:
            yield Attributes("impersonate", _AUTHENTICATION, "userextras", key, name=value)
    if wish.uid:
        yield Attributes("impersonate", _AUTHENTICATION, "uids", name=wish.uid)


def granted(wish: Wish) -> User:
    """The user that a granted wish is."""
    groups = list(wish.groups)
    account = service_account(wish.user)
    if account is not None and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    if wish.user == ANONYMOUS.name:
        if _UNAUTHENTICATED not in groups:
            groups.append(_UNAUTHENTICATED)
    elif AUTHENTICATED not in groups and _UNAUTHENTICATED not in groups:
        groups.append(AUTHENTICATED)
    extra = tuple(sorted((key, tuple(values)) for key, values in wish.extra.items()))
    return User(wish.user, wish.uid, tuple(groups), extra)


def acting(headers: Headers, user: User, authorizer: Authorizer) -> User:
    """Whom a request acts as. APIError 403 for what its user may not be."""
    wish = read(headers)
    if wish is None:
        return user
    for question in questions(wish):
        decision = authorizer.allows(user, question)
        if not decision.allowed:
            raise denied(user, question, decision.reason)
    return granted(wish)


def service_account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name; None for any other."""
    if not name.startswith(PREFIX):
        return None
    namespace, _, account = name.removeprefix(PREFIX).partition(":")
    return (namespace, account) if namespace and account and ":" not in account else None

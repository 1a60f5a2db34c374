"""Who is asking: client certificates, bearer tokens, or nobody.

Source: Kubernetes' authentication reference: X.509 client certificates (CN is the user, each O a group), the static
token file (``token,user,uid,"group1,group2"``) and anonymous requests.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawser.api.types import Obj


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated (or the anonymous) user. extra: what else the authenticator knows, as sorted pairs."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def info(self) -> Obj:
        """The authentication.k8s.io UserInfo."""
        info: Obj = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


@dataclass(frozen=True, slots=True)
class Peer:
    """What a connection's certificate makes of its client.

    proxy: it may say for whom it asks. own: the certificate's subject is a user of this server.
    """

    proxy: bool
    own: bool


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
AUTHENTICATED = "system:authenticated"
CREDENTIAL = "authentication.kubernetes.io/credential-id"
SERVER = User("system:apiserver", groups=(AUTHENTICATED, "system:masters"))
"""The server itself, as others are told of it."""


def from_certificate(certificate: dict[str, Any] | None, der: bytes = b"") -> User | None:
    """The user of a verified client certificate, in the shape of ``ssl.SSLSocket.getpeercert``; None without one.

    der: the same certificate as it came, which tells the user's credentials apart (KEP-4193).
    """
    if not certificate:
        return None
    name = ""
    groups = []
    for attributes in certificate.get("subject", ()):
        for key, value in attributes:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    if not name:
        return None
    extra = ((CREDENTIAL, (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)),) if der else ()
    return User(name, groups=(*groups, AUTHENTICATED), extra=extra)


class Tokens:
    """The static bearer tokens."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = {f"Bearer {token}": user for token, user in users.items()}

    @classmethod
    def read(cls, path: Path | None) -> Tokens:
        """Read a token file. ValueError names the line that cannot be read."""
        users: dict[str, User] = {}
        if path is not None:
            with path.open(newline="") as file:
                for number, row in enumerate(csv.reader(file), 1):
                    if not row or row[0].startswith("#"):
                        continue
                    if len(row) < 3:
                        raise ValueError(f"{path}:{number}: a token line needs token,user,uid")
                    token, name, uid = (column.strip() for column in row[:3])
                    groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
                    users[token] = User(name, uid, (*groups, AUTHENTICATED))
        return cls(users)

    def find(self, header: str) -> User | None:
        """The user of an Authorization header, ``Bearer TOKEN``; None when it is not one of these tokens."""
        return self._users.get(header)

"""What admission is asked, and what a plugin is.

Source: Kubernetes documentation, "Admission Control in Kubernetes": mutating plugins run first, after decoding and
defaulting; validating ones after the object has been validated. Plugins are synchronous: they decide over committed
objects in memory, inside the write, so a decision and the write it belongs to cannot be torn apart. Only webhooks,
which ask somebody else, are asynchronous (``Hooks``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.apiserver.identity import User
from hawser.apiserver.writes import Options, Undo

if TYPE_CHECKING:
    from hawser.apiserver.admission.deliberation import Deliberation


class Operation(StrEnum):
    """What is done to the object. CONNECT: exec, attach, port forwarding and proxies."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class Request:
    """One write, as admission sees it.

    object: what is to be written (None for DELETE); mutating plugins change it in place or set another one. For the
    subresources that are posted or connected to it is what was posted: Binding, Eviction, TokenRequest, PodExecOptions.
    old: what is stored (None for CREATE and CONNECT), never to be changed. name is empty while generateName is not
    used yet. delete: the DeleteOptions of a deletion. annotations: of the audit event (key -> value).
    deliberation: what policies' expressions say of it, once there are some.
    """

    __slots__ = (
        "annotations",
        "delete",
        "deliberation",
        "kind",
        "name",
        "namespace",
        "object",
        "old",
        "operation",
        "options",
        "subresource",
    )

    def __init__(
        self,
        operation: Operation,
        kind: Kind,
        namespace: str,
        name: str,
        obj: Obj | None,
        old: Obj | None,
        options: Options,
        subresource: str = "",
    ) -> None:
        self.operation = operation
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.object = obj
        self.old = old
        self.options = options
        self.subresource = subresource
        self.delete: Obj = {}
        self.deliberation: Deliberation | None = None
        self.annotations = options.annotations

    @property
    def user(self) -> User:
        """Who asks."""
        return self.options.user

    @property
    def dry_run(self) -> bool:
        """Whether nothing is kept of this write."""
        return self.options.dry_run

    @property
    def resource(self) -> tuple[str, str, str]:
        """(group, plural, subresource)."""
        return (self.kind.group, self.kind.plural, self.subresource)

    @property
    def new(self) -> Obj:
        """The object, where there must be one."""
        assert self.object is not None
        return self.object

    def warn(self, text: str) -> None:
        """Tell the client by a Warning header."""
        self.options.fields.warnings.append(text)


class Plugin:
    """One admission plugin; what it does not override does nothing.

    name: as in ``--enable-admission-plugins``. All methods raise APIError to refuse. They may read committed objects,
    but neither wait nor write.
    """

    name = ""

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether it has anything to say of such writes; asked once for each kind of them: others cost nothing."""
        return True

    def thinks(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether ``mutate`` or ``validate`` may be given up with LaboriousError, to be tried again."""
        return False

    def mutate(self, request: Request) -> None:
        """Change ``request.object``."""

    def validate(self, request: Request) -> None:
        """Refuse what may not be written. ``request.object`` is final."""

    def reserve(self, request: Request) -> Undo | None:
        """Take what the write needs from a shared pool (a quota), last of all and not for dry runs.

        Returns how to give it back should the write fail.
        """
        return None


class Hooks(Protocol):
    """Admission by others, over the network."""

    def wanted(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Whether anybody wants to be asked of such writes. As quick as a look into a dict."""
        ...

    async def mutate(self, request: Request) -> bool:
        """Ask those that may change the object; whether one did. APIError for a refusal or a failure that counts."""
        ...

    async def validate(self, request: Request) -> None:
        """Ask those that may only refuse."""
        ...

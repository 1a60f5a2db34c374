"""Failures of calls to the container runtime, mapped from gRPC's status codes at the boundary."""

from __future__ import annotations

from hawser.node.cri.words import usual
from hawser.node.rpc.channel import RPCError


class CRIError(Exception):
    """A call to the runtime failed. code: gRPC's name of the status; message: the runtime's words."""

    code = "UNKNOWN"

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        if code:
            self.code = code

    @property
    def text(self) -> str:
        """The error as kubelet prints one: ``rpc error: code = NotFound desc = ...``."""
        name = "".join(word.title() for word in self.code.split("_"))
        return f"rpc error: code = {name} desc = {self.message}"


class NotFound(CRIError):
    """The sandbox, container or image does not exist."""

    code = "NOT_FOUND"


class AlreadyExists(CRIError):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class Unavailable(CRIError):
    """The runtime does not answer; trying again later makes sense."""

    code = "UNAVAILABLE"


class DeadlineExceeded(CRIError):
    """The call took longer than its limit."""

    code = "DEADLINE_EXCEEDED"


class Unimplemented(CRIError):
    """This runtime does not have the call."""

    code = "UNIMPLEMENTED"


class InvalidArgument(CRIError):
    """The runtime refuses the request as such."""

    code = "INVALID_ARGUMENT"


_CLASSES: dict[str, type[CRIError]] = {
    c.code: c for c in (NotFound, AlreadyExists, Unavailable, DeadlineExceeded, Unimplemented, InvalidArgument)
}


def from_status(error: RPCError) -> CRIError:
    """The exception for a gRPC status."""
    name = error.code.name
    return _CLASSES.get(name, CRIError)(usual(error.details) or name, name)

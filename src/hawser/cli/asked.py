"""What users ask of an engine when they start it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from hawser.api.quantity import to_bytes
from hawser.cli.context import Failure
from hawser.cli.engine import nodes, settings
from hawser.cli.engine.nodes import Node
from hawser.cli.engine.ranges import AS_IT_WAS, Ranges
from hawser.cli.engine.settings import Settings

APIServerArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--apiserver-arg",
        metavar="NAME=VALUE",
        help='A flag of the API server, kept for later starts; "" forgets them all.',
    ),
]
ControllersArgs = Annotated[
    list[str] | None,
    typer.Option("--controllers-arg", metavar="NAME=VALUE", help="The same for the controllers and the scheduler."),
]
AgentArgs = Annotated[
    list[str] | None,
    typer.Option("--agent-arg", metavar="NAME=VALUE", help="The same for the agents of all nodes."),
]


def several(given: list[str] | None) -> tuple[str, ...] | None:
    """An option that may be given several times; None when it was not given at all."""
    return None if given is None else tuple(filter(None, given))


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked of an engine's nodes; None: as it was. cpu: processors, memory: a quantity, of each."""

    total: int | None = None
    zones: int | None = None
    cpu: int | None = None
    memory: str | None = None

    def check(self) -> None:
        """Raises Failure for what cannot be."""
        if self.memory is not None:
            check_memory(self.memory)

    def applied(self, listed: list[Node]) -> list[Node]:
        """The nodes as they are asked for. Raises Failure."""
        total = self.total or len(listed)
        if total < len(listed):
            raise Failure(f"the engine has {len(listed)} nodes", "`hawser node remove NAME` takes one away")
        if self.zones and self.zones > total:
            raise Failure(f"--zones {self.zones} wants as many nodes; the engine has {total}", "add --nodes")
        return nodes.grown(listed, total, self.zones or 0, str(self.cpu or ""), self.memory or "")


def check_memory(quantity: str) -> None:
    """Raises Failure for what is no amount of memory, or too little to run anything."""
    try:
        enough = to_bytes(quantity) >= 256 << 20
    except ValueError:
        enough = False
    if not enough:
        raise Failure(f"a node's memory is a quantity from 256Mi; got {quantity!r}")


@dataclass(frozen=True, slots=True)
class Given:
    """What the user asks of an engine; None: as it was, or the default."""

    listen: str | None = None
    runtime_endpoint: str | None = None
    apiserver_args: tuple[str, ...] | None = None
    controllers_args: tuple[str, ...] | None = None
    agent_args: tuple[str, ...] | None = None
    shape: Shape = Shape()
    ranges: Ranges = AS_IT_WAS
    oci_runtime: str | None = None

    def check(self) -> None:
        """Raises Failure for what cannot be."""
        if self.listen is not None:
            settings.split_listen(self.listen)
        if self.runtime_endpoint and not self.runtime_endpoint.startswith("unix:///"):
            raise Failure(f"--runtime-endpoint wants unix:///PATH; got {self.runtime_endpoint!r}")
        if self.oci_runtime not in (None, "runc", "crun", "auto"):
            raise Failure(f"--oci-runtime wants runc, crun or auto; got {self.oci_runtime!r}")
        self.shape.check()
        # Only here, and only then: the commands do not know the parts of others.
        if self.apiserver_args:
            from hawser.apiserver.__main__ import flags

            _check_flags(self.apiserver_args, flags(), "apiserver", "the API server", "apiserver")
        if self.controllers_args:
            from hawser.controllers.manager import flags

            _check_flags(self.controllers_args, flags(), "controllers", "the controllers", "controllers")
        if self.agent_args:
            from hawser.node.options import flags

            _check_flags(self.agent_args, flags(), "agent", "the node agent", "node")

    def changed(self, engine: Settings) -> Settings:
        """An engine's settings with what is asked."""
        endpoint, flags, others = self.runtime_endpoint, self.apiserver_args, self.controllers_args
        agents = self.agent_args
        engine = self.ranges.changed(engine)
        return replace(
            engine,
            listen=self.listen or engine.listen,
            oci_runtime=(self.oci_runtime or engine.oci_runtime).replace("auto", ""),
            runtime_endpoint=engine.runtime_endpoint if endpoint is None else endpoint,
            apiserver_args=engine.apiserver_args if flags is None else "\n".join(flags),
            controllers_args=engine.controllers_args if others is None else "\n".join(others),
            agent_args=engine.agent_args if agents is None else "\n".join(agents),
        )


NOTHING = Given()
"""An engine as it was."""


def _check_flags(given: Iterable[str], known: Container[str], word: str, what: str, module: str) -> None:
    for argument in given:
        name, _, value = argument.partition("=")
        if name not in known or not value or "\n" in value:
            raise Failure(
                f"--{word}-arg wants NAME=VALUE with a flag of {what}; got {argument!r}",
                f"`python -m hawser.{module} --help` lists them",
            )

"""The ``hawser`` command. Every sub-command is a module of its own, imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

import typer

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("hawser.cli.up:up", "Engine"),
    "restart": ("hawser.cli.restart:restart", "Engine"),
    "down": ("hawser.cli.down:down", "Engine"),
    "status": ("hawser.cli.status:status", "Engine"),
    "kubeconfig": ("hawser.cli.status:kubeconfig", "Engine"),
    "service": ("hawser.cli.service:app", "Engine"),
    "node": ("hawser.cli.node:app", "Engine"),
    "db": ("hawser.cli.db:app", "Engine"),
    "demo": ("hawser.cli.demo:demo", "Engine"),
    "logs": ("hawser.cli.logs:logs", "Containers"),
    "exec": ("hawser.cli.exec:exec_", "Containers"),
    "image": ("hawser.cli.image:app", "Containers"),
    "rich": ("hawser.cli.rich:app", "Containers"),
    "release": ("hawser.cli.release:app", "Containers"),
    "schedule": ("hawser.cli.schedule:schedule", "Other"),
    "version": ("hawser.cli.version:version", "Other"),
}
"""Name → what it runs (``module:attribute``) and its panel in the help."""


def build(names: Sequence[str]) -> typer.Typer:
    """The command line with the named sub-commands."""
    app = typer.Typer(
        name="hawser",
        help="Rich containers, and a real Kubernetes for one machine.\n\n"
        "Start with `hawser up -d`, then use kubectl; `hawser demo` shows a legacy application in a rich container.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root() -> None:
        """Keeps sub-commands sub-commands when only one is registered."""

    root.__doc__ = None
    for name in names:
        target, panel = _COMMANDS[name]
        module, _, attribute = target.partition(":")
        value = getattr(importlib.import_module(module), attribute)
        if isinstance(value, typer.Typer):
            app.add_typer(value, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel, no_args_is_help=name in ("logs", "exec"))(value)
    return app


def main() -> None:
    """Runs the command line; imports one sub-command's module, or all of them for help and completion."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    build([word] if word in _COMMANDS else list(_COMMANDS))()


if __name__ == "__main__":
    main()

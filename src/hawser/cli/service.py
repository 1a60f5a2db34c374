"""``hawser service``: an engine as a service of systemd, which starts it when the machine boots."""

from __future__ import annotations

import typer

from hawser.cli import context, ready
from hawser.cli.context import DataDir, out
from hawser.cli.engine import settings, units
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.up import start

app = typer.Typer(help="The engine as a service of systemd: up again after a reboot.", no_args_is_help=True)


@app.command("install")
def install(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Have systemd run the engine, now and from every boot on.

    A running engine is handed over: its processes start anew, containers go on running. `hawser up -d` and `hawser
    restart` start it by its unit from then on, `hawser down` stops it until the next boot, `hawser down --purge`
    removes the unit, too.

    Examples:

      hawser up -d && hawser service install

      journalctl -u hawser                what the engine's supervisor says
    """
    with context.failures():
        context.need_root()
        engine = context.existing(data_dir)
        with settings.exclusive(engine.data_dir):
            file = units.install(engine)
        out.print(f"Installed {file}", markup=False)
        ready.say(start(engine.data_dir, anew=True))


@app.command("remove")
def remove(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Start the engine at boot no more; one that runs goes on."""
    with context.failures():
        context.need_root()
        engine = context.existing(data_dir)
        with settings.exclusive(engine.data_dir):
            gone = units.remove(engine)
        out.print(f"Removed {units.name(engine)}" if gone else "There is no unit: nothing to do", markup=False)


@app.command("show")
def show(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print the unit that `hawser service install` would write."""
    with context.failures():
        print(units.text(context.existing(data_dir)), end="")

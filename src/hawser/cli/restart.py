"""``hawser restart``: an engine's processes anew, under containers that go on running."""

from __future__ import annotations

from hawser.cli import context, ready
from hawser.cli.asked import AgentArgs, APIServerArgs, ControllersArgs, Given, several
from hawser.cli.context import DataDir
from hawser.cli.engine.settings import DEFAULT_DATA_DIR
from hawser.cli.up import start


def restart(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    apiserver_arg: APIServerArgs = None,
    controllers_arg: ControllersArgs = None,
    agent_arg: AgentArgs = None,
) -> None:
    """Start the engine's processes anew, with the code that is installed now; containers go on running.

    For upgrades, and for other flags of the API server, the controllers and the agents. Clients see the API gone for
    about a second; an engine that does not run is started.

    Examples:

      git pull && hawser restart

      hawser restart --controllers-arg node-monitor-grace-period=20s

      hawser restart --agent-arg ""       forget the agents' flags
    """
    given = Given(
        apiserver_args=several(apiserver_arg), controllers_args=several(controllers_arg), agent_args=several(agent_arg)
    )
    with context.failures():
        context.need_root()
        engine = context.existing(data_dir)
        ready.say(start(engine.data_dir, given, anew=True))

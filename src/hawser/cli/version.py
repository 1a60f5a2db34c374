"""``hawser version``."""

from __future__ import annotations

import platform
from importlib import metadata

from hawser.api.definitions import VERSION
from hawser.cli import context
from hawser.cli.context import Format, Output, out


def version(output: Format = Output.TABLE) -> None:
    """Print Hawser's version and the version of Kubernetes it serves.

    Examples:

      hawser version

      hawser version -o json
    """
    document = {
        "hawser": metadata.version("hawser"),
        "kubernetes": f"v{VERSION}",
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    if output in (Output.JSON, Output.YAML):
        context.show(document, output)
        return
    for name, value in document.items():
        out.print(f"{name:<12}{value}")

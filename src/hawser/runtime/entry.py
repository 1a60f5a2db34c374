# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH100
"""Where the Python program of `hawser-runtime` begins, and how it is begun: as `-c PROGRAM FILE WORDS`.

Python runs and imports a zip archive by itself, too; `runpy` and `zipimport` take longer than all of an edit. So the
end of FILE is an archive of our own (install.py writes it): what kind of byte code it holds, the modules as such by
name, their sources, and in the last eight bytes where all this begins.

A Python that is too old hands over to a newer one beside it (RHEL 8 and SLES 15 have 3.6 as python3), or has the
launcher say why not.
"""

from __future__ import annotations

import os
import sys

PROGRAM = """\
import marshal, sys
if sys.version_info < (3, 9):
    import os
    for minor in range(30, max(8, sys.version_info[1]), -1):
        other = "/usr/bin/python3.%d" % minor
        if os.access(other, os.X_OK):
            with open("/proc/self/cmdline") as words:
                os.execv(other, [other] + words.read().split("\\0")[1:-1])
    why = "%s is Python %d.%d, and 3.9 or newer is needed" % (sys.executable, *sys.version_info[:2])
    os.environ["HAWSER_FAILED"] = why + ": python=/path in /etc/hawser/runtime.conf names another"
    os.execv(sys.argv[1], sys.argv[1:])
from _frozen_importlib_external import MAGIC_NUMBER
del sys.argv[0]
with open(sys.argv[0], "rb") as file:
    file.seek(-8, 2)
    file.seek(int(file.read()))
    magic, modules, sources = marshal.loads(file.read())
if magic != MAGIC_NUMBER:
    modules = marshal.loads(sources)
class Archive:
    def find_spec(self, name, path=None, target=None):
        if name in modules:
            return type(sys.__spec__)(name, self, is_package="." not in name)
    def create_module(self, spec):
        pass
    def exec_module(self, module):
        code = modules[module.__name__]
        exec(code if type(code) is str else marshal.loads(code), vars(module))
sys.meta_path.insert(0, Archive())
from hawser_runtime.entry import main
sys.exit(main(sys.argv[1:]))
"""


def again(*words: str) -> list[str]:
    """The command line that runs this program with other words."""
    return [sys.executable, "-I", "-S", "-c", PROGRAM, os.path.abspath(sys.argv[0]), *words]


def main(argv: list[str]) -> int:
    """Does what the launcher leaves to it; returns the exit code."""
    try:
        if argv[:1] == ["watch"]:
            from .watch import main as watch

            return watch(argv[1:])
        from .main import main as edit
    except ImportError as error:
        why = f"{error}: this node needs all of Python's standard library (package python3)"
        os.environ["HAWSER_FAILED"] = why.replace('"', "'")
        os.execv(sys.argv[0], sys.argv)
    return edit(argv)

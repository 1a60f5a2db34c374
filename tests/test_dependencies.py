"""What users install is what the product imports: dependencies of tests' tools are not there for them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def _plain(package: str) -> str:
    return package.lower().replace("_", "-")


def test_all_that_the_product_imports_is_among_its_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_plain(re.split(r"[^\w.-]", row)[0]) for row in project["dependencies"]}
    found: dict[str, set[str]] = {}
    for file in (ROOT / "src").rglob("*.py"):
        for name in _imported(ast.parse(file.read_text())):
            found.setdefault(name.partition(".")[0], set()).add(str(file.relative_to(ROOT)))
    known = packages_distributions()
    others = {name: files for name, files in found.items() if name not in sys.stdlib_module_names and name != "hawser"}
    assert "orjson" in others
    missing = {
        name: sorted(files)
        for name, files in others.items()
        if not declared & {_plain(package) for package in known.get(name, [])}
    }
    assert not missing

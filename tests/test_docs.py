"""The documents: what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_REFERENCE = re.compile(r"\[[^\]]+\]\[([^\]]+)\]")
_DEFINED = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that headings get, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = _FENCE.sub("", document.read_text())
    text = re.sub(r"`[^`\n]*`", "", text)
    defined = dict(_DEFINED.findall(text))
    assert set(_REFERENCE.findall(text)) <= defined.keys()
    for link in (*_INLINE.findall(text), *defined.values()):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{document.name} links to {link}"

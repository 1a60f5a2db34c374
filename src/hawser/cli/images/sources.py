"""The host's own package sources, read from apt's configuration, for building images of the same distribution.

No mirror is named by Hawser: what the host installs from is what images are made of. Source: sources.list(5).
"""

from __future__ import annotations

from pathlib import Path


def host_sources(root: Path = Path("/")) -> tuple[str, list[str]]:
    """The host's suite and its distribution's sources as one-line entries.

    Third-party repositories are left out: kept are the suites of the release itself that have a component `main`.
    Raises LookupError when there are none.
    """
    suite = os_release((root / "etc/os-release").read_text()).get("VERSION_CODENAME", "")
    apt = root / "etc/apt"
    files = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*"))]
    found: list[str] = []
    for path in files:
        if path.suffix == ".list" and path.is_file():
            found += one_line_sources(path.read_text(), suite)
        elif path.suffix == ".sources" and path.is_file():
            found += deb822_sources(path.read_text(), suite)
    unique = list(dict.fromkeys(found))
    if not suite or not unique:
        raise LookupError(f"apt has no source of the release {suite or '?'} in /etc/apt: images are made from these")
    return suite, unique


def os_release(text: str) -> dict[str, str]:
    """os-release(5) as a mapping."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip().strip("\"'") for name, _, value in pairs}


def one_line_sources(text: str, suite: str) -> list[str]:
    """The entries of a .list file that belong to the release."""
    result: list[str] = []
    for line in text.splitlines():
        words, options = line.split("#")[0].split(), ""
        if words[:1] != ["deb"]:
            continue
        rest = words[1:]
        if rest and rest[0].startswith("["):
            end = next(i for i, word in enumerate(rest) if word.endswith("]"))
            options, rest = " ".join(rest[: end + 1]) + " ", rest[end + 1 :]
        if len(rest) >= 3 and _belongs(rest[1], suite) and "main" in rest[2:]:
            result.append(f"deb {options}{' '.join(rest)}")
    return result


def deb822_sources(text: str, suite: str) -> list[str]:
    """The same from a .sources file, as one-line entries."""
    result: list[str] = []
    for stanza in text.replace("\n#", "\n\x00").split("\n\n"):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            if ":" in line and not line.startswith((" ", "\t", "#", "\x00")):
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
        components = fields.get("components", "").split()
        if "deb" not in fields.get("types", "").split() or "main" not in components or fields.get("enabled") == "no":
            continue
        # A key inside the file itself can not be said on one line; apt's trusted keys then have to do.
        key = fields.get("signed-by", "")
        options = f"[signed-by={key}] " if key.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            suites = (name for name in fields.get("suites", "").split() if _belongs(name, suite))
            result.extend(f"deb {options}{uri} {name} {' '.join(components)}" for name in suites)
    return result


def _belongs(name: str, suite: str) -> bool:
    return name in (suite, f"{suite}-updates", f"{suite}-security")

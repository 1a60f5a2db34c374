"""What a process answers on /livez, /readyz and /healthz.

Source: Kubernetes API health endpoints. A failed check says no more than that it failed: anybody may ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

ROOTS = ("/livez", "/readyz", "/healthz")
Check = Callable[[], bool]


def answer(path: str, checks: Mapping[str, Check], excluded: Set[str], verbose: bool) -> tuple[int, str] | None:
    """The code and text for a path at or below one of the roots; None when there is no such check.

    checks: by name; excluded: those that do not count; verbose: a line for each is wanted, whatever they say.
    """
    root, _, name = path.lstrip("/").partition("/")
    if name:
        check = checks.get(name)
        if check is None:
            return None
        return (200, "ok") if check() else (500, f"internal server error: {name} failed\n")
    good, lines = report(root, checks, excluded)
    return (200, "ok") if good and not verbose else (200 if good else 500, lines)


def report(root: str, checks: Mapping[str, Check], excluded: Set[str]) -> tuple[bool, str]:
    """Whether all checks pass that are not excluded, and a line for each."""
    lines = []
    good = True
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif check():
            lines.append(f"[+]{name} ok")
        else:
            good = False
            lines.append(f"[-]{name} failed: reason withheld")
    unknown = sorted(excluded - checks.keys())
    if unknown:
        names = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    lines.append(f"{root} check {'passed' if good else 'failed'}")
    return good, "\n".join(lines) + "\n"

"""Who this user is at a registry: what `docker login` and `podman login` left, or their credential helpers say.

Sources: containers-auth.json(5), which has podman's files in their order; Docker's documentation of `docker login`,
"Credential stores" and "Credential helpers"; the helpers' protocol (github.com/docker/docker-credential-helpers): the
registry's name goes to the standard input of `docker-credential-NAME get`, and JSON comes back.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawser.cli.context import Failure
from hawser.node.images.keyring import credentials
from hawser.node.images.names import repository

HINT = "credentials are those of `docker login` or `podman login`, their credential helpers included"
_HUB = "https://index.docker.io/v1/"  # what Docker Hub is called in all of these files
_SECONDS = 60.0  # some helpers ask a cloud, some a user
_UNKNOWN = "credentials not found in native keychain"
_TOKEN = "<token>"  # the user name that a helper gives when what it has is an identity token


@dataclass(frozen=True)
class Login:
    """A user's name and password, or an identity token, which a registry's token service takes instead."""

    user: str = ""
    password: str = ""
    token: str = ""

    @property
    def basic(self) -> str:
        """The value of an Authorization header, "" without a user."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"Basic {pair}" if self.user and not self.token else ""


def login(reference: str) -> Login:
    """Who this user is for an image's registry; nobody when no file knows it. Raises Failure for a helper that fails.

    Of the files the first that knows the registry counts; in a file a helper of the registry's own goes before the
    store of all, and that before what the file itself has.
    """
    host = repository(reference).partition("/")[0]
    for place in _files():
        try:
            content = place.read_bytes()
            config = _object(content)
        except OSError:
            continue
        except ValueError as error:
            raise Failure(f"{place} is no object of JSON: {error}") from None
        server = _HUB if host == "docker.io" else host
        helper = (config.get("credHelpers") or {}).get(server) or (config.get("credHelpers") or {}).get(host)
        if (name := helper or config.get("credsStore")) and (found := _ask(str(name), server, place)):
            return found
        secret = {"data": {".dockerconfigjson": base64.b64encode(content).decode()}}
        for entry in credentials(reference, [secret]):
            auth = dict(entry.auth)
            found = Login(auth.get("username", ""), auth.get("password", ""), auth.get("identity_token", ""))
            if found != Login():  # with a store, Docker leaves an empty entry here
                return found
    return Login()


def _object(text: bytes) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"it is a {type(found).__name__}")
    return found


def _files() -> Iterator[Path]:
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    yield Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    yield Path(runtime, "containers/auth.json") if runtime else Path(f"/run/containers/{os.getuid()}/auth.json")
    yield Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers/auth.json"


def _ask(name: str, server: str, place: Path) -> Login | None:
    """What a helper knows of a registry; None when it knows nothing. Raises Failure."""
    program = f"docker-credential-{name}"
    try:
        ran = subprocess.run([program, "get"], input=server, capture_output=True, text=True, timeout=_SECONDS)
        if ran.returncode == 0:
            told = json.loads(ran.stdout)
            user, secret = str(told.get("Username") or ""), str(told.get("Secret") or "")
            return Login(token=secret) if user == _TOKEN else Login(user, secret)
        why = (ran.stdout.strip() or ran.stderr.strip()).rpartition("\n")[2] or f"it ends with {ran.returncode}"
        if why == _UNKNOWN:
            return None
    except FileNotFoundError:
        why = "there is no such program on PATH"
    except subprocess.TimeoutExpired:
        why = f"no answer in {_SECONDS:.0f} s"
    except (OSError, ValueError, AttributeError) as error:
        why = str(error)
    raise Failure(f"{program}, which {place} names for {server}, gives no credentials: {why}", HINT)

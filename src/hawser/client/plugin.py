"""Credentials from a program, as clusters of clouds have them: `exec` of a kubeconfig's user.

Source of the rules: Kubernetes reference, "Client Authentication (v1)" and "client-go credential plugins".
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hawser.api import errors

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_SECONDS = 120.0
"""As long as a program may take that asks somebody to log in."""
_CLUSTER = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")


class PluginError(Exception):
    """A program gives no credentials; the message says which one and why."""


class Credentials(NamedTuple):
    """What a program gave. until: when they end, None for never."""

    token: str = ""
    cert: bytes = b""
    key: bytes = b""
    until: datetime | None = None


@dataclass(slots=True)
class Plugin:
    """The program of a kubeconfig's user, and what it gave the last time.

    command: with a slash a path; version: its apiVersion; cluster: what it is told of the cluster, None for nothing.
    """

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    version: str = _VERSIONS[0]
    interactive: bool = True
    hint: str = ""
    cluster: dict[str, Any] | None = None
    _last: Credentials | None = None

    def credentials(self) -> Credentials:
        """Those that hold now; the program runs, and all waits for it, when there are none. Raises PluginError."""
        now = datetime.now(UTC)
        if self._last is None or (self._last.until is not None and self._last.until <= now):
            self._last = self._asked()
        return self._last

    def token(self) -> str:
        """The token that holds now, "" where the program gives certificates. Raises APIError."""
        try:
            return self.credentials().token
        except PluginError as error:
            raise errors.unauthorized(f"getting credentials: {error}") from None

    def _asked(self) -> Credentials:
        interactive = self.interactive and sys.stdin is not None and sys.stdin.isatty()
        spec: dict[str, Any] = {"interactive": interactive}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        info = json.dumps({"apiVersion": self.version, "kind": "ExecCredential", "spec": spec})
        env = {**os.environ, **self.env, "KUBERNETES_EXEC_INFO": info}
        stdin = None if interactive else subprocess.DEVNULL
        try:
            done = subprocess.run(
                [self.command, *self.args], env=env, stdin=stdin, stdout=subprocess.PIPE, timeout=_SECONDS, check=False
            )
        except FileNotFoundError:
            hint = f": {self.hint.strip()}" if self.hint else ""
            raise PluginError(f"exec: executable {self.command} not found{hint}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PluginError(f"exec: executable {self.command} failed: {error}") from None
        if done.returncode:
            raise PluginError(f"exec: executable {self.command} failed with exit code {done.returncode}")
        return self._read(done.stdout)

    def _read(self, output: bytes) -> Credentials:
        try:
            answer = json.loads(output)
            version, status = answer.get("apiVersion"), answer.get("status")
        except (ValueError, AttributeError):
            raise PluginError(f"exec: executable {self.command} printed no ExecCredential") from None
        if version != self.version:
            raise PluginError(
                f"exec plugin is configured to use API version {self.version}, plugin returned version {version}"
            )
        if not isinstance(status, dict):
            raise PluginError("exec plugin didn't return a status field")
        token, cert, key = (status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData"))
        if bool(cert) != bool(key):
            raise PluginError("exec plugin returned only certificate or key, not both")
        if not token and not cert:
            raise PluginError("exec plugin didn't return a token or cert/key pair")
        until = status.get("expirationTimestamp")
        try:
            ends = datetime.fromisoformat(until.replace("Z", "+00:00")) if until else None
        except (ValueError, AttributeError):
            raise PluginError(f"exec plugin returned an expirationTimestamp that is no time: {until}") from None
        return Credentials(token, cert.encode(), key.encode(), ends)


def read(section: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any], ca: bytes) -> Plugin:
    """The plugin of a user's `exec`. folder: of the kubeconfig; cluster: its entry there, ca: its authority's PEM.

    Raises PluginError for what is missing or not known.
    """
    command, version = str(section.get("command") or ""), str(section.get("apiVersion") or "")
    if not command:
        raise PluginError("exec: command must be specified")
    if version not in _VERSIONS:
        raise PluginError(f'exec: apiVersion "{version}" is not supported: known are {", ".join(_VERSIONS)}')
    told = None
    if section.get("provideClusterInfo"):
        told = {name: cluster[name] for name in _CLUSTER if cluster.get(name)}
        if ca:
            told["certificate-authority-data"] = base64.b64encode(ca).decode()
        for one in cluster.get("extensions") or ():
            if one.get("name") == "client.authentication.k8s.io/exec":
                told["config"] = one.get("extension")
    return Plugin(
        command=str(folder / command) if "/" in command else command,
        args=tuple(str(word) for word in section.get("args") or ()),
        env={str(pair["name"]): str(pair.get("value") or "") for pair in section.get("env") or ()},
        version=version,
        interactive=section.get("interactiveMode") != "Never",
        hint=str(section.get("installHint") or ""),
        cluster=told,
    )

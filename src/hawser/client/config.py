"""Where a Kubernetes API is and how to log in to it: kubeconfig files and the in-cluster service account.

Source of the rules: Kubernetes reference, "kubeconfig (v1)", and "Accessing the Kubernetes API from a Pod".
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hawser.api.types import Obj

if TYPE_CHECKING:
    from hawser.client.plugin import Plugin

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """A kubeconfig that cannot be used; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Config:
    """One API and one identity.

    server: URL without a trailing slash.
    token: bearer token; token_file wins over it and is read again as it is rotated.
    ca, cert, key: PEM; ca empty means the system's trust store.
    tls_server_name: name that the server's certificate is checked for, if not the host of ``server``.
    namespace: the context's default namespace.
    plugin: a program that gives token or certificate, where neither is there.
    """

    server: str
    token: str = ""
    token_file: Path | None = None
    ca: bytes = b""
    cert: bytes = b""
    key: bytes = b""
    insecure: bool = False
    tls_server_name: str = ""
    namespace: str = "default"
    plugin: Plugin | None = None

    def complete(self) -> Config:
        """The same with the certificate that a plugin gives, if it does. Raises ConfigError."""
        if self.plugin is None:
            return self
        from hawser.client.plugin import PluginError

        try:
            given = self.plugin.credentials()
        except PluginError as error:
            raise ConfigError(str(error)) from None
        return replace(self, cert=given.cert, key=given.key) if given.cert else self

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context of this configuration, or None for plain http. Raises ConfigError for unusable PEM."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca:
            try:
                context.load_verify_locations(cadata=self.ca.decode("ascii"))
            except (ssl.SSLError, ValueError) as err:
                raise ConfigError(f"the certificate authority of {self.server} cannot be read: {err}") from err
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if self.cert:
            _load_client_certificate(context, self.cert, self.key)
        return context


def _load_client_certificate(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    # OpenSSL's binding reads certificate chains from files only; mkstemp makes them readable by the owner alone.
    descriptor, name = tempfile.mkstemp(prefix="hawser-client-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(cert.rstrip() + b"\n" + key)
        context.load_cert_chain(path)
    except ssl.SSLError as err:
        raise ConfigError(f"the client certificate or its key cannot be read: {err}") from err
    finally:
        path.unlink()


def load(path: str | os.PathLike[str] | None = None, context: str = "") -> Config:
    """The configuration of one context of a kubeconfig.

    path: the file, or several as in ``$KUBECONFIG`` (the first one wins a name); None looks where kubectl does:
        ``$KUBECONFIG``, then ``~/.kube/config``, then the pod's service account.
    context: a context's name; empty takes ``current-context``.
    Raises ConfigError when there is none or it is incomplete.
    """
    listed = [Path(p) for p in os.fspath(path or os.environ.get("KUBECONFIG", "")).split(os.pathsep) if p]
    if path is None or (len(listed) > 1 and not Path(path).exists()):
        paths = [p for p in listed or [Path.home() / ".kube" / "config"] if p.exists()]
        if not paths:
            if not listed and os.environ.get("KUBERNETES_SERVICE_HOST"):
                return in_cluster()
            raise ConfigError("no kubeconfig found: give its path or set KUBECONFIG")
    else:
        paths = [Path(path)]
    return from_documents([(p, _read(p)) for p in paths], context)


def _read(path: Path) -> Obj:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as err:
        raise ConfigError(f"kubeconfig {path} cannot be read: {err}") from err
    if not isinstance(document, dict):
        raise ConfigError(f"kubeconfig {path} is not a mapping")
    return document


def from_documents(documents: list[tuple[Path, Obj]], context: str = "") -> Config:
    """The configuration that parsed kubeconfig documents describe; relative files are relative to their document."""
    current = context or next((d["current-context"] for _, d in documents if d.get("current-context")), "")
    if not current:
        raise ConfigError(f"kubeconfig {documents[0][0]} has no current-context")
    chosen, _ = _entry(documents, "contexts", "context", current)
    cluster, cluster_dir = _entry(documents, "clusters", "cluster", chosen.get("cluster", ""))
    user: Mapping[str, Any] = {}
    user_dir = cluster_dir
    if chosen.get("user"):
        user, user_dir = _entry(documents, "users", "user", chosen["user"])
    for unsupported in ("auth-provider", "username"):
        if user.get(unsupported):
            raise ConfigError(
                f'user "{chosen["user"]}" uses "{unsupported}", which is not supported: use a token or a certificate'
            )
    if cluster.get("proxy-url"):
        raise ConfigError(f'cluster "{chosen["cluster"]}" uses "proxy-url", which is not supported')
    if not cluster.get("server"):
        raise ConfigError(f'cluster "{chosen.get("cluster")}" has no server')
    token_file = user.get("tokenFile")
    ca = _pem(cluster, "certificate-authority", cluster_dir)
    return Config(
        server=str(cluster["server"]).rstrip("/"),
        token=user.get("token") or "",
        token_file=user_dir / token_file if token_file and not user.get("token") else None,
        ca=ca,
        cert=_pem(user, "client-certificate", user_dir),
        key=_pem(user, "client-key", user_dir),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.get("tls-server-name") or "",
        namespace=chosen.get("namespace") or "default",
        plugin=None if token_file or user.get("token") else _plugin(user.get("exec"), user_dir, cluster, ca),
    )


def _plugin(section: Any, folder: Path, cluster: Mapping[str, Any], ca: bytes) -> Plugin | None:
    if not section:
        return None
    from hawser.client import plugin  # here: an engine's processes have certificates

    try:
        return plugin.read(section, folder, cluster, ca)
    except plugin.PluginError as error:
        raise ConfigError(str(error)) from None


def _entry(documents: list[tuple[Path, Obj]], section: str, field: str, name: str) -> tuple[Mapping[str, Any], Path]:
    for path, document in documents:
        for entry in document.get(section) or ():
            if entry.get("name") == name:
                return entry.get(field) or {}, path.parent
    raise ConfigError(f'kubeconfig {documents[0][0]} has no {field} "{name}"')


def _pem(section: Mapping[str, Any], field: str, folder: Path) -> bytes:
    inline = section.get(f"{field}-data")
    if inline:
        try:
            return base64.b64decode("".join(str(inline).split()), validate=True)
        except (binascii.Error, ValueError) as err:
            raise ConfigError(f"{field}-data is not base64: {err}") from err
    if section.get(field):
        try:
            return (folder / str(section[field])).read_bytes()
        except OSError as err:
            raise ConfigError(f"{field} cannot be read: {err}") from err
    return b""


def in_cluster(folder: Path = SERVICE_ACCOUNT_DIR, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a pod's own service account. Raises ConfigError outside of a pod."""
    host = environ.get("KUBERNETES_SERVICE_HOST")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("not in a cluster: KUBERNETES_SERVICE_HOST is not set")
    try:
        ca = (folder / "ca.crt").read_bytes()
        namespace = (folder / "namespace").read_text().strip()
    except OSError as err:
        raise ConfigError(f"the service account cannot be read: {err}") from err
    bracketed = f"[{host}]" if ":" in host else host
    return Config(f"https://{bracketed}:{port}", token_file=folder / "token", ca=ca, namespace=namespace or "default")

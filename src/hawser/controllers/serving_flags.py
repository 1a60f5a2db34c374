"""kube-controller-manager's flags of the HTTPS endpoint that tells of health and metrics."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PORT = 10257
"""kube-controller-manager's; the scheduler's metrics are there, too."""
ALWAYS_ALLOWED = "/healthz,/readyz,/livez"
_VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}


def add(parser: argparse.ArgumentParser) -> None:
    """Adds them. A second process on one machine needs a port of its own, or none."""
    listed = parser.add_argument_group("health and metrics")
    listed.add_argument(
        "--secure-port",
        type=_port,
        default=PORT,
        metavar="PORT",
        help="port of /healthz, /livez, /readyz, /metrics and /configz over HTTPS; 0: none (default: %(default)s)",
    )
    listed.add_argument("--bind-address", default="127.0.0.1", metavar="IP", help="its address (default: %(default)s)")
    listed.add_argument(
        "--tls-cert-file", type=Path, metavar="FILE", help="its certificate, PEM; without one it is made up"
    )
    listed.add_argument("--tls-private-key-file", type=Path, metavar="FILE", help="the certificate's key")
    listed.add_argument("--tls-min-version", choices=list(_VERSIONS), default="VersionTLS12", help="(default: TLS 1.2)")
    listed.add_argument(
        "--client-ca-file",
        type=Path,
        metavar="FILE",
        help="CAs of clients with a certificate; others need a token",
    )
    listed.add_argument(
        "--authorization-always-allow-paths",
        default=ALWAYS_ALLOWED,
        metavar="PATH[,PATH]",
        help="what anybody may ask for; a * at the end stands for anything (default: %(default)s)",
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f'"{text}" is no port; want 0 to 65535')
    return int(text)


def wrong(options: Mapping[str, Any]) -> str:
    """What does not go together, or ""."""
    if (options["tls_cert_file"] is None) != (options["tls_private_key_file"] is None):
        return "--tls-cert-file and --tls-private-key-file go together"
    return ""


def tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    """The endpoint's TLS: clients may show a certificate. Raises OSError (ssl.SSLError too) for unusable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options["tls_min_version"]]
    if options["client_ca_file"] is not None:
        context.load_verify_locations(options["client_ca_file"])
        context.verify_mode = ssl.CERT_OPTIONAL
    if options["tls_cert_file"] is not None:
        context.load_cert_chain(options["tls_cert_file"], options["tls_private_key_file"])
    else:
        from hawser.controllers import self_signed

        self_signed.load(context, options["bind_address"])
    return context

"""``python -m hawser.apiserver``: the API server as a command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

from hawser import quickly
from hawser.apiserver.audit import setup as audit
from hawser.apiserver.options import ISSUER, TOLERATION_SECONDS, Config, ProxySettings

_PROXY_HEADERS = {
    "username-headers": "X-Remote-User",
    "uid-headers": "X-Remote-Uid",
    "group-headers": "X-Remote-Group",
    "extra-headers-prefix": "X-Remote-Extra-",
}


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    config = _config(_parser(), arguments)
    import uvloop

    quickly.begin()
    from hawser.apiserver.server import StartError, run

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(config))
    except StartError as error:
        print(f"hawser-apiserver: {error}", file=sys.stderr)
        return 1
    return 0


def flags() -> frozenset[str]:
    """The names of all flags, without dashes."""
    return frozenset(name[2:] for action in _parser()._actions for name in action.option_strings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hawser-apiserver", description="The Kubernetes API server of a Hawser engine."
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="folder of the store; made when it does not exist")
    add(
        "--listen",
        default="127.0.0.1:6443",
        metavar="HOST:PORT",
        help="address to serve HTTPS on; port 0: any free one (default: %(default)s)",
    )
    add(
        "--advertise-address",
        default="",
        metavar="IP",
        help="address at which pods reach this server, listened on besides --listen; it need not exist yet",
    )
    add("--cluster-dns", default="", metavar="IP", help="makes the Service kube-dns, with this address, at the start")
    add("--tls-cert", type=Path, required=True, help="server certificate, PEM")
    add("--tls-key", type=Path, required=True, help="its key, PEM")
    add("--client-ca", type=Path, help="certificates of users (CN=user, O=groups) are signed by this CA")
    add("--token-auth-file", type=Path, help='bearer tokens, CSV: token,user,uid,"group1,group2"')
    add("--kubelet-client-cert", type=Path, help="certificate shown to node agents")
    add("--kubelet-client-key", type=Path, help="its key")
    add("--kubelet-ca", type=Path, help="CA of the node agents' certificates")
    add(
        "--service-account-signing-key-file",
        type=Path,
        metavar="FILE",
        help="key that signs service account tokens (default: sa.key in the folder of the store, made at first start)",
    )
    add(
        "--service-account-key-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="keys of service account tokens that are believed besides; may be given several times",
    )
    add(
        "--service-account-issuer",
        action="append",
        metavar="URL",
        help="who issues service account tokens; further ones are believed besides "
        "(default: https://kubernetes.default.svc.cluster.local)",
    )
    add("--service-account-jwks-uri", default="", metavar="URL", help="where others find the keys of such tokens")
    add("--api-audiences", default="", metavar="LIST", help="whom tokens for this API are for (default: the issuer)")
    add(
        "--requestheader-client-ca-file", type=Path, metavar="FILE", help="CA of proxies whose X-Remote-* headers count"
    )
    add("--requestheader-allowed-names", default="", metavar="LIST", help="CNs of such proxies (default: any)")
    for what, default in _PROXY_HEADERS.items():
        add(f"--requestheader-{what}", default=default, metavar="LIST", help="(default: %(default)s)")
    add("--proxy-client-cert-file", type=Path, metavar="FILE", help="certificate shown to aggregated API servers")
    add("--proxy-client-key-file", type=Path, metavar="FILE", help="its key")
    add(
        "--enable-bootstrap-token-auth",
        action="store_true",
        help="Secrets of type bootstrap.kubernetes.io/token log in",
    )
    add(
        "--anonymous-auth",
        type=_boolean,
        default=True,
        metavar="BOOL",
        help="requests without credentials are system:anonymous's; else they are refused (default: true)",
    )
    add("--service-cluster-ip-range", default="10.96.0.0/16", metavar="CIDR", help="(default: %(default)s)")
    more = "requests served at once beyond those of the exempt priority level"
    add("--max-requests-inflight", type=int, default=100, metavar="N", help=f"{more} (default: %(default)s)")
    add("--max-mutating-requests-inflight", type=int, default=50, metavar="N", help="added to them (default: 50)")
    add("--service-node-port-range", default="30000-32767", metavar="FIRST-LAST", help="(default: %(default)s)")
    add(
        "--shutdown-delay-duration",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="time between not being ready and refusing connections (default: %(default)s)",
    )
    for flag, what in (
        ("enable", "besides those that are on by default"),
        ("disable", "of those that are on by default"),
    ):
        add(f"--{flag}-admission-plugins", default="", metavar="LIST", help=f"plugins to {flag}, {what}")
    add(
        "--admission-control-config-file", type=Path, metavar="FILE", help="what admission plugins are configured to do"
    )
    for state, seconds in zip(("not-ready", "unreachable"), TOLERATION_SECONDS, strict=True):
        add(
            f"--default-{state}-toleration-seconds",
            type=int,
            default=seconds,
            metavar="SECONDS",
            help=f"how long pods stay on a node that is {state} unless they say otherwise (default: %(default)s)",
        )
    audit.add_arguments(parser)
    add(
        "--encryption-provider-config",
        type=Path,
        metavar="FILE",
        help="which resources are encrypted at rest, and with which keys (EncryptionConfiguration)",
    )
    add(
        "--encryption-provider-config-automatic-reload",
        type=_boolean,
        default=False,
        metavar="BOOL",
        help="follow that file when it changes (default: false)",
    )
    return parser


def _config(parser: argparse.ArgumentParser, arguments: list[str] | None) -> Config:
    given = parser.parse_args(arguments)
    host, _, port = given.listen.rpartition(":")
    host = host.strip("[]")
    first, _, last = given.service_node_port_range.partition("-")
    try:
        ip_address(host)
        listen = int(port)
    except ValueError:
        parser.error(f"--listen {given.listen}: an IP address and a port are needed, as in 127.0.0.1:6443")
    try:
        networks = tuple(ip_network(text) for text in given.service_cluster_ip_range.split(","))
    except ValueError as error:
        parser.error(f"--service-cluster-ip-range: {error}")
    try:
        ports = range(int(first), int(last) + 1)
    except ValueError:
        parser.error(f"--service-node-port-range {given.service_node_port_range}: FIRST-LAST is needed")
    if not 0 < ports.start < ports.stop <= 65536 or min(n.num_addresses for n in networks) < 8:
        parser.error("the service ranges are empty or too small")
    if len({n.version for n in networks}) != len(networks):
        parser.error("--service-cluster-ip-range: two ranges must be of different families")
    on, off = _plugins(parser, given.enable_admission_plugins, given.disable_admission_plugins)
    return Config(
        data=given.data_dir,
        host=host,
        port=listen,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        client_ca=given.client_ca,
        token_file=given.token_auth_file,
        kubelet_cert=given.kubelet_client_cert,
        kubelet_key=given.kubelet_client_key,
        kubelet_ca=given.kubelet_ca,
        advertised=_address(parser, "advertise-address", given.advertise_address),
        cluster_dns=_address(parser, "cluster-dns", given.cluster_dns),
        front_proxy=_front_proxy(given),
        proxy_client=_pair(given.proxy_client_cert_file, given.proxy_client_key_file),
        bootstrap_tokens=given.enable_bootstrap_token_auth,
        anonymous=given.anonymous_auth,
        account_signing_key=given.service_account_signing_key_file,
        account_keys=tuple(given.service_account_key_file),
        account_issuers=tuple(given.service_account_issuer or (ISSUER,)),
        account_keys_uri=given.service_account_jwks_uri,
        api_audiences=tuple(name for name in given.api_audiences.split(",") if name),
        service_networks=networks,
        node_ports=ports,
        seats=max(1, given.max_requests_inflight + given.max_mutating_requests_inflight),
        audit=audit.options(given),
        plugins_on=on,
        plugins_off=off,
        plugin_settings=given.admission_control_config_file,
        toleration_seconds=(given.default_not_ready_toleration_seconds, given.default_unreachable_toleration_seconds),
        encryption=given.encryption_provider_config,
        encryption_reload=given.encryption_provider_config_automatic_reload,
        shutdown_delay=given.shutdown_delay_duration,
        flags=tuple((name.replace("_", "-"), _shown(value)) for name, value in sorted(vars(given).items())),
    )


def _shown(value: object) -> str:
    """A flag's value as Kubernetes' programs show it."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(text: str) -> bool:
    """A flag's value as Kubernetes' programs write it."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def _plugins(parser: argparse.ArgumentParser, enable: str, disable: str) -> tuple[frozenset[str], frozenset[str]]:
    if not enable and not disable:
        return frozenset(), frozenset()
    from hawser.apiserver.admission.plugins import Choice

    try:
        choice = Choice.read(enable, disable)
    except ValueError as error:
        parser.error(str(error))
    return choice.enabled, choice.disabled


def _front_proxy(given: argparse.Namespace) -> ProxySettings | None:
    if given.requestheader_client_ca_file is None:
        return None
    lists = [
        tuple(
            name.strip() for name in getattr(given, f"requestheader_{key}".replace("-", "_")).split(",") if name.strip()
        )
        for key in ("allowed-names", *_PROXY_HEADERS)
    ]
    return ProxySettings(given.requestheader_client_ca_file, *lists)


def _pair(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    return (certificate, key) if certificate is not None and key is not None else None


def _address(parser: argparse.ArgumentParser, flag: str, text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        parser.error(f"--{flag} {text}: an IP address is needed")


if __name__ == "__main__":
    sys.exit(main())

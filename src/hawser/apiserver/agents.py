"""Where node agents are reached, and how this server shows itself to them."""

from __future__ import annotations

import ssl
from functools import cached_property

from hawser.api.errors import internal
from hawser.api.kinds import NODE
from hawser.api.types import Obj
from hawser.apiserver.options import Config
from hawser.apiserver.relay import Address
from hawser.apiserver.resources import Resources


class Agents:
    """The node agents of the engine's nodes."""

    def __init__(self, resources: Resources, config: Config) -> None:
        self._resources = resources
        self._config = config

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The client side of TLS: our certificate, and the CA that agents' certificates are checked against."""
        config = self._config
        context = ssl.create_default_context(cafile=str(config.kubelet_ca) if config.kubelet_ca else None)
        if config.kubelet_ca is None:
            # As kube-apiserver without --kubelet-certificate-authority.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.kubelet_cert is not None:
            context.load_cert_chain(config.kubelet_cert, config.kubelet_key)
        return context

    def address(self, node: str) -> Address:
        """Of a node's agent: its internal address and the port of its kubelet endpoint. APIError 500 without one."""
        found = self._resources.find(NODE, "", node)
        if found is None:
            raise internal(f'node "{node}" not found')
        status: Obj = found.get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or 10250
        # The first of a type counts: of a node with two families, its primary one.
        by_type = {address["type"]: address["address"] for address in reversed(status.get("addresses") or [])}
        for wanted in ("InternalIP", "ExternalIP", "Hostname"):
            if wanted in by_type:
                return Address(by_type[wanted], port)
        raise internal(f'node "{node}" has no known address')

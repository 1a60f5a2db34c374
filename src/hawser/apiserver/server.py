"""The server as a whole: opens the store, wires the parts, listens, and ends well."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING

from hawser import quickly
from hawser.apiserver import bootstrap, pages
from hawser.apiserver.addresses import AddressKeeper
from hawser.apiserver.admission import settings
from hawser.apiserver.admission.plugins import Choice
from hawser.apiserver.admission.policies.status import PolicyStatus
from hawser.apiserver.admission.webhooks.hooks import Webhooks
from hawser.apiserver.agents import Agents
from hawser.apiserver.aggregation.aggregator import Aggregator
from hawser.apiserver.audit import setup as audit
from hawser.apiserver.authentication.front_proxy import published
from hawser.apiserver.authentication.setup import Credentials, authentication
from hawser.apiserver.connection import Server
from hawser.apiserver.custom.controller import DefinitionController
from hawser.apiserver.documents import Documents
from hawser.apiserver.flowcontrol.control import FlowControl
from hawser.apiserver.handler import Handler
from hawser.apiserver.listening import BACKLOG, ListenError, bind
from hawser.apiserver.metrics import Metrics
from hawser.apiserver.options import Config
from hawser.apiserver.proxies import Proxies
from hawser.apiserver.relay import Relay
from hawser.apiserver.resources import Resources
from hawser.apiserver.reviews.authentication import AuthenticationReviews
from hawser.apiserver.reviews.authorization import AuthorizationReviews
from hawser.apiserver.reviews.dispatch import Reviews
from hawser.apiserver.routes import Routes
from hawser.apiserver.strategies.services import Allocator
from hawser.apiserver.streaming import Streams
from hawser.apiserver.usage.metrics_api import MetricsAPI
from hawser.apiserver.verbs import Verbs
from hawser.store.base import StoreRefused, StoreUnavailable
from hawser.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from hawser.apiserver.encryption.config import Encryption

log = logging.getLogger("hawser.apiserver")
_GRACE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0
"""How long a connection that we close waits for the peer's TLS goodbye, which some clients never say."""


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. StartError when that cannot begin."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        tls = _tls(config)
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        credentials = Credentials.read(config)
        auditor = audit.start(config.audit)
        choice = Choice(
            config.plugins_on, config.plugins_off, settings.read(config.plugin_settings), config.toleration_seconds
        )
        seal = _seal(config)
        store = SqliteStore.open(config.data / "hawser.db", seal=seal)
    except (OSError, ValueError, ssl.SSLError, StoreRefused, StoreUnavailable) as error:
        raise StartError(str(error)) from error
    try:
        listening = listening_sockets(config)
        port: int = listening[0].getsockname()[1]
        resources = Resources(store, Allocator(config.service_networks, config.node_ports), choice=choice)
        keeper = AddressKeeper(resources)
        await bootstrap.run(resources, config.advertised or config.address, port, config.cluster_dns)
        await bootstrap.publish(resources, published(config.front_proxy, config.client_ca))
        metrics = Metrics()
        who = authentication(config, credentials, resources, f"{config.advertised or config.address}:{port}")
        documents = Documents(store, metrics, f"{config.address}:{port}", who.issuer)
        agents = Agents(resources, config)
        streams = Streams(resources, agents)
        relay = Relay()
        proxies = Proxies(resources, agents, relay)
        aggregator = Aggregator(resources, relay, config.proxy_client)
        authorizer = resources.access.authorizer
        verbs = Verbs(resources)
        reviews = Reviews(
            AuthenticationReviews(who.authenticator), AuthorizationReviews(resources.access), who.token_requests
        )
        flow = FlowControl(resources, config.seats)
        metrics.extra += [flow.metrics, resources.admission.counts.lines, aggregator.metrics]
        pages.add(documents, config.flags, flow)
        routes = Routes(verbs, documents, reviews, streams, proxies, aggregator, MetricsAPI(resources, agents, relay))
        handler = Handler(who.authenticator, resources.access, routes, flow, metrics)
        if auditor is not None:
            handler.audit = auditor
            metrics.extra.append(auditor.metrics)
        server = Server(handler)
        resources.admission.hooks = webhooks = Webhooks(resources)
        webhooks.allows = authorizer.allows
        parts = [DefinitionController(resources).run(), aggregator.run(), keeper.run(), flow.run()]
        parts.append(PolicyStatus(resources).run())
        if seal is not None and config.encryption is not None and config.encryption_reload:
            from hawser.apiserver.encryption.reloading import Reloader

            reloader = Reloader(config.encryption, seal, store)
            metrics.extra.append(reloader.metrics)
            parts.append(reloader.run())
        tasks = [asyncio.create_task(part) for part in parts]
        documents.health.hooks["poststarthook/start-apiextensions-controllers"] = lambda: not tasks[0].done()
        listeners = [
            await loop.create_server(server, sock=each, ssl=tls, backlog=BACKLOG, ssl_shutdown_timeout=_GOODBYE_SECONDS)
            for each in listening
        ]
        _settle_memory()
        _allow_files()
        log.info("serving on https://%s:%d", config.host, port)
        await stop.wait()
        log.info("stopping")
        documents.stopping = True
        # So that whoever balances load has seen it before connections are refused.
        await asyncio.sleep(config.shutdown_delay)
        for listener in listeners:
            listener.close()
        await server.shutdown(_GRACE_SECONDS)
        await streams.close()
        await relay.close()
        await resources.callouts.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await store.close()
        if auditor is not None:
            auditor.close()


def _seal(config: Config) -> Encryption | None:
    """What encrypts values at rest, when something is to. Raises OSError, ConfigurationError."""
    if config.encryption is None:
        return None
    from hawser.apiserver.encryption.config import read

    return read(config.encryption)


def listening_sockets(config: Config) -> list[socket.socket]:
    """The listening sockets, the main one first. StartError when an address cannot be had."""
    try:
        return bind(config)
    except ListenError as error:
        raise StartError(str(error)) from error


def _tls(config: Config) -> ssl.SSLContext:
    """TLS 1.2 or newer; client certificates are asked for, and a wrong one is refused in the handshake."""
    # Not create_default_context: that reads the system's certificates, which are nobody's here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.tls_cert, config.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    if config.client_ca is not None:
        context.load_verify_locations(config.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    if config.front_proxy is not None:
        context.load_verify_locations(config.front_proxy.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _allow_files() -> None:
    """Each connection is a file: as many as the system allows, as Go's programs do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settle_memory() -> None:
    """The garbage collector may work again, seldom: a request's objects are gone without it."""
    gc.set_threshold(50_000, 20, 50)
    quickly.settle()

"""Puts authentication together as the configuration says."""

from __future__ import annotations

from dataclasses import dataclass

from hawser.api.kind import Kind
from hawser.api.kinds import SERVICE_ACCOUNT
from hawser.apiserver.authentication.authenticator import Authenticator
from hawser.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from hawser.apiserver.authentication.front_proxy import FrontProxy
from hawser.apiserver.authentication.issuer_documents import IssuerDocuments
from hawser.apiserver.authentication.service_accounts import Keys, ServiceAccountTokens, own_key
from hawser.apiserver.authentication.token_requests import TokenRequests
from hawser.apiserver.identity import Tokens
from hawser.apiserver.options import Config
from hawser.apiserver.resources import Resources
from hawser.store.base import Record


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is read from files before anything else starts."""

    static: Tokens
    keys: Keys
    front: FrontProxy | None

    @classmethod
    def read(cls, config: Config) -> Credentials:
        """OSError, ValueError (KeyFileError is one) when a file cannot be read."""
        signing = config.account_signing_key or own_key(config.data / "sa.key")
        front = FrontProxy(config.front_proxy, config.client_ca) if config.front_proxy is not None else None
        return cls(Tokens.read(config.token_file), Keys(signing, config.account_keys), front)


@dataclass(frozen=True, slots=True)
class Authentication:
    """The parts that requests are given to."""

    authenticator: Authenticator
    token_requests: TokenRequests
    issuer: IssuerDocuments


def authentication(config: Config, credentials: Credentials, resources: Resources, server: str) -> Authentication:
    """server: HOST:PORT as clients reach this one."""

    def find(kind: Kind, namespace: str, name: str) -> Record | None:
        return resources.store.get(resources[kind].key(namespace, name))

    accounts = ServiceAccountTokens(find, credentials.keys, config.account_issuers, config.api_audiences)
    resources.store.follow(resources[SERVICE_ACCOUNT].prefix, lambda events: accounts.forget())
    return Authentication(
        Authenticator(
            credentials.static,
            accounts,
            credentials.front,
            BootstrapTokens(find) if config.bootstrap_tokens else None,
            config.anonymous,
        ),
        TokenRequests(resources, accounts),
        IssuerDocuments(accounts, server, config.account_keys_uri),
    )

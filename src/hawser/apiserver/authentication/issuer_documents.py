"""What others need to verify service account tokens: the issuer's OpenID configuration and its keys.

Source: Kubernetes documentation, "Managing Service Accounts", issuer discovery; OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.apiserver.authentication.service_accounts import ServiceAccountTokens

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/openid/v1/jwks"
KEYS_CONTENT_TYPE = "application/jwk-set+json"


class IssuerDocuments:
    """Makes them. keys_uri: where clients get the keys, when that is not this server."""

    def __init__(self, tokens: ServiceAccountTokens, server: str, keys_uri: str = "") -> None:
        self._tokens = tokens
        self._keys_uri = keys_uri or f"https://{server}{KEYS}"

    def configuration(self) -> Obj | None:
        """The provider's configuration; None when the issuer is no https URL, which OpenID demands."""
        issuer = self._tokens.issuers[0]
        if not issuer.startswith("https://") or "?" in issuer or "#" in issuer:
            return None
        return {
            "issuer": issuer,
            "jwks_uri": self._keys_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted(
                {key.algorithm for key in self._tokens.keys.verifying.values()}
            ),
        }

    def keys(self) -> Obj:
        """The JSON Web Key Set."""
        return {"keys": [key.jwk() for key in self._tokens.keys.verifying.values()]}

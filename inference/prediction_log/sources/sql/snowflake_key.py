"""Signs in at Snowflake with the private key of a user, which is never sent.

https://docs.snowflake.com/en/developer-guide/sql-api/authenticating
"""

import base64
import hashlib

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from driftline.base.clock import now
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.rsa_keys import read_rsa_key

TOKEN_SECONDS = 600  # Snowflake takes at most an hour


class KeyPair:
    """Signs tokens for one user of one account; raises ConnectorFailed for what is no key."""

    def __init__(self, pem: str, host: str, user: str) -> None:
        try:
            self._key = read_rsa_key(pem)
        except ValueError as error:
            raise ConnectorFailed("The secret is no private key of RSA, as PEM and not encrypted.") from error
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode()
        self._subject = f"{account_of(host)}.{user.upper()}"
        self._issuer = f"{self._subject}.SHA256:{fingerprint}"

    def token(self) -> str:
        """Return a new token, for one request."""
        issued = int(now().timestamp())
        claims = {"iss": self._issuer, "sub": self._subject, "iat": issued, "exp": issued + TOKEN_SECONDS}
        return jwt.encode(claims, self._key, algorithm="RS256")


def account_of(host: str) -> str:
    """Return the account as tokens name it: the first part of the host, without a region or "privatelink".

    Of a connection to replicated accounts, NAME-CONNECTION.global, that is NAME.
    """
    account, _, rest = host.partition(".")
    if rest.startswith("global."):
        account = account.partition("-")[0]
    return account.upper()

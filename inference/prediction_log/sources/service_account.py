"""Tokens of a service account of Google, for which it signs with its private key; the key is never sent.

https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests
"""

import re
import time
from typing import Annotated, Literal
from urllib.parse import urlencode

import jwt
import msgspec
from msgspec import Meta, Struct

from driftline.base.clock import now
from driftline.base.errors import UNREADABLE
from driftline.base.outbound.transport import DEADLINE_SECONDS, RequestFailed, exchange
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.rsa_keys import read_rsa_key

TOKEN_URLS = (
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
)
"""Where Google gives tokens; keys that were made long ago name the last two."""
ASSERTION_SECONDS = 3_600  # Google takes no longer ones
RENEW_SECONDS = 300  # before a token ends, as requests take time
_ERROR = re.compile(r'"error": ?"([a-z_]{1,40})"')


class _Key(Struct):
    """What is read of a key as Google writes it."""

    type: Literal["service_account"]
    client_email: Annotated[str, Meta(min_length=1, max_length=320)]
    private_key: str
    private_key_id: Annotated[str, Meta(min_length=1, max_length=100)]
    token_uri: str = TOKEN_URLS[0]


class _Token(Struct):
    access_token: Annotated[str, Meta(pattern=r"^[!-~]{1,8192}$")]
    expires_in: Annotated[int, Meta(ge=0, le=86_400)]


class ServiceAccount:
    """Fetches tokens for what `scope` names, one for many requests.

    Tokens are asked for at Google's addresses, or at the `endpoint` of the service itself, as emulators and private
    installations have it: a key that names another address is refused. Raises ConnectorFailed for what is no key.
    """

    def __init__(self, key: str, endpoint: str, scope: str) -> None:
        try:
            self._key = msgspec.json.decode(key, type=_Key)
            self._private_key = read_rsa_key(self._key.private_key)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ConnectorFailed(
                "The secret is no key of a service account, which is JSON with an RSA private key."
            ) from error
        if self._key.token_uri not in TOKEN_URLS and not self._key.token_uri.startswith(f"{endpoint}/"):
            raise ConnectorFailed(
                "The key of the service account has a token_uri that is neither Google's nor at the endpoint."
            )
        self.email = self._key.client_email
        self._scope = scope
        self._token, self._renew_at = "", float("-inf")

    def token(self, seconds: float) -> str:
        """Return a token that holds for some minutes, and ask for it if need be, within so many seconds.

        Raises ConnectorFailed where none is given.
        """
        if time.monotonic() >= self._renew_at:
            given = self._request_token(seconds)
            self._token = given.access_token
            self._renew_at = time.monotonic() + given.expires_in - RENEW_SECONDS
        return self._token

    def forget_token(self) -> None:
        """Ask for another token the next time."""
        self._renew_at = float("-inf")

    def _request_token(self, seconds: float) -> _Token:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion()}
        try:
            answer = exchange(
                "POST",
                self._key.token_uri,
                headers={"content-type": "application/x-www-form-urlencoded", "accept-encoding": "identity"},
                body=urlencode(form).encode(),
                deadline=min(DEADLINE_SECONDS, seconds),
            )
            return msgspec.json.decode(answer.text, type=_Token)
        except RequestFailed as error:
            raise ConnectorFailed(f"No token is given to the service account: {_describe(error)}.") from error
        except UNREADABLE as error:
            raise ConnectorFailed(
                "No token is given to the service account: the answer has none that can be read."
            ) from error

    def _assertion(self) -> str:
        issued = int(now().timestamp())
        claims = {
            "iss": self._key.client_email,
            "scope": self._scope,
            "aud": self._key.token_uri,
            "iat": issued,
            "exp": issued + ASSERTION_SECONDS,
        }
        return jwt.encode(
            claims, self._private_key, algorithm="RS256", headers={"kid": self._key.private_key_id}
        )


def _describe(error: RequestFailed) -> str:
    """Return why no token came, and of an answer its status and its code alone; a port is not said to be closed."""
    if error.status is None:
        return "its address does not answer" if error.is_silence else str(error)
    code = _ERROR.search(error.body)
    reason = f"{error.status} {code[1] if code else ''}".rstrip()
    if code and code[1] == "invalid_grant":
        return f"{reason}; check this server's clock, and that the key still exists"
    return reason

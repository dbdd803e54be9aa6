"""AWS Signature Version 4 of a POST to `/`, which is how AWS's services of JSON are called.

The steps are those of "Create a signed AWS API request" in the guide of AWS Identity and Access Management.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class AccessKey:
    """The long-lived key of a user."""

    id: str
    secret: str


def authorization(
    headers: Mapping[str, str], body: bytes, key: AccessKey, *, region: str, service: str
) -> str:
    """Sign a POST and return its header `Authorization`.

    `headers` are all that is signed; among them are `Host` and `X-Amz-Date`, such as 20150830T123600Z.
    """
    signed = dict(sorted((name.lower(), " ".join(value.split())) for name, value in headers.items()))
    at = signed["x-amz-date"]
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([ALGORITHM, at, scope, _sha256(_canonical_request(signed, body))])
    signature = hmac.new(_signing_key(key.secret, scope), text.encode(), "sha256").hexdigest()
    return f"{ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={';'.join(signed)}, Signature={signature}"


def _canonical_request(signed: Mapping[str, str], body: bytes) -> bytes:
    """Write a request as it is signed, with an empty query."""
    headers = [f"{name}:{value}" for name, value in signed.items()]
    return "\n".join(["POST", "/", "", *headers, "", ";".join(signed), _sha256(body)]).encode()


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

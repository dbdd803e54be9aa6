"""Signs requests to S3: AWS Signature Version 4, with the secret never sent.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote


def quote_path(path: str) -> str:
    """Write the path of a request as it is signed and sent."""
    return quote(path, safe="/-_.~")


def quote_query(query: Mapping[str, str]) -> str:
    """Write the query of a request as it is signed and sent."""
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items())
    )


def signed_headers(
    *,
    host: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    region: str,
    key_id: str,
    secret: str,
    now: datetime,
    method: str = "GET",
    body: bytes = b"",
) -> dict[str, str]:
    """Return the headers of a request with those that sign it; the path is as `quote_path` writes it."""
    content = hashlib.sha256(body).hexdigest()
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    given = {name.lower(): value for name, value in headers.items()}
    given |= {"host": host, "x-amz-content-sha256": content, "x-amz-date": moment}
    names = ";".join(sorted(given))
    lines = "".join(f"{name}:{given[name].strip()}\n" for name in sorted(given))
    request = "\n".join([method, path, quote_query(query), lines, names, content])
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    del given["host"]
    return given | {
        "authorization": f"AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={names},Signature={signature}"
    }

"""What a service says may repeat what it was sent; secrets and tokens in it are replaced before anybody reads it."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from driftline.base.errors import invalid
from driftline.base.keys.secrets_at_rest import encrypt
from driftline.base.outbound.transport import RequestFailed
from driftline.base.work.leased_work import shortened

HIDDEN = "***"
RUN_TOKEN_PREFIX = "dl_run_"
MAX_REASON = 400
MAX_SECRET_LENGTH = 4096
_TOKEN = re.compile(rf"{RUN_TOKEN_PREFIX}[0-9a-f]+|eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""A run's token, or a JSON Web Token, as services hand them out."""


def seal(secret: object, pointer: str) -> bytes:
    """Encrypt a secret that a header will carry, or return nothing for an empty one; raises Problem at `pointer`."""
    text = secret.strip() if isinstance(secret, str) else None
    if text is None or len(text) > MAX_SECRET_LENGTH or not (text.isascii() and text.isprintable()):
        raise invalid(
            pointer,
            f"A secret has up to {MAX_SECRET_LENGTH:,} printable characters of ASCII, as headers do.",
        )
    return encrypt(text) if text else b""


def without_secrets(text: str, secret: str = "") -> str:
    """Replace run tokens, and a pipeline's secret as it is, escaped or encoded."""
    for form in _forms(secret):
        text = text.replace(form, HIDDEN)
    return _TOKEN.sub(HIDDEN, text)


@contextmanager
def failing_without_secrets(secret: str) -> Iterator[None]:
    """Raise each `RequestFailed` again with at most `MAX_REASON` characters, none of them of a secret."""
    try:
        yield
    except RequestFailed as error:
        reason = shortened(without_secrets(str(error), secret))[:MAX_REASON]
        raise RequestFailed(reason, status=error.status, retry_after=error.retry_after) from None


def _forms(secret: str) -> list[str]:
    """List how an answer may hold a secret, the longest first; the password of `user:password` counts alone too."""
    plain = {secret, secret.partition(":")[2]} - {""}
    forms = {
        form
        for one in plain
        for form in (one, json.dumps(one)[1:-1], repr(one)[1:-1], quote(one, safe=""), _in_base64(one))
    }
    return sorted(forms, key=len, reverse=True)


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

"""Find Driftline's address and the token: as given, else in the environment, else as `driftline login` stored them."""

import json
import os
import ssl
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from driftline_client.errors import DriftlineError

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Credentials:
    """The address of an installation and a token of it."""

    url: str
    token: str


def access(url: str | None, token: str | None) -> tuple[str, str]:
    """Return the address and the token to use; raises DriftlineError where there is no token.

    A stored token is used for the address that it was stored with, and for no other.
    """
    url, token = url or os.environ.get("DRIFTLINE_URL"), token or os.environ.get("DRIFTLINE_TOKEN")
    stored = None if url and token else read_stored()
    url = url or (stored.url if stored else DEFAULT_URL)
    if not token and stored and stored.url.rstrip("/") == url.rstrip("/"):
        token = stored.token
    return url, checked_token(token or "", url)


def client_certificate() -> ssl.SSLContext | None:
    """Return what shows the certificate of DRIFTLINE_CLIENT_CERTIFICATE, a PEM file that may hold its key too, or None.

    Raises DriftlineError where it cannot be used with DRIFTLINE_CLIENT_KEY.
    """
    chain, key = os.environ.get("DRIFTLINE_CLIENT_CERTIFICATE"), os.environ.get("DRIFTLINE_CLIENT_KEY")
    if not chain:
        return None
    context = httpx.create_ssl_context()
    try:
        context.load_cert_chain(chain, key or None, password="")
    except OSError as error:
        raise DriftlineError(
            f"The client's certificate {chain} cannot be used with {key or 'a key in the same file'}: {error}"
        ) from error
    return context


def checked_token(token: str, url: str) -> str:
    """Return a token without the newline that files of tokens end with; raises DriftlineError for what is none."""
    token = token.strip()
    if not token:
        raise DriftlineError(
            f"There is no token for {url}; set DRIFTLINE_TOKEN, give token=..., or run: driftline login --url {url}"
        )
    if not (token.isascii() and token.isprintable()):
        raise DriftlineError("The token holds characters that no token has; copy it again.")
    return token


def stored_path() -> Path:
    """Return the file in which a login is stored, in the user's folder of settings."""
    if os.name == "nt":
        folder = os.environ.get("APPDATA") or Path.home() / "AppData/Roaming"
    else:
        folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "driftline" / "credentials.json"


def store(credentials: Credentials) -> Path:
    """Store a login where its user alone can read it, in place of the one before, and return the file."""
    try:
        path = stored_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=path.parent)  # with the mode 0600
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(credentials), file, indent=2)
        Path(written).replace(path)
    except (OSError, RuntimeError) as error:
        raise DriftlineError(f"The login cannot be stored: {error}; set DRIFTLINE_TOKEN instead.") from error
    return path


def read_stored() -> Credentials | None:
    """Return the stored login; None where there is none. Raises DriftlineError where the file is no login."""
    try:
        path = stored_path()
        text = path.read_text(encoding="utf-8")
    except (OSError, RuntimeError):  # RuntimeError: a user without a home, as in many containers
        return None
    try:
        found = json.loads(text)
        return Credentials(str(found["url"]), str(found["token"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DriftlineError(f"{path} holds no login; run: driftline login") from error

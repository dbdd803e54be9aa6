"""Where the services of a home listen. Pure: nothing is started, and Django need not be configured."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from driftline.operations.services.paths import POSTGRES_PORT, home_paths

DATABASE_NAME = "driftline"
DATABASE_USER = "driftline"


def embedded_database_settings(home: Path | str) -> dict[str, Any]:
    """Return Django's `DATABASES` entry for the embedded PostgreSQL of `home`."""
    return {
        "ENGINE": "driftline.base.database",
        "NAME": DATABASE_NAME,
        "USER": DATABASE_USER,
        "HOST": str(home_paths(home).sockets),
        "PORT": str(POSTGRES_PORT),
    }


def embedded_broker_url(home: Path | str) -> str:
    """Return Celery's broker URL for the embedded Valkey of `home`."""
    return f"redis+socket://{quote(str(home_paths(home).valkey_socket))}"

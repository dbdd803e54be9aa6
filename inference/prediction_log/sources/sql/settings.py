"""Where a source of rows of a table reads, as people set it; no driver is needed to check it."""

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from driftline.common.bodies import Body
from driftline.common.errors import invalid
from driftline.common.outbound.addresses import Address, AddressBlocked, resolve
from driftline.common.outbound.targets import PORTS_OF_OTHER_SERVICES, outbound_rules

PORTS = {"postgresql": 5432, "mysql": 3306}
_POOLER_PORT = 6432  # of PgBouncer
MAX_PEM_BYTES = 64 << 10
MAX_SHOWN_PARTITION = 260
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")

type Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class SqlSettings(Body):
    """A table or view, the column by which its rows are followed, and how to sign in; the secret is the password."""

    kind: Literal["sql"] = "sql"
    engine: Literal["postgresql", "mysql"] = Field(
        default="postgresql", description="mysql is MariaDB too; it needs the package driftline[mysql]"
    )
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=0, ge=0, le=65_535, description="0: that of the engine, 5432 or 3306")
    database: Name
    user: Name
    tls: Literal["verify", "none"] = Field(
        default="verify", description="none is for networks of DRIFTLINE_OUTBOUND_ALLOW alone"
    )
    ca_certificate: str = Field(
        default="", max_length=MAX_PEM_BYTES, description="PEM; empty: the system's authorities"
    )
    schema_name: str = Field(
        default="", max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$", description="empty: that of the user"
    )
    table: Name = Field(description="or a view")
    columns: list[Name] = Field(default=[], max_length=2_000, description="empty: all")
    watermark: Name = Field(description="a column that grows, such as updated_at, with an index")
    keys: list[Name] = Field(
        min_length=1,
        max_length=5,
        description="columns that tell rows of one watermark apart, together unique",
    )
    lag_seconds: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="only rows with an older watermark are read, so that transactions that end late are seen; 0 where "
        "the watermark is no time",
    )
    interval_seconds: int = Field(default=10, ge=1, le=86_400, description="between two looks for new rows")

    @property
    def is_encrypted(self) -> bool:
        return self.tls == "verify"

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to: it is never sent anywhere else."""
        return self.engine, self.host, self.server_port(), self.user, self.tls, self.ca_certificate

    def server_port(self) -> int:
        """Return the port that is called."""
        return self.port or PORTS[self.engine]

    def partition(self) -> str:
        """Name what a position is of: another database, table, watermark or key begins anew."""
        table = f"{self.schema_name}.{self.table}" if self.schema_name else self.table
        name = f"{self.engine}/{self.database}/{table}"
        text = f"{name} by {', '.join([self.watermark, *self.keys])}"
        if len(text) <= MAX_SHOWN_PARTITION:
            return text
        return f"{text[:200]}…{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def check_sql(settings: SqlSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not call."""
    try:
        find_address(settings)
    except AddressBlocked as error:
        detail = f"{settings.host} must not be reached: {error}."
        raise invalid("/settings/host", detail, "address_not_allowed") from error
    except (OSError, UnicodeError):
        pass  # the name may resolve later, and is checked again before the database is called
    if len({settings.watermark, *settings.keys}) < 1 + len(settings.keys):
        raise invalid("/settings/keys", "Watermark and keys are different columns.")
    if settings.ca_certificate and not settings.is_encrypted:
        raise invalid("/settings/ca_certificate", "An authority's certificate belongs to TLS.")


def is_within_own_networks(settings: SqlSettings) -> bool:
    """Return whether a server is where the operator lets people look, so that they may see why it fails."""
    try:
        find_address(settings.model_copy(update={"tls": "none"}))
    except (AddressBlocked, OSError, UnicodeError):
        return False
    return True


def find_address(settings: SqlSettings) -> Address:
    """Return the address to connect to; raises AddressBlocked, or OSError where the name does not resolve."""
    port = settings.server_port()
    own = {*PORTS.values(), _POOLER_PORT}
    if not _HOST.fullmatch(settings.host):
        raise AddressBlocked("a host is a name or an address, without a port")
    if port < 1024 or port in PORTS_OF_OTHER_SERVICES - own:
        raise AddressBlocked(f"port {port} is not one of a database")
    return resolve(settings.host, port, encrypted=settings.is_encrypted, rules=outbound_rules())

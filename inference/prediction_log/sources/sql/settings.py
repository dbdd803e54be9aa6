"""Where a source of rows of a table reads, as people set it; no driver is needed to check it."""

import hashlib
import re
from collections.abc import Set
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from driftline.base.errors import invalid
from driftline.base.outbound.addresses import AddressBlocked
from inference.prediction_log.sources.servers import ServerSettings, check_server

PORTS = {"postgresql": 5432, "mysql": 3306, "bigquery": 443, "snowflake": 443}
_POOLER_PORT = 6432  # of PgBouncer
MAX_SHOWN_PARTITION = 260
MIN_BILLED_INTERVAL_SECONDS = 60
BILLED = {"bigquery": ("BigQuery", "dataset"), "snowflake": ("Snowflake", "schema")}
"""Engines that bill each statement: their names, and how they call what holds tables."""
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_PRINTABLE_OR_EMPTY = r"^[^\x00-\x1f\x7f]*$"

type Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class SqlSettings(ServerSettings):
    """A table or view, the column by which its rows are followed, and how to sign in; the secret is the password."""

    protocol: ClassVar[str] = "a database"
    own_ports: ClassVar[Set[int]] = frozenset({*PORTS.values(), _POOLER_PORT})
    field: ClassVar[str] = "host"

    kind: Literal["sql"] = "sql"
    engine: Literal["postgresql", "mysql", "bigquery", "snowflake"] = Field(
        default="postgresql",
        description="mysql is MariaDB too; it needs the extra sql. Of bigquery, host is "
        "bigquery.googleapis.com, database the project, schema_name the dataset, user the e-mail address of a service "
        "account, and the secret its JSON key. Of snowflake, host is that of the account, such as "
        "acme-main.snowflakecomputing.com, and the secret a private key of the user: PEM, RSA, not encrypted",
    )
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=0, ge=0, le=65_535, description="0: that of the engine, 5432, 3306 or 443")
    database: Name
    user: Name
    schema_name: str = Field(
        default="", max_length=255, pattern=_PRINTABLE_OR_EMPTY, description="empty: that of the user"
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
    interval_seconds: int = Field(
        default=10,
        ge=1,
        le=86_400,
        description="between two looks for new rows; of bigquery and snowflake 60 or more, as each is billed",
    )
    max_gib_billed: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="of bigquery alone: a statement that would be billed for more GiB is refused, unbilled",
    )
    warehouse: str = Field(
        default="",
        max_length=255,
        pattern=_PRINTABLE_OR_EMPTY,
        description="of snowflake alone, which needs one: it runs the statements",
    )
    role: str = Field(
        default="",
        max_length=255,
        pattern=_PRINTABLE_OR_EMPTY,
        description="of snowflake alone; empty: the default role of the user",
    )

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to: it is never sent anywhere else."""
        return self.engine, self.host, self.server_port(), self.user, self.tls, self.ca_certificate

    def host_and_port(self) -> tuple[str, int]:
        """Return where the server is; raises AddressBlocked."""
        if not _HOST.fullmatch(self.host):
            raise AddressBlocked("a host is a name or an address, without a port")
        return self.host, self.server_port()

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
    check_server(settings)
    if len({settings.watermark, *settings.keys}) < 1 + len(settings.keys):
        raise invalid("/settings/keys", "Watermark and keys are different columns.")
    if settings.engine in BILLED:
        _check_billed(settings)
    if settings.engine == "snowflake" and not settings.warehouse:
        raise invalid("/settings/warehouse", "Name the warehouse that runs the statements.")
    if settings.engine != "snowflake":
        for name, value in (("warehouse", settings.warehouse), ("role", settings.role)):
            if value:
                raise invalid(f"/settings/{name}", f"A {name} belongs to Snowflake.")


def _check_billed(settings: SqlSettings) -> None:
    product, container = BILLED[settings.engine]
    if not settings.schema_name:
        raise invalid("/settings/schema_name", f"Name the {container} that the table is in.")
    if settings.interval_seconds < MIN_BILLED_INTERVAL_SECONDS:
        raise invalid(
            "/settings/interval_seconds",
            f"{product} bills each look for new rows; wait for "
            f"{MIN_BILLED_INTERVAL_SECONDS} seconds or more between two.",
        )
    if settings.ca_certificate:
        raise invalid(
            "/settings/ca_certificate", f"{product} is checked against the authorities of the system."
        )

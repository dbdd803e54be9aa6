"""A PostgreSQL of others for the tests of this folder, and sources that read its table."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from driftline.base.clock import now
from inference.prediction_log.sources.kinds import read_settings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import open_adapter
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import note_ends
from inference.prediction_log.sources.reading.storing import store_batch
from inference.prediction_log.sources.services import create_source
from inference.prediction_log.sources.sql.adapter import SqlAdapter
from inference.registry.models import Model
from tests.inference.prediction_log.sources.sql.server import PASSWORD, SqlServer, sql_server

type MakeSql = Callable[..., Source]


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlServer]:
    with sql_server(tmp_path_factory.mktemp("sql")) as server:
        yield server


@pytest.fixture
def server(running_server: SqlServer, settings: Any) -> SqlServer:
    """The server with an empty table."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    running_server.run("TRUNCATE scores")
    return running_server


@pytest.fixture
def make_sql(server: SqlServer, model: Model) -> MakeSql:
    """Make a source of the table; keyword arguments are its settings."""

    def make(*, secret: str = PASSWORD, mapping: dict[str, Any] | None = None, **others: Any) -> Source:
        return create_source(
            project=model.project,
            model=model,
            actor="ada",
            name="table",
            what="predictions",
            settings=read_settings(server.where(**others)),
            mapping=SourceMapping(**(mapping or {"default_version": "1", "timestamp": "updated_at"})),
            secret=secret,
        )

    return make


def open_table(source: Source) -> SqlAdapter:
    """Open a source with a consumer that never waits."""
    adapter = open_adapter(Source.objects.select_related("model").get(pk=source.pk))
    assert isinstance(adapter, SqlAdapter)
    adapter._wait = lambda _: None
    return adapter


def read_all(source: Source) -> list[StreamMessage]:
    """Read and store what there is; returns the messages."""
    with open_table(source) as adapter:
        return read_by(adapter, source)


def read_by(adapter: SqlAdapter, source: Source) -> list[StreamMessage]:
    found: list[StreamMessage] = []
    while batch := adapter.poll(0):
        store_batch(source, batch, now=now())
        found += batch
    note_ends(source.pk, adapter.ends())
    return found

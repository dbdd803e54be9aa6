"""Every row of a bucket of Google's storage is in the log once, though the consumer is killed again and again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.store import ObjectInfo, ObjectMissing
from inference.prediction_log.sources.objects import gcs
from inference.prediction_log.sources.objects.gcs import GcsBucket
from inference.registry.models import Model
from tests.streams.consumers import consumers_of
from tests.streams.gcs_store import GcsServer, gcs_server
from tests.streams.object_rows import (
    KILLS,
    ROWS,
    assert_each_row_once,
    make_source,
    read_with_kills,
    write_objects,
)

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def server(tmp_path: Path, settings: Any) -> Iterator[GcsServer]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    with gcs_server(tmp_path) as running:
        yield running


def listed(store: GcsBucket) -> list[ObjectInfo]:
    return [one for page in store.pages() for one in page]


def test_every_row_is_there_once(model: Model, server: GcsServer, tmp_path: Path) -> None:
    write_objects(tmp_path / "files", ROWS)
    server.fill(tmp_path / "files")
    where = server.settings(interval_seconds=5).model_dump(exclude={"kind"})
    source = make_source(model, server.google.key(), **where)

    with consumers_of("files", tmp_path) as consumers:
        read_with_kills(source, consumers, KILLS)

    assert_each_row_once(model)


def test_names_of_any_characters_are_listed_page_by_page_and_read_in_parts(
    server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "PAGE", 2)
    names = ["a/b c.csv", "a/ü+%2F&=.csv", "a/\u4e2d.csv", "other.csv"]
    for name in names:
        server.put(name, name.encode() * 1_000)
    store = GcsBucket(server.settings(prefix="a/"), server.google.key())

    found = listed(store)

    assert [one.path for one in found] == sorted(names[:3], key=str.encode)
    for one in found:
        assert store.open(one).read() == one.path.encode() * 1_000
    store.close()


def test_an_object_that_was_replaced_since_it_was_listed_is_missing(server: GcsServer) -> None:
    server.put("one.csv", b"first")
    store = GcsBucket(server.settings(), server.google.key())
    [before] = listed(store)

    server.put("one.csv", b"other")

    with pytest.raises(ObjectMissing):
        store.get_range(before, 0, 5)
    [after] = listed(store)
    assert store.get_range(after, 0, 5) == b"other"
    assert after.etag != before.etag
    store.close()


def test_a_public_bucket_needs_no_key(server: GcsServer) -> None:
    server.put("one.csv", b"first")
    store = GcsBucket(server.settings(endpoint=server.emulator), "")

    [found] = listed(store)

    assert store.get_range(found, 0, 5) == b"first"
    store.close()


def test_a_bucket_that_is_not_there_is_said(server: GcsServer) -> None:
    store = GcsBucket(server.settings(bucket="other"), server.google.key())

    with pytest.raises(ConnectorFailed, match="The bucket cannot be listed: the store answered 404"):
        listed(store)
    store.close()

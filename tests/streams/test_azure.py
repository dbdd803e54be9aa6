"""Every row of a container of Azure is in the log once, though the consumer is killed again and again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.store import ObjectInfo, ObjectMissing
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.models import DeadLetter
from inference.prediction_log.sources.objects.azure import AzureContainer
from inference.prediction_log.sources.objects.settings import ObjectsSettings, check_objects
from inference.registry.models import Model
from tests.streams.azure_store import ACCOUNT, CONTAINER, KEY, AzureServer, azure_server
from tests.streams.consumers import consumers_of
from tests.streams.object_rows import KILLS, ROWS, make_source, read_with_kills, write_objects

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def server(model: Model, tmp_path: Path) -> Iterator[AzureServer]:
    with azure_server(tmp_path) as running:
        yield running


def listed(store: AzureContainer) -> list[ObjectInfo]:
    return [one for page in store.pages() for one in page]


def test_every_row_is_there_once(model: Model, server: AzureServer, tmp_path: Path) -> None:
    write_objects(tmp_path / "files", ROWS)
    server.fill(tmp_path / "files")
    source = make_source(model, KEY, **server.settings(interval_seconds=5).model_dump(exclude={"kind"}))

    with consumers_of("files", tmp_path) as consumers:
        read_with_kills(source, consumers, KILLS)

    ids = PredictionRow.objects.filter(model=model).values_list("prediction_id", flat=True)
    assert (ids.count(), ids.distinct().count()) == (ROWS, ROWS)
    assert not DeadLetter.objects.exists()


def test_names_of_any_characters_are_listed_below_a_prefix_and_read_in_parts(server: AzureServer) -> None:
    names = ["a/b c.csv", "a/ü+%2F&=.csv", "a/\u4e2d.csv", "other.csv"]
    for name in names:
        server.put(name, name.encode() * 1_000)
    store = AzureContainer(server.settings(prefix="a/"), KEY)

    found = listed(store)

    assert sorted(one.path for one in found) == sorted(names[:3])
    for one in found:
        assert store.open(one).read() == one.path.encode() * 1_000
    store.close()


def test_an_object_that_was_replaced_since_it_was_listed_is_missing(server: AzureServer) -> None:
    server.put("one.csv", b"first")
    store = AzureContainer(server.settings(), KEY)
    [before] = listed(store)

    server.put("one.csv", b"other")

    with pytest.raises(ObjectMissing):
        store.get_range(before, 0, 5)
    [after] = listed(store)
    assert store.get_range(after, 0, 5) == b"other"
    assert after.etag != before.etag
    store.close()


@pytest.mark.parametrize(
    ("key", "reason"),
    [("d3Jvbmc=", "403 AuthorizationFailure"), ("no base64", "no key of a storage account")],
)
def test_a_wrong_key_is_said(server: AzureServer, key: str, reason: str) -> None:
    store = AzureContainer(server.settings(), key)

    with pytest.raises(ConnectorFailed, match=reason):
        listed(store)
    store.close()


def test_a_container_without_the_address_of_its_account_is_refused() -> None:
    with pytest.raises(Problem, match="address of the storage account"):
        check_objects(ObjectsSettings(service="azure", bucket=CONTAINER, access_key_id=ACCOUNT))

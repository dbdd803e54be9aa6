"""Every object of a bucket is read once, whatever is listed, replaced, broken or taken over meanwhile."""

import gzip
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects import bucket as bucket_module
from inference.connectors.objects import remote_store
from inference.prediction_log.models import Label
from inference.prediction_log.queries.selectors import prediction as logged
from inference.prediction_log.sources import retrying
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import (
    DeadLetter,
    Source,
    SourceObject,
    SourcePosition,
    SourceReader,
)
from inference.prediction_log.sources.objects import adapter as objects_adapter
from inference.prediction_log.sources.objects import listing
from inference.prediction_log.sources.objects.preview import sample_objects
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.positions import ALL_OBJECTS, Fenced
from inference.prediction_log.sources.reading.storing import store_batch
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import update_source
from inference.registry.models import Model
from tests.inference.prediction_log.sources.objects.bucket_server import BucketServer
from tests.inference.prediction_log.sources.objects.conftest import MakeObjects
from tests.inference.prediction_log.sources.objects.reading import (
    csv_of,
    ids,
    lag,
    open_objects,
    read_all,
    read_by,
)

pytestmark = pytest.mark.slow


def positions(source: Source) -> dict[str, int]:
    return dict(SourcePosition.objects.filter(source=source).values_list("partition", "next_offset"))


def notice(source: Source) -> str:
    return Source.objects.get(pk=source.pk).notice


class TestEachObjectOnce:
    def test_objects_are_read_in_the_order_of_their_names(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket(prefix="day/")
        bucket.objects |= {f"day/{n}.csv": csv_of(f"r{n}") for n in (3, 1, 5, 2, 4)}
        bucket.objects |= {"other/6.csv": csv_of("r6"), "day/_SUCCESS": b"", "day/": b""}

        found = read_all(source)

        assert [one.partition.partition("@")[0] for one in found] == [f"day/{n}.csv" for n in range(1, 6)]
        assert ids() == ["r1", "r2", "r3", "r4", "r5"]

    def test_an_object_that_is_listed_again_is_not_read_again(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a", "b")
        read_all(source)
        bucket.objects["0.csv"] = csv_of("before it in the order")

        again = read_all(source)

        assert [one.offset for one in again] == [0]
        assert ids() == ["a", "b", "before it in the order"]

    def test_positions_stay_few_and_count_all(self, bucket: BucketServer, of_bucket: MakeObjects) -> None:
        source = of_bucket()
        bucket.objects |= {f"{n:02}.csv": csv_of(f"a{n}", f"b{n}") for n in range(20)}
        bucket.objects["empty.csv"] = b""

        read_all(source)

        assert positions(source) == {ALL_OBJECTS: 21}
        status = statuses_of([source])[source.pk]
        assert (status.messages, status.rows, status.lag_objects, status.lag_messages) == (40, 40, 0, None)
        assert status.last_message_at is not None

    def test_between_two_passes_nothing_is_listed(self, bucket: BucketServer, of_bucket: MakeObjects) -> None:
        source = of_bucket(interval_seconds=3_600)
        bucket.objects["a.csv"] = csv_of("a")

        with open_objects(source) as adapter:
            read_by(adapter, source)
            bucket.objects["b.csv"] = csv_of("b")
            read_by(adapter, source)

        assert bucket.listings == 1
        assert ids() == ["a"]

    def test_more_objects_than_are_remembered_are_found_by_the_next_pass_at_once(
        self, bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing, "MAX_WAITING", 2)
        source = of_bucket(interval_seconds=3_600)
        bucket.objects |= {f"{n}.csv": csv_of(f"r{n}") for n in range(5)}

        with open_objects(source) as adapter:
            while lag(source) is None:
                adapter.poll(0)
            seen = lag(source)
            adapter.resume()
            read_by(adapter, source)

        assert seen == 5
        assert len(ids()) == 5

    def test_a_kill_in_the_middle_of_an_object_resumes_at_its_row(
        self, bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objects_adapter, "MAX_BATCH", 3)
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of(*(f"r{n}" for n in range(10)))
        killed = open_objects(source)
        while not (batch := killed.poll(0)):
            pass
        store_batch(source, batch, now=now())
        SourceReader.objects.update(until=now() - timedelta(seconds=1))  # as it ends by itself

        rest = read_all(source)

        assert [one.offset for one in rest] == [*range(3, 10)]
        assert len(ids()) == 10
        assert SourcePosition.objects.get().messages == 10
        killed.close()

    def test_a_consumer_that_is_late_is_fenced(self, bucket: BucketServer, of_bucket: MakeObjects) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a", "b")
        late = open_objects(source)
        while not (batch := late.poll(0)):
            pass
        SourceReader.objects.update(until=now() - timedelta(seconds=1))
        read_all(source)

        with pytest.raises(Fenced):
            store_batch(source, batch, now=now())

        late.resume()
        assert read_by(late, source) == []
        assert SourcePosition.objects.get().messages == 2
        late.close()

    def test_a_second_consumer_waits_until_the_first_ends(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a")
        with open_objects(source) as first, open_objects(source) as second:
            first.poll(0)
            assert read_by(second, source) == []
            assert second.ends() == {}
            first.close()

            assert [one.offset for one in read_by(second, source)] == [0]

    def test_names_of_any_characters_and_length_are_read(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        names = ["a b+c%20.csv", "ü/\U0001f600&<x>.csv", f"{'long/' * 190}.csv"]
        bucket.objects |= {name: csv_of(f"r{place}") for place, name in enumerate(names)}

        found = read_all(source)

        assert ids() == ["r0", "r1", "r2"]
        assert max(len(one.partition) for one in found) <= 300
        assert set(SourceObject.objects.values_list("path", flat=True)) == set(names)


class TestReplacedObjects:
    @pytest.fixture
    def replaced(self, bucket: BucketServer, of_bucket: MakeObjects) -> Source:
        """A source with an object that was read, and replaced since."""
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a")
        read_all(source)
        bucket.objects["a.csv"] = csv_of("a", "new")
        return source

    def test_are_said_once_and_not_read_again(self, replaced: Source) -> None:
        assert read_all(replaced) == []
        assert notice(replaced).startswith("a.csv changed after being read, and is not read again")
        Source.objects.update(notice="")

        assert read_all(replaced) == []
        assert notice(replaced) == ""
        assert ids() == ["a"]

    def test_are_read_again_where_that_is_set(self, replaced: Source, bucket: BucketServer) -> None:
        where = {"bucket": "scores", "endpoint": bucket.address, "reread_changed": True}
        update_source(source=replaced, actor="ada", settings=ObjectsSettings.model_validate(where))

        found = read_all(replaced)

        assert [one.offset for one in found] == [0, 1]
        assert ids() == ["a", "new"]
        assert notice(replaced) == ""
        assert positions(replaced) == {ALL_OBJECTS: 2}

    def test_are_read_where_that_is_set_after_they_were_said(
        self, replaced: Source, bucket: BucketServer
    ) -> None:
        read_all(replaced)
        where = {"bucket": "scores", "endpoint": bucket.address, "reread_changed": True}
        update_source(source=replaced, actor="ada", settings=ObjectsSettings.model_validate(where))

        found = read_all(replaced)

        assert [one.offset for one in found] == [0, 1]
        assert ids() == ["a", "new"]
        assert read_all(replaced) == []
        assert notice(replaced) == ""

    def test_in_the_middle_are_read_anew_from_their_beginning(
        self, bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objects_adapter, "MAX_BATCH", 2)
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a", "b", "c")
        with open_objects(source) as adapter:
            while not (batch := adapter.poll(0)):
                pass
            store_batch(source, batch, now=now())
        bucket.objects["a.csv"] = csv_of("b", "c", "d")

        found = read_all(source)

        assert [one.offset for one in found] == [0, 1, 2]
        assert ids() == ["a", "b", "c", "d"]
        assert positions(source) == {ALL_OBJECTS: 1}

    def test_between_the_listing_and_the_download_wait_for_the_next_pass(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects |= {"a.csv": csv_of("old"), "b.csv": csv_of("b")}
        pages = bucket_module.Bucket.pages

        def replace_after(store: Any) -> Iterator[Any]:
            yield from pages(store)
            bucket.objects["a.csv"] = csv_of("new")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bucket_module.Bucket, "pages", replace_after)
            read_all(source)
        assert ids() == ["b"]

        read_all(source)
        assert ids() == ["b", "new"]

    def test_that_were_deleted_are_forgotten_after_a_month(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects |= {f"{n}.csv": csv_of(f"r{n}") for n in range(5)}
        read_all(source)
        removed = bucket.objects.pop("2.csv"), bucket.objects.pop("4.csv")

        read_all(source)
        missing = SourceObject.objects.exclude(missing_since=None)
        assert set(missing.values_list("path", flat=True)) == {"2.csv", "4.csv"}
        bucket.objects["4.csv"] = removed[1]
        missing.update(missing_since=now() - timedelta(days=31))
        read_all(source)

        assert not missing.exists()
        assert SourceObject.objects.count() == 4
        assert len(ids()) == 5


class TestBrokenObjects:
    def test_become_a_dead_letter_with_their_name_and_the_rest_is_read(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects |= {"a.parquet": b"no Parquet", "b.csv": csv_of("b")}

        read_all(source)

        letter = DeadLetter.objects.get()
        assert letter.code == "broken_object"
        assert letter.detail.startswith("a.parquet cannot be read as parquet")
        assert ids() == ["b"]
        assert read_all(source) == []

    def test_are_read_anew_once_they_are_mended(self, bucket: BucketServer, of_bucket: MakeObjects) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = b"id,id\n1,2\n"
        read_all(source)
        bucket.objects["a.csv"] = csv_of("a")

        read_all(source)

        assert ids() == ["a"]
        assert notice(source) == ""

    def test_that_the_store_refuses_are_said(self, bucket: BucketServer, of_bucket: MakeObjects) -> None:
        source = of_bucket()
        bucket.objects |= {"a.csv": csv_of("a"), "b.csv": csv_of("b")}
        bucket.answers["a.csv"] = 403, b"<Error><Code>InvalidObjectState</Code><x>secret</x></Error>"

        read_all(source)

        assert DeadLetter.objects.get().detail == (
            "a.csv cannot be read: the store answered 403 InvalidObjectState."
        )
        assert ids() == ["b"]

    @pytest.mark.parametrize(
        "answer",
        [
            (403, b"<Code>AccessDenied</Code>"),
            (401, b""),
            (400, b"<Code>ExpiredToken</Code>"),
            (403, b"<Code>RequestTimeTooSkewed</Code>"),
            (409, b"<Code>OperationAborted</Code>"),
            (307, b""),
        ],
    )
    def test_that_the_store_refuses_for_a_while_are_read_once_it_gives_them(
        self, bucket: BucketServer, of_bucket: MakeObjects, answer: tuple[int, bytes]
    ) -> None:
        source = of_bucket()
        bucket.objects |= {name: csv_of(name) for name in ("a.csv", "b.csv", "c.csv")}
        bucket.answers["b.csv"] = answer

        with pytest.raises(
            ConnectorFailed, match=rf"b\.csv cannot be read now: the store answered {answer[0]}"
        ):
            read_all(source)
        assert ids() == ["a.csv"]
        bucket.answers.clear()
        read_all(source)

        assert ids() == ["a.csv", "b.csv", "c.csv"]
        assert not DeadLetter.objects.exists()

    def test_are_read_anew_once_their_letters_are_retried(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a", "b")
        bucket.answers["a.csv"] = 403, b"<Code>InvalidObjectState</Code>"
        read_all(source)
        bucket.answers.clear()
        assert read_all(source) == []

        retried = retrying.retry(source=source, letters=source.dead_letters.all(), actor="ada", now=now())
        read_all(source)

        assert (retried.stored, retried.refused, retried.reread) == (0, 0, 1)
        assert ids() == ["a", "b"]
        assert not DeadLetter.objects.exists()
        assert read_all(source) == []

    def test_that_are_still_broken_when_they_are_retried_have_a_letter_again(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = b"id,id\n1,2\n"
        read_all(source)

        retrying.retry(source=source, letters=source.dead_letters.all(), actor="ada", now=now())
        read_all(source)

        assert DeadLetter.objects.get().code == "broken_object"

    def test_rows_that_do_not_map_are_dead_letters_and_retried_by_the_mapping_of_now(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket(mapping={"id": "key"})
        bucket.objects["a.csv"] = csv_of("a") + b"b,1\n"
        read_all(source)
        codes = set(DeadLetter.objects.values_list("code", flat=True))

        update_source(source=source, actor="ada", mapping=SourceMapping(id="id", default_version="1"))
        retried = retrying.retry(source=source, letters=DeadLetter.objects.all(), actor="ada", now=now())

        assert codes == {"missing_field", "malformed_row"}
        assert (retried.stored, retried.refused) == (1, 1)
        assert ids() == ["a"]
        assert statuses_of([source])[source.pk].rows == 1


class TestTheStore:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ((403, b"<Code>AccessDenied</Code>"), "cannot be listed: the store answered 403 AccessDenied"),
            ((301, b""), "301, which is no answer; check endpoint and region"),
            ((200, b"<html>"), "is this the endpoint of an S3 store"),
            ((200, b"<!DOCTYPE x [<!ENTITY a 'b'>]><x/>"), "a document type"),
            (
                (200, '<!DOCTYPE x [<!ENTITY a "b">]><x/>'.encode("utf-16")),
                "is this the endpoint of an S3 store",
            ),
            ((200, b"<x><Contents><Size>many</Size></Contents></x>"), "is this the endpoint of an S3 store"),
        ],
    )
    def test_that_cannot_be_listed_says_why(
        self, bucket: BucketServer, of_bucket: MakeObjects, answer: tuple[int, bytes], said: str
    ) -> None:
        bucket.answers[""] = answer

        with pytest.raises(ConnectorFailed, match=said):
            read_all(of_bucket())

    def test_that_fails_for_an_object_is_asked_again(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a")
        bucket.answers["a.csv"] = 503, b"<Code>SlowDown</Code>"

        with pytest.raises(ConnectorFailed, match="503 SlowDown"):
            read_all(source)
        bucket.answers.clear()
        read_all(source)

        assert ids() == ["a"]

    def test_that_fails_twice_for_a_part_costs_nothing_of_the_object(
        self, bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote_store, "PART_BYTES", 10)
        bucket.objects["a.csv"] = csv_of("a", "b", "c")
        bucket.failures["a.csv"] = 2

        read_all(of_bucket())

        assert ids() == ["a", "b", "c"]

    def test_is_not_asked_after_the_deadline_of_a_preview(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        bucket.objects["a.csv"] = csv_of("a")
        where = ObjectsSettings.model_validate(of_bucket().settings)

        with pytest.raises(ConnectorFailed, match="did not answer in time"):
            sample_objects(where, "", messages=10, seconds=0)

        assert len(sample_objects(where, "", messages=10, seconds=60)) == 1

    def test_that_does_not_encode_names_is_believed(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        bucket.encodes = False
        bucket.objects["a+b%20.csv"] = csv_of("a")

        read_all(of_bucket())

        assert ids() == ["a"]

    def test_has_no_object_read_that_would_fill_the_disk_of_the_log(
        self, bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote_store, "IN_MEMORY_BYTES", 1)
        source = of_bucket()
        bucket.objects["a.csv"] = csv_of("a")

        with monkeypatch.context() as patch:
            patch.setattr(remote_store, "MIN_FREE_BYTES", 1 << 60)
            with pytest.raises(ConnectorFailed, match="make room"):
                read_all(source)
        read_all(source)

        assert ids() == ["a"]

    def test_sends_an_object_in_parts(
        self, bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote_store, "PART_BYTES", 10)
        bucket.objects["a.csv"] = csv_of("a", "b", "c")

        read_all(of_bucket())

        ranges = [headers["range"] for key, headers in bucket.requests if key]
        assert ranges[:2] == ["bytes=0-9", "bytes=10-19"]
        assert ids() == ["a", "b", "c"]

    def test_is_sent_a_signature_and_never_the_secret(
        self, bucket: BucketServer, of_bucket: MakeObjects
    ) -> None:
        bucket.objects["a.csv"] = csv_of("a")

        read_all(of_bucket(access_key_id="AKIA1"))

        for _, headers in bucket.requests:
            assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA1/")
            assert "s3cret" not in str(headers)

    def test_in_a_network_that_must_not_be_called_is_not_read(
        self, bucket: BucketServer, of_bucket: MakeObjects, settings: Any
    ) -> None:
        source = of_bucket()
        settings.OUTBOUND_ALLOW = []

        with pytest.raises(ConnectorFailed, match="blocked_address"):
            read_all(source)
        assert bucket.requests == []


def test_numbers_of_csv_are_numbers_and_versions_stay_text(
    bucket: BucketServer, of_bucket: MakeObjects, model: Model
) -> None:
    moment = rfc3339(now())
    raw = f"id,ts,version,prediction,income,home,code\n007,{moment},1.10,1,4.5,rent,012\n".encode()
    bucket.objects["a.csv"] = raw

    read_all(of_bucket(mapping={"tags": {"region": "code"}}))

    found = logged(model=model, prediction_id="007")
    assert found is not None
    assert found["version"] == "1.10"
    assert found["features"] == {"income": 4.5, "home": "rent"}


@pytest.mark.parametrize("size", [1 << 20, 1])
def test_every_format_is_read_from_memory_and_from_disk(
    bucket: BucketServer, of_bucket: MakeObjects, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(remote_store, "IN_MEMORY_BYTES", size)
    table = io.BytesIO()
    pq.write_table(pa.table({"id": ["p"], "prediction": [1]}), table)
    bucket.objects |= {
        "a.csv": csv_of("c"),
        "b.csv.gz": gzip.compress(csv_of("cz")),
        "c.jsonl": b'{"id": "n", "prediction": 1}',
        "d.ndjson.gz": gzip.compress(b'{"id": "nz", "prediction": 1}'),
        "e.parquet": table.getvalue(),
    }

    read_all(of_bucket())

    assert ids() == ["c", "cz", "n", "nz", "p"]


def test_labels_of_a_file_are_stored(bucket: BucketServer, of_bucket: MakeObjects) -> None:
    bucket.objects["a.ndjson"] = b'{"id": "a", "label": 1}\n{"id": "b", "label": 0}\n'

    read_all(of_bucket(what="labels"))

    assert dict(Label.objects.values_list("given_id", "value")) == {"a": "1", "b": "0"}

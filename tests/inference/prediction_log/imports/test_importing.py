"""Files come into the log as if their rows had been logged one by one, bad ones aside."""

import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.operations.invariants import check_all
from inference.prediction_log.imports.engine import bounded_memory
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.reading import csv_source
from inference.prediction_log.imports.reading.source import UnreadableFile
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.labels import services as label_log
from inference.prediction_log.models import Label, PredictionRow
from inference.prediction_log.queries.selectors import frame_of, prediction
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.sources.objects.parquet_rows import read_parquet
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from tests.inference.prediction_log.imports.files import bad_rows, csv_file, imported, parquet_file, row
from tests.worlds.approvals import DAY


def ids() -> list[str]:
    return sorted(PredictionRow.objects.values_list("prediction_id", flat=True))


@pytest.mark.parametrize("write", [csv_file, parquet_file])
class TestPredictions:
    def test_come_back_as_the_file_has_them(self, write, model: Model, tmp_path: Path) -> None:
        rows = [row(number) for number in range(48)]

        job = imported(model, write(tmp_path / "file", rows))

        assert (job.state, job.accepted, job.rejected, job.rows) == (Import.State.DONE, 48, 0, 48)
        frame = frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))
        by_time = sorted(rows, key=lambda one: one["timestamp"])
        assert sorted(frame.ids) == sorted(one["id"] for one in rows)
        assert sorted(frame.features["income"]) == sorted(one["income"] for one in rows)
        assert sorted(frame.features["region"]) == sorted(one["region"] for one in rows)
        assert frame.probability is not None
        assert list(frame.prediction) == [one["prediction"] for one in by_time]
        assert not [
            result for result in check_all() if not result.holds and "summaries" not in result.statement
        ]

    def test_carry_every_column_that_a_logged_one_can_have(self, write, model: Model, tmp_path: Path) -> None:
        told = row(1, version="7", latency_ms=12.5, role="canary", subject="anna", tag_shop="web", label="0")

        imported(model, write(tmp_path / "file", [told]))

        found = prediction(model=model, prediction_id="p-1")
        assert found is not None
        assert (found["version"], found["role"], found["latency_ms"]) == ("7", "canary", 12.5)
        assert found["features"] == {"income": 1.5, "region": "south" if 1 % 3 == 0 else "north"}
        assert [label["value"] for label in found["labels"]] == ["0"]

    def test_are_the_same_as_if_they_had_been_logged(self, write, model: Model, tmp_path: Path) -> None:
        told = row(1, subject="anna", tag_shop="web", latency_ms=1.25, version="1")
        sent = SentPrediction(
            id="p-1", timestamp=told["timestamp"], version="1", features={"income": 1.5, "region": told["region"]},
            prediction="1", probabilities=0.75, latency_ms=1.25, subject="anna", tags={"shop": "web"},
        )  # fmt: skip
        log_predictions(model=model, batch=PredictionBatch(columns_of([sent], task=model.task)), now=now())

        job = imported(model, write(tmp_path / "file", [told, told | {"id": "p-2"}]))

        assert (job.accepted, job.duplicates, job.rejected) == (1, 1, 0)

    def test_without_ids_are_named_after_the_file_and_come_once(
        self, write, model: Model, tmp_path: Path
    ) -> None:
        rows = [{key: value for key, value in row(number).items() if key != "id"} for number in range(5)]
        first = imported(model, write(tmp_path / "file", rows))

        again = imported(model, write(tmp_path / "file", rows), force=True)

        assert (first.accepted, again.accepted, again.duplicates) == (5, 0, 5)
        assert ids()[0] == f"import-{first.sha256[:20]}-0000000001"

    def test_that_are_bad_are_left_out_with_a_reason(self, write, model: Model, tmp_path: Path) -> None:
        rows = [
            row(1),
            row(2, timestamp="yesterday"),
            row(3, probability=1.5),
            row(4, prediction=None),
            row(5, id=""),
            row(6, timestamp="2001-01-05T00:00:00Z"),
            row(7),
        ]

        job = imported(model, write(tmp_path / "file", rows))

        assert (job.accepted, job.rejected, ids()) == (2, 5, ["p-1", "p-7"])
        assert [(one["import_row"], one["import_column"], one["import_code"]) for one in bad_rows(job)] == [
            ("2", "timestamp", "invalid_timestamp"),
            ("3", "probability", "invalid_probability"),
            ("4", "prediction", "missing_field"),
            ("5", "id", "invalid_id"),
            ("6", "timestamp", "timestamp_out_of_window"),
        ]
        assert bad_rows(job)[0]["income"] == "2.5"

    def test_under_a_known_id_with_another_body_are_conflicts(
        self, write, model: Model, tmp_path: Path
    ) -> None:
        imported(model, write(tmp_path / "first", [row(1)]))

        job = imported(model, write(tmp_path / "second", [row(1, income=9.0), row(2)]))

        [bad] = bad_rows(job)
        assert (job.accepted, job.rejected) == (1, 1)
        assert (bad["import_row"], bad["import_column"], bad["import_code"]) == ("1", "id", "conflict")

    def test_of_many_classes_take_a_column_a_class(self, write, tmp_path: Path, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(task="multiclass")
        model.refresh_from_db()
        rows = [
            {"id": "p-1", "timestamp": "2026-01-05T00:00:00Z", "prediction": "b", "x": 1.0,
             "probability_a": 0.25, "probability_b": 0.75},
            {"id": "p-2", "timestamp": "2026-01-05T00:00:00Z", "prediction": "b", "x": 1.0,
             "probability_a": 0.5, "probability_b": 0.75},
        ]  # fmt: skip

        job = imported(model, write(tmp_path / "file", rows))

        assert (job.accepted, [one["import_code"] for one in bad_rows(job)]) == (1, ["invalid_probability"])

    def test_of_a_regression_are_numbers(self, write, tmp_path: Path, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(task="regression")
        model.refresh_from_db()
        rows = [
            {
                "id": f"p-{n}",
                "timestamp": "2026-01-05T00:00:00Z",
                "prediction": n / 2,
                "label": n * 1.0,
                "x": n,
            }
            for n in range(3)
        ]

        job = imported(model, write(tmp_path / "file", rows))

        assert (job.accepted, job.labels, job.rejected) == (3, 3, 0)
        frame = frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))
        assert sorted(frame.prediction) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("write", [csv_file, parquet_file])
class TestLabels:
    def test_join_their_predictions_or_wait_for_them(self, write, model: Model, tmp_path: Path) -> None:
        imported(model, write(tmp_path / "rows", [row(1), row(2)]))
        told = [
            {"id": "p-1", "label": 1.0, "timestamp": "2026-01-06T00:00:00Z"},
            {"id": "p-9", "label": 0.0, "timestamp": "2026-01-06T00:00:00Z"},
        ]

        job = imported(model, write(tmp_path / "labels", told), "labels")

        assert (job.accepted, job.rejected) == (2, 0)
        found = {label.given_id: label for label in Label.objects.all()}
        joined = datetime(2026, 1, 5, 1, 1, tzinfo=UTC)
        assert (found["p-1"].value, found["p-1"].prediction_time) == ("1", joined)
        assert found["p-1"].labelled_at == datetime(2026, 1, 6, tzinfo=UTC)
        assert (found["p-9"].value, found["p-9"].prediction_time) == ("0", None)
        assert found["p-1"].source == "dl_test"

    def test_correct_earlier_ones_and_repeat_without_effect(
        self, write, model: Model, tmp_path: Path
    ) -> None:
        imported(model, write(tmp_path / "rows", [row(1), row(2)]))
        imported(
            model,
            write(tmp_path / "first", [{"id": "p-1", "label": "1"}, {"id": "p-2", "label": "1"}]),
            "labels",
        )

        told = [{"id": "p-1", "label": "0"}, {"id": "p-2", "label": "1"}, {"id": "p-1", "label": "1"}]
        job = imported(model, write(tmp_path / "second", told), "labels")

        assert (job.accepted, job.duplicates) == (2, 1)
        assert list(
            Label.objects.filter(given_id="p-1").order_by("revision").values_list("value", "is_current")
        ) == [("1", False), ("0", False), ("1", True)]

    def test_that_are_bad_are_left_out_with_a_reason(self, write, model: Model, tmp_path: Path) -> None:
        told = [{"id": "p-1", "label": "1"}, {"id": "", "label": "1"}, {"id": "p-3", "label": None}]

        job = imported(model, write(tmp_path / "labels", told), "labels")

        assert [(one["import_row"], one["import_code"]) for one in bad_rows(job)] == [
            ("2", "invalid_id"),
            ("3", "missing_field"),
        ]

    def test_may_come_from_a_file_of_predictions(self, write, model: Model, tmp_path: Path) -> None:
        path = write(tmp_path / "rows", [row(1, label="1"), row(2, label="0")])
        imported(model, path)

        job = imported(model, path, "labels")

        assert (job.duplicates, job.rejected) == (2, 0)
        assert "income" in job.layout["ignored"]


class TestCsv:
    def test_cells_may_hold_commas_quotes_and_newlines(self, model: Model, tmp_path: Path) -> None:
        regions = ['say "north", or', "two\nlines", "a, b", "schön"]
        rows = [row(n, region=region) for n, region in enumerate(regions)]

        job = imported(model, csv_file(tmp_path / "file", [*rows, row(9, timestamp="?")]))

        frame = frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))
        assert sorted(frame.features["region"]) == sorted(regions)
        [bad] = bad_rows(job)
        assert (bad["import_row"], bad["import_line"]) == ("5", "7")  # one row before it has two lines

    def test_rows_with_other_numbers_of_cells_are_left_out(self, model: Model, tmp_path: Path) -> None:
        header, *lines = csv_file(tmp_path / "file", [row(n) for n in range(4)]).read_text().splitlines()
        lines[1] = lines[1].rpartition(",")[0]
        lines[2] += ",more"
        (tmp_path / "file").write_text(
            "\r\n".join(["\ufeff" + header, lines[0], "", *lines[1:], ""]) + "\r\n"
        )

        job = imported(model, tmp_path / "file")

        assert (job.accepted, ids()) == (2, ["p-0", "p-3"])
        assert [
            (one["import_row"], one["import_line"], one["import_code"], one["id"]) for one in bad_rows(job)
        ] == [("3", "4", "wrong_number_of_cells", "p-1"), ("4", "5", "wrong_number_of_cells", "p-2")]

    def test_a_mended_file_of_bad_rows_is_imported_as_it_is(self, model: Model, tmp_path: Path) -> None:
        job = imported(model, csv_file(tmp_path / "file", [row(1), row(2, timestamp="?", income=-4.5)]))
        mended = bad_rows(job)
        mended[0]["timestamp"] = "2026-01-05T00:00:00Z"

        again = imported(model, csv_file(tmp_path / "mended", mended))

        assert (again.accepted, ids()) == (1, ["p-1", "p-2"])
        found = prediction(model=model, prediction_id="p-2")
        assert found is not None
        assert found["features"]["income"] == -4.5

    def test_a_few_texts_do_not_make_a_column_of_numbers_one_of_texts(
        self, model: Model, tmp_path: Path
    ) -> None:
        rows = [row(number, income="?" if number == 5 else number) for number in range(30)]

        job = imported(model, csv_file(tmp_path / "file", rows))

        [bad] = bad_rows(job)
        assert (job.accepted, bad["import_row"], bad["import_column"]) == (29, "6", "income")
        assert job.layout["features"] == {"income": "number", "region": "text"}

    def test_cells_of_bad_rows_are_no_formulas(self, model: Model, tmp_path: Path) -> None:
        job = imported(
            model, csv_file(tmp_path / "file", [row(1), row(2, timestamp="?", region="=cmd()", income=-1.5)])
        )

        assert [(one["region"], one["income"]) for one in bad_rows(job)] == [("'=cmd()", "-1.5")]

    def test_a_cell_that_is_no_number_spoils_its_row_only(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(csv_source, "block_rows", lambda columns: 10)
        rows = [row(number, income="many" if number == 15 else number) for number in range(30)]

        job = imported(model, csv_file(tmp_path / "file", rows))

        [bad] = bad_rows(job)
        assert (job.accepted, bad["import_row"], bad["import_column"]) == (29, "16", "income")
        assert bad["import_code"] == "wrong_type"


class TestTheFirstLook:
    @pytest.mark.parametrize(
        ("content", "status", "code", "pointer"),
        [
            (b"", 422, "no_rows", None),
            (b"timestamp,prediction,x\n", 422, "no_rows", None),
            (b"timestamp,x\n1,2\n", 422, "missing_column", "/prediction"),
            (b"timestamp;prediction;x\n1;2;3\n", 422, "wrong_type", "/timestamp"),
            (b"timestamp,prediction,x,x\n1,2,3,4\n", 422, "duplicate_column", "/x"),
            (b",timestamp,prediction\n0,1,2\n", 422, "invalid_header", None),
            (b"timestamp,prediction,x\n2026-01-05T00:00:00,1,2\n", 422, "invalid_timestamp", "/timestamp"),
            (b"timestamp,prediction,x\n2026-01-05T00:00:00Z,1,sch\xf6n\n", 422, "invalid_encoding", None),
            ("timestamp,prediction\n".encode("utf-16"), 422, "invalid_encoding", None),
            (b"PK\x03\x04zip", 415, "unsupported_media_type", None),
            (b"\x1f\x8bgzip", 415, "unsupported_media_type", None),
            (b"PAR1 and no more", 422, "not_parquet", None),
            (b'timestamp,prediction,x\n2026-01-05T00:00:00Z,1,5" pipe\n', 422, "invalid_csv", None),
            (b'timestamp,prediction,x\n2026-01-05T00:00:00Z,1,"open\n', 422, "invalid_csv", None),
            (b"timestamp,prediction,x\r2026-01-05T00:00:00Z,1,2\r", 422, "invalid_csv", None),
            (b"timestamp,prediction,x\nt,1," + b"a" * (2 << 20) + b"\n", 422, "row_too_large", None),
            (b"timestamp,prediction,probability,probability_1\n,,,\n", 422, "invalid_probability", "/probability_1"),
        ],
    )  # fmt: skip
    def test_refuses_what_no_row_of_can_be_kept(
        self, content: bytes, status: int, code: str, pointer: str | None, model: Model, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(content)

        with pytest.raises(Problem) as refused:
            imported(model, tmp_path / "file")

        assert (refused.value.status, refused.value.code) == (status, code)
        assert pointer is None or [fault.pointer for fault in refused.value.errors] == [pointer]
        assert not Import.objects.exists()


@pytest.mark.slow
class TestMemory:
    def test_a_small_file_that_holds_much_text_is_refused_row_by_row(
        self, model: Model, tmp_path: Path
    ) -> None:
        rows = [row(number, region="a" * 2_000_000) for number in range(100)]
        path = parquet_file(tmp_path / "file", [*rows, row(200)], compression="zstd")
        assert path.stat().st_size < 10_000

        job = imported(model, path)

        assert (job.accepted, job.rejected) == (1, 100)
        assert {(bad["import_column"], bad["import_code"]) for bad in bad_rows(job)} == {
            ("region", "item_too_large")
        }

    @pytest.mark.parametrize(
        ("lengths", "says"),
        [
            (
                [20_000_000],
                "hold 20,000,000 values in 1 rows of a row group; a vector has up to 4,096 numbers",
            ),
            (
                [40_000_001] + [0] * 9_999,
                "up to 40,000,000 are read at once; write the file with smaller row",
            ),
        ],
    )
    def test_a_small_file_of_long_lists_is_refused_unread(
        self, model: Model, tmp_path: Path, lengths: list[int], says: str
    ) -> None:
        ends = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        zeros = pa.array(np.zeros(sum(lengths), np.int8))
        names = ["id", "timestamp", "prediction"]
        table = pa.Table.from_pylist(
            [{name: row(number)[name] for name in names} for number in range(len(lengths))]
        ).append_column("photo", pa.ListArray.from_arrays(ends, zeros))
        pq.write_table(table, tmp_path / "file", compression="zstd")
        assert (tmp_path / "file").stat().st_size < 200_000

        with pytest.raises(Problem) as refused:
            imported(model, tmp_path / "file")
        with pytest.raises(Problem) as of_reference, (tmp_path / "file").open("rb") as file:
            store_reference(
                model=model,
                version="1",
                stream=file,
                content_type="application/vnd.apache.parquet",
                actor="ada",
            )
        with pytest.raises(ValueError, match="hold"), (tmp_path / "file").open("rb") as file:
            next(read_parquet(file, 0))

        assert says in refused.value.detail
        assert {refused.value.code, of_reference.value.code} == {"lists_too_long"}
        assert not Import.objects.exists()

    def test_what_needs_more_than_its_budget_is_unreadable(self) -> None:
        before = resource.getrlimit(resource.RLIMIT_DATA)

        with pytest.raises(UnreadableFile, match="more than 64 MiB"), bounded_memory(64 << 20):
            bytearray(1 << 30)

        assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_week_is_entered_before_the_labels_are_locked(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, lock = [], label_log.lock

    def note(model_id: int, *, exclusive: bool) -> None:
        entered.append(holds_week())
        lock(model_id, exclusive=exclusive)

    monkeypatch.setattr(label_log, "lock", note)

    imported(model, csv_file(tmp_path / "in", [row(1, label="1")]))

    assert set(entered) == {True}


def holds_week() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks "
            "WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND classid = %s)",
            [AdvisoryLock.ARRIVAL_WEEK.value],
        )
        return bool(cursor.fetchone()[0])

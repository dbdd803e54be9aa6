"""The log leaves as a file that holds what came in, labels included, and comes in again the same."""

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command

from driftline.base.accounts.models import AuditEntry, Project
from inference.prediction_log.queries import exports
from inference.prediction_log.queries.exports import Wanted
from inference.prediction_log.storage import partitions
from inference.registry.models import Model
from tests.inference.prediction_log.imports.files import csv_file, imported, row
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet"


def test_an_export_holds_what_was_imported(model: Model, tmp_path: Path, exported: Path) -> None:
    rows = [row(n, label=str(n % 2), subject=f"s-{n}", tag_shop="web", latency_ms=1.5) for n in range(30)]
    imported(model, csv_file(tmp_path / "in", rows))

    call_command("export_predictions", str(exported), model=model.name)

    told = {one["id"]: one for one in pq.read_table(exported).to_pylist()}
    assert len(told) == 30
    for given in rows:
        found = told[given["id"]]
        assert found["timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ") == given["timestamp"]
        for name in ("prediction", "probability", "income", "region", "label", "subject", "latency_ms"):
            assert found[name] == given[name]
        assert (found["version"], found["role"], found["tags"]) == ("1", "champion", '{"shop": "web"}')


def test_packed_numbers_are_exported_as_they_were_sent(model: Model, tmp_path: Path, exported: Path) -> None:
    sent = [12.34, None, -0.07]
    rows = [row(n, income="" if income is None else income, age=0.5 * n) for n, income in enumerate(sent)]
    imported(model, csv_file(tmp_path / "in", rows))
    grow_old()
    pack_all()

    call_command("export_predictions", str(exported), model=model.name)

    told = sorted(pq.read_table(exported).to_pylist(), key=lambda one: one["id"])
    assert [one["income"] for one in told] == sent
    assert [one["age"] for one in told] == [0.0, 0.5, 1.0]


def test_an_export_is_imported_elsewhere_as_it_is(model: Model, tmp_path: Path, exported: Path) -> None:
    rows = [row(n, label="1", tag_shop="web") for n in range(5)]
    imported(model, csv_file(tmp_path / "in", [*rows, row(9, income="")]))
    call_command("export_predictions", str(exported), model=model.name)
    other = make_model(Project.objects.create(slug="other", name="Other"), "copied")

    job = imported(other, exported)
    call_command("export_predictions", str(tmp_path / "again"), model="copied")

    assert (job.accepted, job.labels, job.rejected) == (6, 5, 0)
    assert pq.read_table(tmp_path / "again").equals(pq.read_table(exported))


def test_an_export_is_narrowed_by_time_role_and_version(model: Model, tmp_path: Path, exported: Path) -> None:
    rows = [row(n, role="champion" if n % 2 else "canary", version=str(n % 3)) for n in range(24)]
    imported(model, csv_file(tmp_path / "in", rows))
    noon = DAY + timedelta(hours=12)

    call_command(
        "export_predictions", str(exported), "--from", noon.isoformat(), "--role", "canary", "--of-version", "2",
        model=model.name,
    )  # fmt: skip

    assert {one["id"] for one in pq.read_table(exported).to_pylist()} == {"p-14", "p-20"}
    assert AuditEntry.objects.get(action="predictions.export").after["rows"] == 2


def test_days_outside_are_not_opened(model: Model) -> None:
    partitions.DAYS.make([(DAY + timedelta(days=days)).date() for days in range(4)])
    wanted = Wanted(model, DAY + timedelta(days=1), DAY + timedelta(days=2))

    opened = set(re.findall(r"on inference_predictionchunk_d(\d{8})\b", wanted.chunks().explain()))

    assert opened == {"20260106", "20260107"}


def test_features_of_later_chunks_are_there_for_all(model: Model, tmp_path: Path, exported: Path) -> None:
    imported(model, csv_file(tmp_path / "first", [row(1)]))
    imported(model, csv_file(tmp_path / "second", [row(2, age=7, version="2")]))

    call_command("export_predictions", str(exported), model=model.name)

    assert [one["age"] for one in pq.read_table(exported).to_pylist()] == [None, 7.0]


def test_an_empty_log_gives_an_empty_file(model: Model, exported: Path) -> None:
    call_command("export_predictions", str(exported), model=model.name)

    assert pq.read_table(exported).num_rows == 0


def test_rows_with_much_text_are_written_some_at_a_time(
    model: Model, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "GROUP_BYTES", 1 << 20)
    for number in range(4):
        rows = rows_of_a_day(DAY, 20, seed=number)
        log(
            model,
            [
                msgspec.structs.replace(row, id=f"{number}-{row.id}", features={"text": str(number) * 60_000})
                for row in rows
            ],
        )

    call_command("export_predictions", str(exported), model=model.name)

    assert pq.ParquetFile(exported).metadata.num_row_groups == 4

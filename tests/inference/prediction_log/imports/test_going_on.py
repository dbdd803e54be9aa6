"""An import that was stopped at any moment goes on where it was, and no row comes twice or is lost."""

import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.base.work.lease import LeaseLost
from driftline.base.work.leased_work import claim
from driftline.operations.services.children import MANAGE
from inference.prediction_log.imports import bad_rows as bad_rows_module
from inference.prediction_log.imports import services
from inference.prediction_log.imports.lease import BeingWorkedOn, leased
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.reading import csv_source, parquet_source
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Model
from tests.embedded import subprocess_environment
from tests.inference.prediction_log.imports.files import (
    SENDER,
    bad_rows,
    csv_bytes,
    csv_file,
    parquet_file,
    row,
    started,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit every ten rows."""
    monkeypatch.setattr(csv_source, "block_rows", lambda columns: 10)
    monkeypatch.setattr(parquet_source, "block_rows", lambda columns: 10)


def rows_with_bad_ones(count: int) -> list[dict[str, object]]:
    return [row(number, **({"timestamp": "?"} if number % 7 == 0 else {})) for number in range(count)]


@pytest.mark.parametrize("write", [csv_file, parquet_file])
@pytest.mark.usefixtures("small_blocks")
class TestAStop:
    def test_between_any_two_blocks_changes_nothing(self, write, model: Model, tmp_path: Path) -> None:
        job = started(model, write(tmp_path / "file", rows_with_bad_ones(95)))
        visits = 0
        while job.is_unfinished:
            job = services.run(job.pk, stop=lambda _: True)
            visits += 1

        assert visits == 11
        assert (job.rows, job.accepted, job.rejected, job.duplicates) == (95, 81, 14, 0)
        assert [int(bad["import_row"]) for bad in bad_rows(job)] == list(range(1, 95, 7))
        assert PredictionRow.objects.count() == 81

    def test_within_a_block_undoes_it(
        self, write, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = started(model, write(tmp_path / "file", rows_with_bad_ones(30)))
        services.run(job.pk, stop=lambda _: True)
        with monkeypatch.context() as patched:
            patched.setattr(
                bad_rows_module.os, "fsync", lambda _: 1 / 0
            )  # the file is written, the commit never comes
            with pytest.raises(ZeroDivisionError):
                services.run(job.pk, stop=lambda _: False)

        job = services.run(job.pk, stop=lambda _: False)

        assert (job.state, job.accepted, job.rejected, job.duplicates) == (Import.State.DONE, 25, 5, 0)
        assert [int(bad["import_row"]) for bad in bad_rows(job)] == [1, 8, 15, 22, 29]

    def test_by_the_same_failure_again_and_again_ends_it(
        self, write, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = started(model, write(tmp_path / "file", rows_with_bad_ones(30)))
        monkeypatch.setattr(bad_rows_module.os, "fsync", lambda _: 1 / 0)
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(ZeroDivisionError):
                services.run(job.pk, stop=lambda _: False)

        job.refresh_from_db()
        assert (job.state, job.accepted) == (Import.State.FAILED, 0)
        assert "ZeroDivisionError" in job.error


@pytest.mark.usefixtures("small_blocks")
class TestTwoProcesses:
    def test_never_work_on_one_import(self, model: Model, tmp_path: Path) -> None:
        job = started(model, csv_file(tmp_path / "file", [row(1)]))

        with connection.copy().cursor() as other_process:
            other_process.execute("SELECT pg_advisory_lock(7322, %s)", [job.pk])
            claim(Import.objects.filter(pk=job.pk))

            with pytest.raises(BeingWorkedOn), leased(job.pk):
                pass

            other_process.connection.close()

    def test_that_comes_back_too_late_writes_nothing(self, model: Model, tmp_path: Path) -> None:
        job = started(model, csv_file(tmp_path / "file", [row(n) for n in range(30)]))

        def taken_over(_: Import) -> bool:
            Import.objects.filter(pk=job.pk).update(lease_token=1)
            return False

        with pytest.raises(LeaseLost):
            services.run(job.pk, stop=taken_over)

        assert PredictionRow.objects.count() == 10

    def test_cancelling_stops_the_one_that_works(self, model: Model, tmp_path: Path) -> None:
        job = started(model, csv_file(tmp_path / "file", [row(n) for n in range(30)]))

        def cancel(_: Import) -> bool:
            services.cancel(job=job, actor="test")
            return False

        with pytest.raises(LeaseLost):
            services.run(job.pk, stop=cancel)

        job.refresh_from_db()
        assert (job.state, job.accepted) == (Import.State.CANCELLED, 10)


class TestUploads:
    def test_are_imported_by_a_worker_and_removed(self, model: Model, home: Path) -> None:
        job, is_new = services.import_upload(
            model=model, kind="predictions", stream=BytesIO(csv_bytes([row(1)])), name="a", version="", sender=SENDER
        )  # fmt: skip
        assert is_new
        assert (home / job.path).exists()

        services.resume_import(import_id=job.pk)

        job.refresh_from_db()
        assert (job.state, job.accepted) == (Import.State.DONE, 1)
        assert not (home / job.path).exists()

    def test_of_a_file_that_is_being_imported_are_that_import(self, model: Model, home: Path) -> None:
        content = csv_bytes([row(1)])
        pairs = [
            services.import_upload(
                model=model, kind="predictions", stream=BytesIO(content), name="a.csv", version="", sender=SENDER
            )
            for _ in range(2)
        ]  # fmt: skip

        assert [is_new for _, is_new in pairs] == [True, False]
        assert pairs[0][0].pk == pairs[1][0].pk
        assert len(list((home / "imports").iterdir())) == 1

    def test_that_are_damaged_fail_with_a_reason(self, model: Model, home: Path, tmp_path: Path) -> None:
        content = bytearray(parquet_file(tmp_path / "file", [row(n) for n in range(500)]).read_bytes())
        content[40:400] = bytes(360)
        job, _ = services.import_upload(
            model=model,
            kind="predictions",
            stream=BytesIO(bytes(content)),
            name="a",
            version="",
            sender=SENDER,
        )

        services.resume_import(import_id=job.pk)

        job.refresh_from_db()
        assert (job.state, job.accepted) == (Import.State.FAILED, 0)
        assert "Parquet file cannot be read" in job.error


class TestTheCommand:
    def test_says_what_it_did_and_where_the_bad_rows_are(
        self, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = csv_file(tmp_path / "file", rows_with_bad_ones(8))

        call_command("import_predictions", str(path), model=model.name)

        told = capsys.readouterr()
        assert "8 rows" in told.out
        assert "6 new, 0 known already, 2 bad" in told.out
        assert "bad-rows.csv" in told.err

    def test_refuses_a_model_that_is_not_there(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="no model 'nobody'"):
            call_command("import_predictions", str(tmp_path), model="nobody")

    @pytest.mark.e2e
    @pytest.mark.django_db(transaction=True)
    def test_goes_on_where_a_killed_one_was(self, model: Model, tmp_path: Path, home: Path) -> None:
        text = csv_bytes(rows_with_bad_ones(700)).decode().split("\n", 1)
        path = tmp_path / "file"
        path.write_text(text[0] + "\n" + "".join(text[1].replace("p-", f"p-{part}-") for part in range(500)))
        command = [sys.executable, str(MANAGE), "import_predictions", str(path), "--model", model.name]
        environment = {**subprocess_environment(), "DRIFTLINE_HOME": str(home)}
        first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while first.poll() is None and not PredictionRow.objects.exists():
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
        stored = PredictionRow.objects.count()

        second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

        job = Import.objects.get()
        assert 0 < stored < 300_000
        assert f"Going on with import {job.pk}" in second.stdout
        assert (job.state, job.rows, job.duplicates) == (Import.State.DONE, 350_000, 0)
        assert (job.accepted, job.rejected) == (300_000, 50_000)
        assert PredictionRow.objects.count() == 300_000
        assert [int(bad["import_row"]) for bad in bad_rows(job)][:3] == [1, 8, 15]
        assert len(bad_rows(job)) == job.bad_rows == 50_000

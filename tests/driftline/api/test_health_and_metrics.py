"""What probes and Prometheus see."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from driftline.api.front import health
from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.operations.models import Heartbeat
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.registry.models import Model
from inference.registry.services import create_model
from inference.serving.counts.metrics import SECONDS
from inference.serving.jobs.store import JOBS_FOLDER
from inference.serving.status.status import retire_dead
from tests.driftline.api.conftest import Api
from tests.driftline.api.serving_report import write_report
from tests.worlds.every_kind import furnish

DEAD = 2**22 + 1  # above the largest process id


class TestReadiness:
    @pytest.fixture(autouse=True)
    def no_broker(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(health, "_broker", lambda: "away")

    def test_needs_the_database_and_no_broker(self, db: None) -> None:
        answer = Client().get("/readyz")

        assert (answer.status_code, answer.json()["checks"]["broker"]) == (200, "away")

    def test_is_gone_with_the_database(self, db: None, monkeypatch: Any) -> None:
        def away(_: object) -> None:
            raise OperationalError("gone")

        monkeypatch.setattr(health, "MigrationRecorder", away)

        answer = Client().get("/readyz")

        assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "away")

    @pytest.mark.parametrize(
        ("age", "status", "workers"), [(0, "ready", "ok"), (600, "degraded", "last heartbeat 600 s ago")]
    )
    def test_tells_whether_workers_consume(
        self, age: int, status: str, workers: str, db: None, monkeypatch: Any
    ) -> None:
        """It said ready while the last tick was 461 s old."""
        monkeypatch.setattr(health, "_broker", lambda: "ok")
        Heartbeat.objects.create(name="worker", at=timezone.now() - timezone.timedelta(seconds=age))

        answer = Client().get("/readyz")

        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["checks"]["workers"]) == (status, workers)


class TestMetrics:
    @pytest.fixture(autouse=True)
    def home(self, settings: Any, tmp_path: Path) -> Iterator[Path]:
        settings.HOME = tmp_path
        (tmp_path / "serving").mkdir()
        return tmp_path

    def read(self) -> dict[str, float]:
        text = Client().get("/metrics").content.decode()
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def test_add_up_the_processes(self, home: Path, flights: Model) -> None:
        for pid in (os.getpid(), os.getppid()):
            write_report(home, pid, flights.pk)
        (home / "serving" / "torn.json").write_text('{"pid"')

        metrics = self.read()

        key = "['1', 'champion', 'flights', 'ours']"
        assert metrics["driftline_serving_processes[]"] == 2
        assert metrics[f"driftline_inference_rows_total{key}"] == 10
        assert metrics[f"driftline_inference_latency_seconds_count{key}"] == 6
        assert metrics[f"driftline_inference_latency_seconds_sum{key}"] == pytest.approx(0.012)
        assert (
            metrics["driftline_inference_latency_seconds_bucket['0.001', '1', 'champion', 'flights', 'ours']"]
            == 2
        )
        assert metrics["driftline_inference_batch_rows_bucket['1', '1', 'champion', 'flights', 'ours']"] == 4
        assert metrics["driftline_shadow_drops_total['2', 'flights', 'ours', 'queue_full']"] == 8
        assert metrics["driftline_jobs_ended_total['1', 'flights', 'ours', 'succeeded']"] == 6
        assert metrics["driftline_refusals_total['503']"] == 4
        assert metrics["driftline_unlogged_rows_total[]"] == 2
        assert metrics["nv_inference_count['1', 'flights', 'ours']"] == 10

    def test_have_the_names_of_the_servers_that_the_setting_names(
        self, home: Path, flights: Model, settings: Any
    ) -> None:
        write_report(home, os.getpid(), flights.pk)

        both = self.read_with(settings, "triton", "tensorflow-serving")
        none = self.read_with(settings)

        assert both["nv_inference_request_failure['1', 'flights', 'ours']"] == 2
        requests = ":tensorflow:serving:request_count"
        assert both[f"{requests}['OK', 'flights', 'ours']"] == 3
        assert both[f"{requests}['DEADLINE_EXCEEDED', 'flights', 'ours']"] == 2
        assert both[":tensorflow:serving:request_example_count_total['flights', 'ours']"] == 5
        assert both[":tensorflow:serving:request_latency_sum['flights', 'ours']"] == pytest.approx(6_000)
        assert both[":tensorflow:serving:request_latency_bucket['1000', 'flights', 'ours']"] == 1
        batches = ":tensorflow:serving:batching_session:processed_batch_size_bucket"
        assert both[f"{batches}['1', 'flights', 'ours']"] == 2
        assert [name for name in none if not name.startswith("driftline_")] == []

    def test_add_up_the_roles_under_other_servers_names_but_for_copies(
        self, home: Path, flights: Model, settings: Any
    ) -> None:
        write_report(home, os.getpid(), flights.pk, roles=("champion", "canary", "shadow"))

        metrics = self.read_with(settings, "tensorflow-serving")

        assert metrics[":tensorflow:serving:request_latency_count['flights', 'ours']"] == 6
        assert metrics[":tensorflow:serving:request_latency_bucket['+Inf', 'flights', 'ours']"] == 6

    def read_with(self, settings: Any, *servers: str) -> dict[str, float]:
        settings.METRIC_ALIASES = list(servers)
        return self.read()

    @pytest.mark.slow
    def test_keep_the_counts_of_processes_that_died(self, home: Path, flights: Model) -> None:
        name = "driftline_inference_rows_total['1', 'champion', 'flights', 'ours']"
        write_report(home, os.getpid(), flights.pk)
        write_report(home, DEAD, flights.pk)
        found_dead = self.read()

        retire_dead(home)
        retired = self.read()
        write_report(home, DEAD, flights.pk)  # as if its removal had been cut short
        not_quite_retired = self.read()
        write_report(home, DEAD, flights.pk, started_at=2.0)  # another process with the same id
        reborn = self.read()

        assert [seen[name] for seen in (found_dead, retired, not_quite_retired, reborn)] == [10, 10, 10, 15]
        assert found_dead["driftline_serving_processes[]"] == retired["driftline_serving_processes[]"] == 1

    @pytest.mark.slow
    def test_are_all_described(self, home: Path, api: Api, flights: Model, settings: Any) -> None:
        settings.METRIC_ALIASES = ["triton", "tensorflow-serving"]
        furnish(api.project, "lent")
        Heartbeat.objects.create(name="worker", at=timezone.now())
        write_report(home, os.getpid(), flights.pk)
        reference = (Path(__file__).resolve().parents[3] / "docs/reference/prometheus.md").read_text()

        text = Client().get("/metrics").content.decode()

        names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert len(names) > 25
        assert sorted(name for name in names if f"`{name}" not in reference) == []

    def test_have_every_bucket_from_the_first_answer_on(self, home: Path, flights: Model) -> None:
        write_report(home, os.getpid(), flights.pk)

        limits = [
            name for name in self.read() if name.startswith("driftline_inference_latency_seconds_bucket")
        ]

        assert len(limits) == len(SECONDS) + 1

    def test_count_the_jobs(self, home: Path, flights: Model) -> None:
        write_report(home, os.getpid(), flights.pk)
        for name in ("1-a", "1-b", "2-c"):
            (home / JOBS_FOLDER / "open" / name).mkdir(parents=True)

        metrics = self.read()

        assert metrics["driftline_jobs_running[]"] == 1
        assert metrics["driftline_jobs_waiting[]"] == 2
        assert metrics["driftline_job_callbacks_waiting[]"] == 0

    def test_count_what_waits(self, api: Api) -> None:
        furnish(api.project)

        metrics = self.read()

        assert metrics["driftline_work_due['touched_period']"] == 1
        assert metrics["driftline_work_due['delivery']"] == 1
        assert metrics["driftline_incidents_open['warning']"] == 1
        assert metrics["driftline_runs_active[]"] == 1

    def test_say_how_far_sources_are_behind(self, api: Api) -> None:
        furnish(api.project)

        metrics = self.read()

        assert metrics["driftline_source_lag_messages['flights', 'ours']"] == 2
        assert metrics["driftline_source_dead_letters['flights', 'ours']"] == 1
        assert metrics["driftline_source_consumers['flights', 'ours']"] == 0

    def test_count_the_due_files_of_all_lakes_by_one_query(self, api: Api) -> None:
        for number in range(2):
            project = Project.objects.create(slug=f"p{number}", name="P")
            Lake.objects.create(project=project, settings={"bucket": "days"})
            model = create_model(project=project, name="m", task="binary", actor="test")
            for day in range(number + 1):
                LakeFile.objects.create(
                    model=model, day=date(2026, 1, 5 + day), number=0, path="a", state="waiting", due_at=now()
                )

        with CaptureQueriesContext(connection) as queries:
            metrics = self.read()

        assert metrics["driftline_lake_files_due['p0']"] == 1
        assert metrics["driftline_lake_files_due['p1']"] == 2
        counts = [query["sql"] for query in queries if 'COUNT("inference_lakefile"' in query["sql"]]
        assert len([sql for sql in counts if "due_at" in sql]) == 1

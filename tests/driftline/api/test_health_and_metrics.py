"""What probes and Prometheus see."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from driftline import health
from driftline.models import Heartbeat
from inference.registry.models import Model
from tests.driftline.api.conftest import Api
from tests.driftline.api.world import furnish


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

        monkeypatch.setattr(health, "MigrationExecutor", away)

        answer = Client().get("/readyz")

        assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "away")

    @pytest.mark.parametrize(("age", "told"), [(0, "ok"), (600, "last heartbeat 600 s ago")])
    def test_tells_whether_workers_consume(self, age: int, told: str, db: None) -> None:
        Heartbeat.objects.create(name="worker", at=timezone.now() - timezone.timedelta(seconds=age))

        assert Client().get("/readyz").json()["checks"]["workers"] == told


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

    def test_add_up_the_live_processes(self, home: Path, flights: Model) -> None:
        for name, pid in {"first": os.getpid(), "second": os.getppid(), "gone": 2**22 + 1}.items():
            (home / "serving" / f"{name}.json").write_text(json.dumps(report(pid, flights.pk)))
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
        assert metrics["driftline_shadow_drops_total['queue full']"] == 8
        assert metrics["driftline_unlogged_rows_total[]"] == 2

    def test_count_what_waits(self, api: Api) -> None:
        furnish(api.project)

        metrics = self.read()

        assert metrics["driftline_work_due['touched_period']"] == 1
        assert metrics["driftline_work_due['delivery']"] == 1
        assert metrics["driftline_incidents_open['warning']"] == 1
        assert metrics["driftline_runs_active[]"] == 1


def report(pid: int, model_id: int) -> dict[str, Any]:
    series = {
        "model_id": model_id,
        "version": "1",
        "role": "champion",
        "requests": 3,
        "rows": 5,
        "latency_sum_us": 6_000,
        "latency_us": [[1_000, 1], [4_000, 2]],
    }
    return {
        "pid": pid,
        "generation": 1,
        "stale_models": {},
        "spool": {"waiting_bytes": 7},
        "series": [series, {**series, "model_id": -1}],
        "refusals": {"503": 2},
        "shadow_drops": {"queue full": 4},
        "unlogged_rows": 1,
    }

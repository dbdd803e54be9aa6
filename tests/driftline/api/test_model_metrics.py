"""What Prometheus scrapes of models: the newest judged values, as pages and the API say them."""

import shutil
import subprocess
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from driftline.operations.observability import model_metrics
from driftline.operations.observability.model_metrics import FAMILIES, LEVELS
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from tests.driftline.api.conftest import Api
from tests.worlds.every_kind import furnish
from tests.worlds.points import store_points

DAY = timedelta(days=1)
HOSTILE = 'a "quoted"\\name'
Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


def midnight() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)


def point(model: Model, metric: str, value: float | None = 0.1, **fields: Any) -> MetricPoint:
    plain = {
        "role": "champion", "span": "day", "start": midnight() - DAY, "n": 900, "threshold": 0.2, "status": "ok",
    }  # fmt: skip
    return MetricPoint(model=model, metric=metric, value=value, **(plain | fields))


def read(**headers: str) -> Scraped:
    answer = Client().get("/metrics/models", headers=headers)
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def values_of(scraped: Scraped, name: str, **labels: str) -> list[float]:
    """List the values of the samples that have these labels among theirs."""
    wanted = set(labels.items())
    return [value for (sample, found), value in scraped.items() if sample == name and wanted <= found]


class TestPage:
    def test_has_value_limit_and_status_of_the_newest_closed_window(self, flights: Model) -> None:
        today = midnight()
        store_points(
            point(flights, "psi", 0.1, feature="age", start=today - 2 * DAY),
            point(flights, "psi", 0.3, feature="age", start=today - DAY, status="warning"),
            point(
                flights, "psi", 0.7, feature="age", start=today, status="critical"
            ),  # of a day that goes on
        )

        scraped = read()

        labels = {"project": "ours", "model": "flights", "metric": "psi", "feature": "age", "span": "day"}
        assert values_of(scraped, "driftline_model_metric_value", **labels) == [0.3]
        assert values_of(scraped, "driftline_model_metric_limit", **labels) == [0.2]
        assert values_of(scraped, "driftline_model_metric_status", **labels) == [2]
        assert values_of(scraped, "driftline_model_window_end_timestamp_seconds") == [today.timestamp()]
        assert values_of(scraped, "driftline_model_window_rows", measure="drift") == [900]

    def test_takes_the_window_before_one_of_which_labels_are_still_coming(self, flights: Model) -> None:
        store_points(point(flights, "accuracy", 0.9, threshold=0.8, start=midnight() - 2 * DAY))
        store_points(point(flights, "accuracy", 0.2, threshold=0.8, status="unripe"))

        assert values_of(read(), "driftline_model_metric_value", metric="accuracy") == [0.9]

    def test_says_what_the_api_says_where_rules_judge(self, api: Api, flights: Model) -> None:
        for metric, threshold, operator in (("accuracy", 0.95, "below"), ("brier", 0.5, "above")):
            create_rule(
                project=api.project, model=flights, actor="test", name=metric, metric=metric, operator=operator,
                threshold=threshold, severity="critical", min_rows=100,
            )  # fmt: skip
        store_points(
            point(flights, "accuracy", 0.9, threshold=0.8),
            point(flights, "brier", 0.1, threshold=0.05, status="warning"),
            point(flights, "roc_auc", None, threshold=None, n=3, status="insufficient"),
            point(flights, "recall", 0.4, threshold=0.0),
        )
        store_points(
            point(flights, "psi", 0.5, feature="age", status="ok"), point(flights, "psi", 0.1, feature="fare")
        )

        scraped = read()

        for metric in ("accuracy", "brier", "roc_auc", "recall", "psi"):
            for item in api.get(f"/models/flights/metrics?metric={metric}&from=-5d").json()["items"]:
                labels = {"metric": metric} | ({"feature": item["feature"]} if item["feature"] else {})
                level = LEVELS.get(item["status"], -1)
                assert values_of(scraped, "driftline_model_metric_status", **labels) == [level], item
                for name, field in (("value", "value"), ("limit", "threshold")):
                    expected = [] if item[field] is None else [item[field]]
                    assert values_of(scraped, f"driftline_model_metric_{name}", **labels) == expected

    def test_has_the_segments_that_rules_ask_for(self, api: Api, flights: Model) -> None:
        Rule.objects.create(
            project=api.project, model=flights, name="north", metric="accuracy", operator="below", threshold=0.5,
            segment="region:north", cooldown=DAY, notify_within=DAY,
        )  # fmt: skip
        for segment, value in (("", 0.9), ("region:north", 0.4), ("region:south", 0.8)):
            store_points(point(flights, "accuracy", value, segment=segment))

        scraped = read()

        assert values_of(scraped, "driftline_model_metric_value", segment="region:north") == [0.4]
        assert values_of(scraped, "driftline_model_metric_status", segment="region:north") == [2]
        assert values_of(scraped, "driftline_model_metric_value", segment="region:south") == []

    def test_shows_the_worst_features_and_counts_the_others(
        self, flights: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_metrics, "MAX_MODEL_FEATURE_POINTS", 3)
        store_points(
            *(point(flights, "psi", place / 100, feature=f"f{place}") for place in range(10)),
            point(flights, "psi", 0.01, feature="raised", status="warning", threshold=0.005),
        )

        scraped = read()

        shown = {
            dict(labels)["feature"]
            for name, labels in scraped
            if name == "driftline_model_metric_value" and dict(labels)["metric"] == "psi"
        }
        assert shown == {"raised", "f9", "f8"}
        assert values_of(scraped, "driftline_model_feature_points_omitted", model="flights") == [8]

    def test_shows_what_is_raised_of_other_metrics_of_features(self, flights: Model) -> None:
        store_points(
            point(flights, "missing_share", 0.5, feature="age", status="critical"),
            point(flights, "missing_share", 0.0, feature="fare"),
        )

        assert values_of(read(), "driftline_model_metric_value", metric="missing_share") == [0.5]

    def test_counts_open_incidents_by_severity_with_zeros(self, api: Api) -> None:
        furnish(api.project)

        scraped = read()

        counts = {
            severity: values_of(scraped, "driftline_model_incidents_open", model="flights", severity=severity)
            for severity in ("notice", "warning", "critical")
        }
        assert counts == {"notice": [0], "warning": [1], "critical": [0]}

    def test_has_the_unit_of_each_metric(self, flights: Model) -> None:
        store_points(point(flights, "latency_p99", 12.0))

        labels = {"metric": "latency_p99", "unit": "ms", "lower_is_better": "true"}
        assert values_of(read(), "driftline_metric_info", **labels) == [1]

    def test_has_each_sample_once_where_rules_judge_other_spans(self, api: Api, flights: Model) -> None:
        for span in ("hour", "day", "7d"):
            create_rule(
                project=api.project, model=flights, actor="test", name=f"psi {span}", metric="psi", threshold=1,
                feature="*", span=span,
            )  # fmt: skip
        for span in ("hour", "day"):
            store_points(
                point(flights, "psi", feature="age", span=span),
                point(flights, "psi", 0.1, feature="b", span=span),
            )
        store_points(point(flights, "drift_evidence", 3.0))

        text = Client().get("/metrics/models").content.decode()

        samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        assert len(samples) == len(set(samples))
        assert sum('metric="psi"' in one and "_value" in one for one in samples) == 4

    def test_says_no_status_of_what_nobody_judges(self, flights: Model) -> None:
        store_points(point(flights, "count", 900.0, threshold=None))

        scraped = read()

        assert values_of(scraped, "driftline_model_metric_value", metric="count") == [900]
        assert values_of(scraped, "driftline_model_metric_status", metric="count") == []

    def test_escapes_what_names_hold(self, flights: Model) -> None:
        store_points(point(flights, "psi", feature=HOSTILE), point(flights, "psi", feature="line\nbreak"))

        scraped = read()

        for name in (HOSTILE, "line\nbreak"):
            assert values_of(scraped, "driftline_model_metric_value", feature=name) == [0.1]

    def test_is_of_the_tokens_project_alone(self, api: Api, stranger: Api, flights: Model) -> None:
        store_points(point(flights, "psi", feature="age"))
        create_model(project=stranger.project, name="theirs", task="binary", actor="test")

        seen = read(authorization=f"Bearer {stranger.text}")

        assert {dict(labels)["model"] for name, labels in seen if "model" in dict(labels)} == {"theirs"}

    def test_leaves_archived_models_out(self, flights: Model) -> None:
        Model.objects.filter(pk=flights.pk).update(archived_at=timezone.now())

        assert values_of(read(), "driftline_model_info") == []

    def test_describes_every_metric_once_and_with_its_labels(self, flights: Model) -> None:
        store_points(point(flights, "psi", feature="age"), point(flights, "drifted_features", 1.0))

        text = Client().get("/metrics/models").content.decode()

        described = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert described == list(FAMILIES)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                assert set(sample.labels) <= set(FAMILIES[sample.name][1])

    @pytest.mark.parametrize("path", ["/metrics", "/metrics/models"])
    def test_is_not_redirected_for_a_scraper_inside_the_proxy(
        self, settings: LazySettings, api: Api, path: str
    ) -> None:
        settings.SECURE_SSL_REDIRECT = True

        assert Client().get(path).status_code == 200

    @pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
    def test_is_accepted_by_promtool(self, api: Api, flights: Model) -> None:
        furnish(api.project, "furnished")
        store_points(
            point(flights, "psi", feature=HOSTILE),
            point(flights, "psi", float("inf"), feature="age"),
            point(flights, "latency_p99", float("nan"), threshold=None),
        )
        page = Client().get("/metrics/models").content

        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=page, capture_output=True, timeout=60
        )

        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")

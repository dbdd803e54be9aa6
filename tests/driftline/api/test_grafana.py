"""The dashboard asks for what `/metrics` really has."""

import json
import os
import re
from pathlib import Path

import pytest
from django.test import Client, override_settings
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from driftline.base.accounts.models import AuditExport
from driftline.operations import observability
from driftline.operations.models import Heartbeat
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source, SourcePosition
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.registry.services import create_model
from tests.driftline.api.conftest import Api
from tests.driftline.api.promql import metrics_of
from tests.driftline.api.serving_report import write_report
from tests.worlds.every_kind import furnish

DASHBOARD = json.loads((Path(observability.__path__[0]) / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
LOOKUPS = [
    variable["definition"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"
]
FUNCTIONS = {"sum", "by", "rate", "histogram_quantile", "time"}


@pytest.fixture(scope="module")
def scraped(shared_api: Api, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each sample of a scrape that has something of everything."""
    home = tmp_path_factory.mktemp("home")
    (home / "serving").mkdir()
    flights = create_model(project=shared_api.project, name="flights", task="binary", actor="test")
    write_report(home, os.getpid(), flights.pk)
    with override_settings(HOME=home, AUDIT_SYSLOG="tcp://127.0.0.1:9"):
        furnish(shared_api.project, "lent")
        bucket = Source.objects.create(
            project=shared_api.project, name="bucket", kind="objects", model=flights, what="predictions",
            settings=ObjectsSettings(bucket="scores").model_dump(), mapping=SourceMapping().model_dump(),
        )  # fmt: skip
        SourcePosition.objects.create(source=bucket, partition="objects", next_offset=1, end_offset=3)
        AuditExport.objects.create(receiver="syslog", failing_since=timezone.now())
        Lake.objects.update(failing_since=timezone.now())
        Heartbeat.objects.create(name="worker", at=timezone.now())
        page = Client().get("/metrics").content.decode()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def test_each_query_names_metrics_and_labels_that_a_scrape_has(scraped: dict[str, set[str]]) -> None:
    asked = [(name, labels) for expression in EXPRESSIONS for name, labels in metrics_of(expression)]

    assert len(asked) > len(EXPRESSIONS)
    assert [name for name, _ in asked if name not in scraped] == []
    assert [(name, labels - scraped[name]) for name, labels in asked if labels - scraped[name]] == []


def test_each_query_calls_functions_that_prometheus_has() -> None:
    called = {word for expression in EXPRESSIONS for word in re.findall(r"(\w+)\s*\(", expression)}

    assert called <= FUNCTIONS


def test_each_choice_is_of_a_label_that_a_scrape_has(scraped: dict[str, set[str]]) -> None:
    chosen = [re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)", lookup) for lookup in LOOKUPS]

    assert len(chosen) == 2
    for match in chosen:
        assert match is not None
        name, filters, label = match.groups()
        assert {label, *re.findall(r"(\w+)=~", filters or "")} <= scraped[name]


def test_each_legend_names_labels_that_its_query_leaves(scraped: dict[str, set[str]]) -> None:
    targets = [target for panel in PANELS for target in panel["targets"]]
    named = [
        (label, name, labels if re.search(r"\bsum\b", target["expr"]) else scraped[name])
        for target in targets
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        for name, labels in metrics_of(target["expr"])
    ]

    assert named
    assert [(label, name) for label, name, left in named if label not in left] == []


def test_shows_every_metric_of_ours(scraped: dict[str, set[str]]) -> None:
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name) for text in EXPRESSIONS for name, _ in metrics_of(text)
    }
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in scraped if name.startswith("driftline_")}

    assert ours - shown == set()


def test_each_panel_has_a_place_of_its_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]

    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])

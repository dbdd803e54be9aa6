"""Reports that Evidently itself makes: what is in them, what is left out, and what is said of both."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from django.conf import settings
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.base.periods import Period
from inference.prediction_log.items import LabelItem
from inference.registry.services import create_model
from monitors.reports import building
from monitors.reports.models import Preset, Report
from monitors.reports.selectors import about
from monitors.reports.services import ReportRequest, delete_report, request_report
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, truths
from tests.worlds.reports import DAYS, THRESHOLD, ask, careful_rows

HOSTILE = "</script><script>parent.location = 'https://evil.example'</script>"


@dataclass(frozen=True)
class Made:
    """One report with its files' content."""

    report: Report
    html: str
    found: dict

    @classmethod
    def of(cls, report: Report) -> "Made":
        assert report.state == "ready", report.error
        path = settings.HOME / report.path
        return cls(report, path.read_text(), orjson.loads(path.with_suffix(".json").read_bytes()))

    def value(self, metric: str):
        [found] = [one["value"] for one in self.found["metrics"] if one["metric_name"].startswith(metric)]
        return found


@pytest.fixture(scope="module")
def made(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Made]]:
    """One report of each preset: Evidently takes seconds to import, so all tests look at the same."""
    patch = pytest.MonkeyPatch()
    patch.setattr(settings, "HOME", tmp_path_factory.mktemp("home"))
    with rows_of_many_tests(django_db_blocker), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's own
        yield {**_of_classes(), "regression": _of_numbers()}
    patch.undo()


def _of_classes() -> dict[str, Made]:
    model = make_model(Project.objects.create(slug="bank", name="Bank"))
    give_reference(model, days=1)
    rows = careful_rows(400)
    log(model, [replace(row, features=row.features | {"note": HOSTILE, "huge": 1e308 * (-1) ** place})
                for place, row in enumerate(rows)])  # fmt: skip
    log(model, [replace(row, features=row.features | {"note": "", "huge": -1e308}) for row in _day_before()])
    label(model, truths(rows[:300]))
    before = Period(DAY - timedelta(days=1), DAY)
    return {
        "drift": Made.of(
            ask(model, reference="period", reference_period=before, methods={"num_method": "anderson"})
        ),
        "summary": Made.of(ask(model, preset="data_summary", segment="region:north")),
        "classification": Made.of(ask(model, preset="classification", reference="none")),
    }


def _day_before() -> list:
    return careful_rows(200, day=DAY - timedelta(days=1), seed=5)


def _of_numbers() -> Made:
    project = Project.objects.create(slug="rent", name="Rent")
    model = create_model(project=project, name="rent", task="regression", actor="test")
    rows = [replace(row, prediction=row.features["income"], probabilities=None) for row in careful_rows(60)]
    log(model, rows)
    items = [
        LabelItem(id=row.id, label=str(row.prediction + (-1) ** place), timestamp=DAY)  # type: ignore[operator]
        for place, row in enumerate(rows)
    ]
    label(model, items)
    return Made.of(ask(model, preset="regression"))


@pytest.mark.usefixtures("db")
@pytest.mark.slow
class TestReport:
    def test_scores_the_answers_that_were_given(self, made: dict[str, Made]) -> None:
        one = made["classification"]
        rows = careful_rows(400)[:300]
        right = [row.prediction == item.label for row, item in zip(rows, truths(rows), strict=True)]

        assert one.value("Accuracy") == pytest.approx(np.mean(right))
        assert one.report.left_out == ["100 of the window's rows: no label beside the answer"]
        halved = [
            (row.probabilities >= 0.5) == (item.label == "1")  # type: ignore[operator]
            for row, item in zip(rows, truths(rows), strict=True)
        ]
        assert np.mean(halved) != pytest.approx(np.mean(right))  # as Evidently answers from probabilities
        assert min(row.probabilities for row in rows if row.prediction == "1") < THRESHOLD + 0.05  # type: ignore[type-var, operator]

    def test_measures_drift_with_the_chosen_test_and_leaves_out_what_evidently_cannot_take(
        self, made: dict[str, Made]
    ) -> None:
        one = made["drift"]

        methods = {
            metric["config"]["column"]: metric["config"].get("method")
            for metric in one.found["metrics"]
            if metric["metric_name"].startswith("ValueDrift")
        }
        assert methods["income"] == "anderson"
        assert "huge" not in methods
        assert "huge: Evidently cannot take it (ValueError)" in one.report.left_out
        assert "Tests: Anderson-Darling." in one.html

    def test_describes_a_segment_beside_the_reference(self, made: dict[str, Made]) -> None:
        one = made["summary"]

        assert one.value("RowCount") == one.report.rows_used < 400
        assert 0 < one.report.reference_rows < 400
        assert "note, huge: not in the reference" in one.report.left_out

    def test_scores_numbers(self, made: dict[str, Made]) -> None:
        assert made["regression"].value("MAE")["mean"] == pytest.approx(1.0)

    @pytest.mark.parametrize("name", ["drift", "summary", "classification", "regression"])
    def test_says_what_it_is_about(self, made: dict[str, Made], name: str) -> None:
        one = made[name]

        said = about(Report.objects.select_related("reference__version").get(pk=one.report.pk))

        assert one.found["about"] == said
        assert f"{one.report.rows_used} rows" in said
        assert said.replace("'", "&#x27;") in one.html

    def test_takes_no_value_for_markup_and_reaches_no_server(self, made: dict[str, Made]) -> None:
        page = made["drift"].html

        assert "evil.example" in page
        assert HOSTILE not in page
        assert "default-src 'none'" in page.partition("<style>")[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Evidently's own
def test_a_report_that_is_deleted_before_its_files_are_in_place_leaves_none(
    db: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(Project.objects.create(slug="shop", name="Shop"))
    log(model, careful_rows(20))
    store = building._store

    def delete_and_store(making: building.Making, made: Any) -> None:
        delete_report(report=making.report, actor="ada")
        store(making, made)

    monkeypatch.setattr(building, "_store", delete_and_store)
    wanted = ReportRequest(DAYS, preset=Preset.DATA_SUMMARY, reference="none")
    report = request_report(model=model, wanted=wanted, actor="test")

    building.build(report.pk)

    assert not Report.objects.filter(pk=report.pk).exists()
    assert list((home / "reports").iterdir()) == []

"""One number is the probability of one class: which one is found out, can be said, and is changed for the past too."""

import io
from typing import Any

import pytest
from msgspec.structs import replace

from driftline.base.accounts.services import create_project
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.store.models import MetricPoint
from tests.worlds.approvals import DAY, label, log, make_model, reference_csv, rows_of_a_day, truths, work

WORDS = {"1": "ja", "0": "nein"}


@pytest.fixture
def model(db: None, tmp_path: Any, settings: Any, django_user_model: Any) -> Model:
    settings.HOME = tmp_path
    owner = django_user_model.objects.create_user("owner@bank.example")
    return make_model(create_project(slug="bank", name="Bank", owner=owner))


@pytest.fixture
def rows() -> list[SentPrediction]:
    return rows_of_a_day(DAY, 600)


def upload(model: Model, rows: list[SentPrediction], positive_class: str = "") -> None:
    """Store a reference whose labels and predictions are words, with the probability of `ja`."""
    header, *lines = reference_csv(rows).read().decode().splitlines()
    cells = [line.split(",") for line in lines]
    written = [",".join([*row[:2], WORDS[row[2]], WORDS[row[3]], *row[4:]]) for row in cells]
    stream = io.BytesIO("\n".join([header, *written]).encode())
    store_reference(
        model=model, version="1", stream=stream, content_type="text/csv", actor="test",
        positive_class=positive_class,
    )  # fmt: skip
    build()


def build() -> None:
    for reference in Reference.objects.filter(state=Reference.State.BUILDING):
        build_reference(reference.pk)


def log_words(model: Model, rows: list[SentPrediction]) -> None:
    log(model, [replace(row, prediction=WORDS[str(row.prediction)]) for row in rows])
    label(model, [replace(one, label=WORDS[one.label]) for one in truths(rows)])
    work(model)


def auc(model: Model) -> float | None:
    return MetricPoint.objects.get(
        model=model, metric="roc_auc", span="day", segment="", version="", start=DAY
    ).value


@pytest.mark.slow
def test_the_rows_of_a_reference_show_it(model: Model, rows: list[SentPrediction]) -> None:
    upload(model, rows)
    log_words(model, rows)

    assert model.versions.get().signature["positive_class"] == "ja"
    assert (auc(model) or 0) > 0.65
    assert Reference.objects.get().performance["roc_auc"]["mean"] > 0.65


def test_what_was_logged_before_the_classes_were_known_is_computed_again(
    model: Model, rows: list[SentPrediction]
) -> None:
    log_words(model, rows)

    upload(model, rows)
    work(model)

    assert (auc(model) or 0) > 0.65


@pytest.mark.slow
def test_a_change_computes_the_reference_and_the_windows_again(
    model: Model, rows: list[SentPrediction]
) -> None:
    upload(model, rows, positive_class="nein")
    log_words(model, rows)
    upside_down = auc(model)

    update_model(model=model, actor="test", positive_class="ja")
    build()
    work(model)

    assert (upside_down or 1) < 0.35
    assert auc(model) == pytest.approx(1 - (upside_down or 0))
    assert Reference.objects.get().performance["roc_auc"]["mean"] > 0.65

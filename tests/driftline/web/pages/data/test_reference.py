"""The page of references: what is compared with is chosen, and a wrong choice is explained at its field."""

import re
from datetime import timedelta

import pytest
from django.test import Client

from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.metrics.store.models import MetricPoint
from tests.markup import markup
from tests.worlds.approvals import DAY, log, reference_csv, rows_of_a_day, work

pytestmark = pytest.mark.slow


@pytest.fixture
def path(model: Model) -> str:
    log(model, rows_of_a_day(DAY, 60))
    work(model)
    return f"/models/{model.name}/reference"


def test_the_log_is_chosen_and_listed(client: Client, model: Model, path: str) -> None:
    chosen = {"kind": "period", "period-first": "2025-12-01", "period-to": "2025-12-31"}

    page = markup(client.post(path, chosen, follow=True))

    assert "From today on, windows are compared with the log from 1 Dec 2025 to 31 Dec 2025." in page
    assert "<td>the log from 1 Dec 2025 to 31 Dec 2025</td>" in page
    assert Reference.objects.get(model=model).kind == "period"


def test_drift_says_what_a_file_that_is_to_be_compared_with_waits_for(
    client: Client, model: Model, path: str
) -> None:
    stored = reference_csv(rows_of_a_day(DAY - timedelta(days=1), 40))
    store_reference(model=model, version="1", stream=stored, content_type="text/csv", actor="test")

    page = markup(client.get(f"/models/{model.name}/drift"))

    assert re.search(r"The reference \([^)]*\) waits for a worker since .*, and is next\.", page)


def test_a_wrong_choice_is_explained_and_nothing_changes(client: Client, path: str) -> None:
    refused = client.post(path, {"kind": "trailing", "trailing-days": "3", "trailing-gap_days": "7"})

    assert refused.status_code == 422
    assert "3 days; use 14 to 180." in markup(refused)
    assert not Reference.objects.exists()


def test_a_model_that_nobody_answers_for_has_nothing_to_compare(client: Client, model: Model) -> None:
    page = client.post(f"/models/{model.name}/reference", {"kind": "same_hours", "same_hours-weeks": "14"})

    assert "No version answers yet" in markup(page)


def test_drift_says_that_too_little_is_stored(client: Client, model: Model, path: str) -> None:
    client.post(path, {"kind": "trailing", "trailing-days": "28", "trailing-gap_days": "7"})
    work(model)

    page = markup(client.get(f"/models/{model.name}/drift"))

    assert "Too little to compare with: 0 of 28 days" in page
    assert MetricPoint.objects.filter(metric="drifted_features", status="insufficient").exists()


def test_drift_says_which_part_of_the_log_it_is_against(client: Client, model: Model, path: str) -> None:
    period = {"kind": "period", "period-first": "2025-12-22", "period-to": "2026-01-04"}
    log(model, [row for back in range(1, 15) for row in rows_of_a_day(DAY - timedelta(days=back), 3)])
    work(model)
    client.post(path, period)
    work(model)

    page = markup(client.get(f"/models/{model.name}/drift"))

    assert "Reference: 42 rows of version 1, the log from" in page

"""The page of what is expected of a feature."""

import html
import re
from datetime import datetime, timedelta

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Project
from driftline.web.pages.verdict import of_model
from inference.registry.models import Model
from monitors.definitions.expectations import schema_of
from monitors.metrics.store.models import MetricPoint
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched_model(project: Project) -> Model:
    model = make_model(project)
    give_reference(model)
    log(model, rows_of_a_day(DAY, 100))
    work(model)
    return model


@pytest.fixture
def watched(watched_model: Model, db: None) -> Model:
    return Model.objects.get(pk=watched_model.pk)


def test_a_range_is_said_shown_on_the_features_page_and_forgotten(client: Client, watched: Model) -> None:
    path = f"/models/{watched.name}/expected/income"
    assert "The reference: -" in markup(client.get(path))

    shown = markup(client.post(path, {"least": "-1", "most": "250", "missing_share": "5"}, follow=True))
    assert "at least -1, at most 250, missing in at most 5.0% of rows" in shown

    shown = markup(client.post(path, {"least": "-1", "forget": "1"}, follow=True))
    assert "Expected: what the reference shows" in shown


def test_values_are_said_a_line_each(client: Client, watched: Model) -> None:
    path = f"/models/{watched.name}/expected/region"

    client.post(path, {"categories": "north\r\n south \r\n\r\nnorth"})

    assert watched.expectations.get().categories == ["north", "south"]
    assert "north\nsouth" in client.get(path).content.decode()


def test_a_fault_is_told_at_its_field_and_nothing_is_kept(client: Client, watched: Model) -> None:
    answer = client.post(f"/models/{watched.name}/expected/income", {"least": "3", "most": "2"})

    assert answer.status_code == 422
    assert "lies below the least, 3" in markup(answer)
    assert not watched.expectations.exists()


def log_with_impossible_incomes(model: Model, day: datetime, *numbers: int) -> None:
    rows = rows_of_a_day(day, 100)
    for number in numbers:
        rows[number].features["income"] = -5_000.0
    log(model, rows)
    work(model)


def test_a_single_impossible_value_is_said_with_its_row_and_allowed_by_one_press(
    client: Client, watched: Model
) -> None:
    log_with_impossible_incomes(watched, DAY + timedelta(days=1), 7)

    said = "Impossible values came on 6 Jan 2026 in income (-5000 in 1.00% of 100 rows)"
    assert said in of_model(watched).text
    page = markup(client.get(f"/models/{watched.name}/features/income"))
    assert "income -5000 in 1 of 100 rows" in page
    [rows] = re.findall(r'href="([^"]*)">Show these predictions', page)
    assert "20260106-7" in markup(client.get(html.unescape(rows)))

    [form] = forms_labelled(page, "Allow values down to -5000")
    answer = markup(client.post(f"/models/{watched.name}/expected/income", form, follow=True))
    work(watched)

    assert "Expected: at least -5,000" in answer
    assert said not in of_model(watched).text
    assert AuditEntry.objects.get(action="model.expect").after["income"]["least"] == -5_000.0


def test_the_learnt_range_is_confirmed_by_one_press(client: Client, watched: Model) -> None:
    page = markup(client.get(f"/models/{watched.name}/features/income"))
    [form] = forms_labelled(page, "Confirm")

    client.post(f"/models/{watched.name}/expected/income", form)

    [learnt] = [one["learnt"] for one in schema_of(watched) if one["feature"] == "income"]
    said = watched.expectations.get()
    assert (said.least, said.most) == (learnt["least"], learnt["most"])
    assert "Confirm" not in markup(client.get(f"/models/{watched.name}/features/income"))


def test_repeated_impossible_values_are_faults_of_a_day(client: Client, watched: Model) -> None:
    log_with_impossible_incomes(watched, DAY + timedelta(days=1), 7)
    assert counted_on(watched, DAY + timedelta(days=1)) == []

    log_with_impossible_incomes(watched, DAY + timedelta(days=2), 9)
    assert counted_on(watched, DAY + timedelta(days=2)) == ["income"]

    log_with_impossible_incomes(watched, DAY + timedelta(days=5), 1, 2)
    assert counted_on(watched, DAY + timedelta(days=5)) == ["income"]


def counted_on(model: Model, day: datetime) -> list[str]:
    point = MetricPoint.objects.get(model=model, metric="faulty_features", span="day", start=day)
    assert point.detail is not None
    return point.detail["counted"]


def forms_labelled(page: str, label: str) -> list[dict[str, str]]:
    """The fields of each form of a page with one button of this label."""
    forms = [form for form in page.split("<form")[1:] if label in form.split("</form>")[0]]
    fields = [re.findall(r'name="(\w+)"[^>]* value="([^"]*)"', form.split("</form>")[0]) for form in forms]
    return [{name: value for name, value in found if name != "csrfmiddlewaretoken"} for found in fields]

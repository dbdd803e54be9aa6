"""How right a model was by the values of a feature: from labelled rows to the API and the feature's page."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.base.periods import Period, rfc3339
from inference.registry.models import Model, RowsKept
from inference.registry.services import create_model, update_model
from monitors.metrics.rows.value_losses import value_losses
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

WINDOW = Period(DAY, DAY + timedelta(days=1))


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def approvals(owner: User) -> Model:
    """A day on which every answer in the south was wrong, and every other one right."""
    model = make_model(create_project(slug="bank", name="Bank", owner=owner))
    give_reference(model)
    rows = rows_of_a_day(DAY, 400)
    log(model, rows)
    label(
        model,
        [
            replace(
                told,
                label=str(1 - int(row.prediction)) if row.features["region"] == "south" else row.prediction,
            )
            for row, told in zip(rows, truths(rows), strict=True)
        ],
    )
    work(model)
    return model


@pytest.fixture
def model(approvals: Model, db: None) -> Model:
    return approvals


def test_names_the_values_with_which_it_was_wrong(model: Model) -> None:
    found = value_losses(model=model, feature="region", window=WINDOW, loss="wrong_share")

    wrong = {one.condition.value: one.mean for one in found.values}
    assert wrong == {"north": 0.0, "south": 1.0}
    assert sum(one.n for one in found.values) == found.n == 400


def test_says_why_where_there_is_nothing_to_tell(model: Model) -> None:
    later = Period(DAY + timedelta(days=9), DAY + timedelta(days=10))

    assert (
        value_losses(model=model, feature="region", window=later).reason
        == "No row of this time holds region."
    )
    assert (
        "No row of this time holds nothing."
        in value_losses(model=model, feature="nothing", window=WINDOW).reason
    )


def test_refuses_a_loss_that_the_task_has_not_and_a_model_that_keeps_no_rows(model: Model) -> None:
    with pytest.raises(Problem, match="has no 'mae'; use one of log_loss, wrong_share, brier"):
        value_losses(model=model, feature="region", window=WINDOW, loss="mae")

    update_model(model=model, actor="test", rows_kept=RowsKept.NONE)
    with pytest.raises(Problem, match="keeps none once they are summarised"):
        value_losses(model=model, feature="region", window=WINDOW)


def test_a_ranked_row_is_not_judged_alone(model: Model) -> None:
    ranked = create_model(project=model.project, name="search", task="ranking", actor="test")

    with pytest.raises(Problem, match="depends on its query"):
        value_losses(model=ranked, feature="region", window=WINDOW)


@pytest.fixture
def client(owner: User, db: None) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client


def test_the_api_gives_each_value_with_its_interval(model: Model, client: Client) -> None:
    query = {"feature": "region", "loss": "brier", "from": rfc3339(WINDOW.start), "to": rfc3339(WINDOW.end)}

    told = client.get(f"/api/v1/models/{model.name}/losses", query).json()

    assert {item["name"] for item in told["items"]} == {"region = north", "region = south"}
    assert all(item["lower"] <= item["mean"] <= item["upper"] for item in told["items"])


def test_the_features_page_tells_it_for_the_chosen_day(model: Model, client: Client) -> None:
    address = f"/models/{model.name}/features/region?day={DAY:%Y-%m-%d}"

    whole, part = (markup(client.get(address + more)) for more in ("&show=losses", "&part=losses"))

    said = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", part)))
    assert "region = south" in said
    assert "Log loss of 400 labelled rows" in said
    assert "<html" not in part
    assert "region = south" in whole

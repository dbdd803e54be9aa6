"""Predictions unlike the reference: from logged vectors to the API and the feature's page."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import pytest
from django.test import Client, override_settings
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.base.periods import Period, rfc3339
from inference.registry.models import Model, RowsKept
from inference.registry.services import update_model
from monitors.definitions.choosing import ReferenceChoice, choose_reference
from monitors.metrics.rows.changed_examples import MAX_EXAMPLES, MAX_NEAREST, changed_examples
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, log, make_model, work
from tests.worlds.vectors import give_reference, rows_with_vectors

pytestmark = pytest.mark.slow

QUIET, MOVED = Period(DAY, DAY + timedelta(days=1)), Period(DAY + timedelta(days=1), DAY + timedelta(days=2))
PAGE = "/models/approvals/features/photo?from=2026-01-05&to=2026-01-06"


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def approvals(owner: User, first_home: Path) -> Model:
    """A quiet day, and one on which every fifth vector lies elsewhere."""
    with override_settings(HOME=first_home):
        model = make_model(create_project(slug="bank", name="Bank", owner=owner))
        give_reference(model)
        log(model, rows_with_vectors(QUIET.start, 300))
        usual, away = (rows_with_vectors(MOVED.start, 300, shift=shift) for shift in (0.0, 5.0))
        moved = [replace(row, id=f"away-{place}") for place, row in enumerate(away)]
        log(model, [moved[place] if place % 5 == 0 else row for place, row in enumerate(usual)])
        work(model)
    return model


@pytest.fixture
def model(approvals: Model, first_home: Path, home: Path, db: None) -> Model:
    copytree(first_home, home, dirs_exist_ok=True)
    return Model.objects.get(pk=approvals.pk)


@pytest.fixture
def client(owner: User, db: None) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client


def test_are_those_that_moved_with_the_rows_of_the_file_that_are_nearest(model: Model) -> None:
    found = changed_examples(model=model, feature="photo", window=MOVED)

    assert (found.rows, found.reference_rows, found.note) == (300, 2_000, "")
    assert len(found.items) == MAX_EXAMPLES
    for one in found.items:
        assert one.prediction_id.startswith("away-")
        assert one.time in MOVED
        assert one.from_reference > 1.5 * one.from_window
        assert [row.prediction_id for row in one.nearest] == [None] * MAX_NEAREST
        assert all(row.row is not None and 1 <= row.row <= 2_000 for row in one.nearest)


def test_of_a_window_like_the_reference_are_none(model: Model) -> None:
    found = changed_examples(model=model, feature="photo", window=QUIET)

    assert (found.items, found.rows, found.note) == ([], 300, "None stands out.")


def test_are_the_same_when_they_are_asked_for_again(model: Model) -> None:
    first, second = (changed_examples(model=model, feature="photo", window=MOVED) for _ in range(2))

    assert first == second


def test_lead_to_predictions_of_a_reference_that_is_a_part_of_the_log(model: Model) -> None:
    before = Period(QUIET.start - timedelta(days=14), QUIET.start)
    for days in range(14):
        log(model, rows_with_vectors(before.start + timedelta(days=days), 30))
    work(model)
    choice = ReferenceChoice("period", start=before.start, end=before.end)
    choose_reference(model=model, version=model.versions.get(), choice=choice, actor="test")

    found = changed_examples(model=model, feature="photo", window=MOVED)

    assert all(one.prediction_id.startswith("away-") for one in found.items)
    assert {row.row for one in found.items for row in one.nearest} == {None}
    assert all(row.time in before for one in found.items for row in one.nearest if row.time)
    assert all(row.prediction_id for one in found.items for row in one.nearest)
    assert 300 < found.reference_rows <= 14 * 30


@pytest.mark.parametrize(
    ("feature", "window", "note"),
    [
        ("income", MOVED, "income is no vector of the reference."),
        ("nothing", MOVED, "nothing is no vector of the reference."),
        ("photo", Period(DAY - timedelta(days=9), DAY - timedelta(days=8)), "Rows of this time are not kept"),
    ],
)
def test_of_what_has_none_say_why(model: Model, feature: str, window: Period, note: str) -> None:
    found = changed_examples(model=model, feature=feature, window=window)

    assert found.items == []
    assert found.note.startswith(note)


def test_are_not_kept_where_the_values_or_the_rows_were_dropped(model: Model) -> None:
    update_model(model=model, actor="test", privacy={"photo": "summary"})
    work(model)

    dropped = changed_examples(model=model, feature="photo", window=MOVED)
    Model.objects.filter(pk=model.pk).update(rows_kept=RowsKept.NONE)

    assert dropped.note == "Rows of this time are not kept with this vector, or had none."
    with pytest.raises(Problem, match="keeps none once they are summarised"):
        changed_examples(model=model, feature="photo", window=MOVED)


def test_are_on_the_api_which_notes_who_looked(client: Client, model: Model) -> None:
    period = f"from={rfc3339(MOVED.start)}&to={rfc3339(MOVED.end)}"

    answer = client.get(f"/api/v1/models/approvals/changed-examples?feature=photo&{period}").json()

    assert (answer["rows"], answer["reference_rows"], answer["note"]) == (300, 2_000, "")
    assert len(answer["items"]) == MAX_EXAMPLES
    assert answer["items"][0].keys() == {
        "id", "timestamp", "prediction", "label", "from_reference", "from_window", "nearest", "thumbnail",
    }  # fmt: skip
    noted = AuditEntry.objects.filter(action="predictions.view").latest("pk")
    assert noted.after == {
        "rows": MAX_EXAMPLES,
        "filters": {"from": rfc3339(MOVED.start), "to": rfc3339(MOVED.end)},
    }


class TestPage:
    def test_reads_rows_once_it_is_scrolled_to(self, client: Client, model: Model) -> None:
        page = markup(client.get(f"{PAGE}&day=2026-01-06"))
        part = markup(client.get(f"{PAGE}&day=2026-01-06&part=examples"))

        assert "Predictions unlike the reference" in page
        assert "Read the rows of this window" in page
        assert not AuditEntry.objects.filter(action="predictions.view", after__rows=0).exists()
        assert len(re.findall(r'predictions/away-\d+"', part)) == MAX_EXAMPLES
        assert len(re.findall(r"row [\d,]+ <small>", part)) == MAX_EXAMPLES * MAX_NEAREST

    def test_has_the_rows_without_scripts(self, client: Client, model: Model) -> None:
        assert "predictions/away-" in markup(client.get(f"{PAGE}&day=2026-01-06&show=examples"))

    def test_offers_none_of_a_window_that_is_like_the_reference(self, client: Client, model: Model) -> None:
        assert "Predictions unlike the reference" not in markup(client.get(f"{PAGE}&day=2026-01-05"))

    def test_offers_none_of_a_number(self, client: Client, model: Model) -> None:
        page = PAGE.replace("photo", "income")

        assert "Predictions unlike the reference" not in markup(client.get(f"{page}&day=2026-01-06"))

    def test_says_that_rows_are_not_kept(self, client: Client, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(rows_kept=RowsKept.NONE)

        part = markup(client.get(f"{PAGE}&day=2026-01-06&part=examples"))

        assert "keeps none once they are summarised" in part

"""Declared segments: which rows they have, rows from before them, what changes and goes, and what is refused."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model, RowsKept
from inference.registry.services import update_model
from monitors.definitions.models import Segment
from monitors.definitions.segment_masks import MAX_VALUES
from monitors.definitions.segments import (
    MAX_SEGMENTS,
    change_segment,
    declare_segment,
    remove_segment,
    set_segments,
)
from monitors.metrics.store.models import MetricPoint
from monitors.rules.services import create_rule
from monitors.summaries.models import Summary
from tests.driftline.api.conftest import Api, caller
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

NORTH = {"feature": "region", "value": "north"}
RICH = {"feature": "income", "lower": 0.5}
LOSING = {"feature": "income", "lower": -1.0, "upper": 0.0}
OF_ACME = {"tag": "tenant", "value": "acme"}


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    """The owner of the project, stored once for the module with all that is made of it."""
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture(scope="module")
def measured_model(project: Project) -> Model:
    """A labelled day of 300 rows: every third is of the tenant acme, every tenth lacks its income."""
    model = make_model(project)
    rows = [
        replace(
            row,
            tags={"tenant": "acme"} if number % 3 == 0 else None,
            features=row.features | ({"income": None} if number % 10 == 0 else {}),
        )
        for number, row in enumerate(rows_of_a_day(DAY, 300))
    ]
    log(model, rows)
    label(model, truths(rows))
    work(model)
    return model


@pytest.fixture
def model(measured_model: Model, db: None) -> Model:
    return Model.objects.get(pk=measured_model.pk)


@pytest.fixture
def api(project: Project) -> Api:
    return caller("bank")


@pytest.fixture
def client(owner: User) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client


def declare(model: Model, *conditions: dict[str, Any], name: str = "") -> Segment:
    return declare_segment(model=model, name=name, conditions=conditions, actor="test")


def rows_in(model: Model, segment: str) -> int | None:
    return (
        Summary.objects.filter(model=model, span="day", segment=segment)
        .values_list("rows", flat=True)
        .first()
    )


def accuracy(model: Model, segment: str) -> list[int]:
    """The numbers of rows that the segment's accuracy was measured of."""
    points = MetricPoint.objects.filter(model=model, metric="accuracy", segment=segment, version="")
    return list(points.values_list("n", flat=True))


class TestRows:
    @pytest.mark.parametrize(
        ("conditions", "holds"),
        [
            ([NORTH], lambda n, row: row.features["region"] == "north"),
            ([RICH], lambda n, row: n % 10 and row.features["income"] >= 0.5),
            ([LOSING], lambda n, row: n % 10 and -1 <= row.features["income"] < 0),
            ([{"feature": "income", "is_missing": True}], lambda n, row: n % 10 == 0),
            ([OF_ACME], lambda n, row: n % 3 == 0),
            ([{"tag": "tenant", "is_missing": True}], lambda n, row: n % 3),
            ([NORTH, OF_ACME], lambda n, row: row.features["region"] == "north" and n % 3 == 0),
        ],
    )  # fmt: skip
    def test_are_those_of_which_all_conditions_hold(
        self, model: Model, conditions: list[dict[str, Any]], holds: Any
    ) -> None:
        segment = declare(model, *conditions)

        work(model)

        wanted = sum(bool(holds(n, row)) for n, row in enumerate(rows_of_a_day(DAY, 300)))
        assert rows_in(model, segment.name) == wanted
        assert accuracy(model, segment.name) == [wanted]

    def test_of_a_number_are_told_by_how_it_is_written(self, model: Model) -> None:
        [row] = rows_of_a_day(DAY, 1)
        log(model, [replace(row, id="tenth", features={"income": 0.1, "region": "north"})])

        segment = declare(model, {"feature": "income", "value": "0.10"}, name="a tenth")
        work(model)

        assert rows_in(model, segment.name) == 1

    def test_come_again_when_labels_and_rows_come_late(self, model: Model) -> None:
        segment = declare(model, NORTH)
        work(model)
        before = rows_in(model, segment.name)

        [late] = rows_of_a_day(DAY, 1)
        log(model, [replace(late, id="late", features={"income": 1.0, "region": "north"})])
        work(model)

        assert before is not None
        assert rows_in(model, segment.name) == before + 1

    def test_of_an_hour_whose_rows_were_let_go_before_are_not_told_of_a_part(self, model: Model) -> None:
        update_model(model=model, actor="test", rows_kept=RowsKept.NONE)
        work(model)
        segment = declare(model, NORTH)

        [late] = rows_of_a_day(DAY, 1)
        log(model, [replace(late, id="late", features={"income": 1.0, "region": "north"})])
        work(model)

        assert Summary.objects.get(model=model, span="day", segment="").rows == 301
        assert rows_in(model, segment.name) is None


class TestChange:
    def test_measures_the_segment_of_the_other_rows_instead(self, model: Model) -> None:
        segment = declare(model, NORTH, name="watched")
        work(model)
        of_north = accuracy(model, "watched")

        change_segment(segment=segment, conditions=[{"feature": "region", "value": "south"}], actor="test")
        assert accuracy(model, "watched") == []
        work(model)

        assert accuracy(model, "watched") == [300 - of_north[0]]

    def test_leaves_an_audit_row_as_the_first_and_the_last_do(self, model: Model) -> None:
        segment = declare(model, NORTH, name="watched")
        change_segment(segment=segment, conditions=[RICH], actor="ada")
        remove_segment(segment=segment, actor="bob")

        rows = AuditEntry.objects.filter(subject="approvals/watched").order_by("pk")
        told = [(row.action, row.actor, row.before and row.before[0]["feature"]) for row in rows]
        assert told == [
            ("segment.create", "test", None),
            ("segment.update", "ada", "region"),
            ("segment.delete", "bob", "income"),
        ]


class TestRemoval:
    def test_takes_its_summaries_and_points_and_no_others(self, model: Model) -> None:
        segment, other = declare(model, NORTH), declare(model, RICH)
        work(model)

        remove_segment(segment=segment, actor="test")
        work(model)

        assert rows_in(model, segment.name) is None
        assert accuracy(model, segment.name) == []
        assert len(accuracy(model, other.name)) == 1

    def test_is_refused_while_a_rule_watches(self, project: Project, model: Model) -> None:
        segment = declare(model, NORTH)
        create_rule(
            project=project, model=model, actor="test", name="north", metric="accuracy", operator="below",
            threshold=0.5, segment=segment.name, cooldown=timedelta(0), notify_within=timedelta(days=1),
        )  # fmt: skip

        with pytest.raises(Problem, match="The rule 'north' watches region = north") as refused:
            remove_segment(segment=segment, actor="test")

        assert refused.value.code == "segment_watched"
        assert model.segments.exists()


class TestEachValue:
    def test_of_a_feature_is_measured_of_rows_from_before_too_and_audited(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="ada")
        work(model)

        assert sum(accuracy(model, "region:north") + accuracy(model, "region:south")) == 300
        entry = AuditEntry.objects.get(action="model.segment_features")
        assert (entry.actor, entry.before, entry.after) == ("ada", [], ["region"])

    def test_goes_with_its_feature(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="test")
        work(model)

        set_segments(model=model, features=[], actor="test")

        assert not Summary.objects.filter(model=model).exclude(segment="").exists()
        assert not MetricPoint.objects.filter(model=model).exclude(segment="").exists()

    def test_keeps_its_place_whatever_comes_late(self, model: Model) -> None:
        set_segments(model=model, features=["region"], actor="test")
        work(model)
        before = accuracy(model, "region:north")

        log(model, list(shops_of_every_hour()))
        work(model)

        assert accuracy(model, "region:north") == before
        hours = Summary.objects.filter(model=model, span="hour", segment__startswith="region:")
        assert max(Counter(hours.values_list("start", flat=True)).values()) == MAX_VALUES


def shops_of_every_hour() -> list[SentPrediction]:
    """As many values as have a place, each with more rows an hour than north and south have."""
    [row] = rows_of_a_day(DAY, 1)
    return [
        replace(
            row,
            id=f"{hour}-{shop}-{visit}",
            timestamp=f"{DAY + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}",
            features={"income": 0.0, "region": f"shop {shop}"},
        )
        for hour in range(24)
        for shop in range(MAX_VALUES)
        for visit in range(13)
    ]


class TestRefusal:
    @pytest.mark.parametrize(
        ("conditions", "pointer"),
        [
            ([], "/conditions"),
            ([NORTH] * 6, "/conditions"),
            ([RICH, {"feature": "income", "upper": 1.0}], "/conditions"),
            ([{"value": "north"}], "/conditions/0"),
            ([{"feature": "region", "tag": "tenant", "value": "north"}], "/conditions/0"),
            ([NORTH, {"feature": "income"}], "/conditions/1"),
            ([{"feature": "income", "value": "1", "lower": 0.0}], "/conditions/0"),
            ([{"feature": "income", "lower": 1.0, "upper": 1.0}], "/conditions/0/upper"),
            ([{"feature": "income", "value": "much"}], "/conditions/0/value"),
            ([{"feature": "region", "lower": 1.0}], "/conditions/0"),
            ([{"tag": "tenant", "upper": 1.0}], "/conditions/0"),
            ([{"feature": "nothing", "value": "1"}], "/conditions/0/feature"),
        ],
    )
    def test_points_at_the_condition(
        self, model: Model, conditions: list[dict[str, Any]], pointer: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            declare(model, *conditions)

        assert refused.value.errors[0].pointer == pointer
        assert not model.segments.exists()

    @pytest.mark.parametrize("name", ["region:north", "two\nlines", "x" * 201])
    def test_is_of_a_name_that_is_none(self, model: Model, name: str) -> None:
        with pytest.raises(Problem) as refused:
            declare(model, NORTH, name=name)

        assert refused.value.errors[0].pointer == "/name"

    def test_is_of_a_name_that_is_taken_and_of_one_too_many(self, model: Model) -> None:
        declare(model, NORTH)
        with pytest.raises(Problem) as taken:
            declare(model, NORTH)
        for number in range(1, MAX_SEGMENTS):
            declare(model, NORTH, name=f"north {number}")
        with pytest.raises(Problem) as too_many:
            declare(model, NORTH, name="one more")

        assert (taken.value.code, too_many.value.code) == ("segment_exists", "too_many_segments")

    @pytest.mark.parametrize("policy", ["hash", "drop", "summary"])
    def test_is_of_a_feature_that_no_row_shows_and_of_hiding_one_that_a_segment_needs(
        self, model: Model, policy: str
    ) -> None:
        segment = declare(model, NORTH)
        with pytest.raises(Problem, match="The segment 'region = north' needs the values of 'region'"):
            update_model(model=model, actor="test", privacy={"region": policy})
        remove_segment(segment=segment, actor="test")

        update_model(model=model, actor="test", privacy={"region": policy})
        with pytest.raises(Problem, match="so no row can be chosen by its value"):
            declare(model, NORTH)


class TestApi:
    def test_declares_lists_changes_and_removes(self, api: Api, model: Model) -> None:
        made = api.send("POST", "/models/approvals/segments", {"name": "acme", "conditions": [OF_ACME, RICH]})
        path = f"/models/approvals/segments/{made.json()['id']}"

        assert made.status_code == 201
        assert made.json()["conditions"] == [OF_ACME, RICH]
        listed = api.get("/models/approvals/segments").json()["items"]
        assert [one["name"] for one in listed] == ["acme"]
        changed = api.send("PATCH", path, {"conditions": [{"feature": "income", "upper": 0.0}]}).json()
        assert changed["conditions"] == [{"feature": "income", "upper": 0.0}]
        assert api.send("DELETE", path).status_code == 204
        assert api.send("DELETE", path).status_code == 404


class TestPage:
    ADDRESS = "/models/approvals/segments"

    def test_adds_a_segment_and_removes_it_once_that_is_confirmed(self, client: Client, model: Model) -> None:
        sent = {"0-column": "region", "0-value": "north", "1-column": "tag:tenant", "1-is_missing": "on"}
        client.post(self.ADDRESS, sent)
        work(model)
        said = markup(client.get(self.ADDRESS))
        assert "region = north and tag tenant is missing" in said

        removal = f"{self.ADDRESS}/{model.segments.get().pk}/remove"
        assert "Its summaries and points are deleted" in markup(client.get(removal))
        client.post(self.ADDRESS, {"remove": model.segments.get().pk})

        assert not model.segments.exists()

    def test_says_at_the_field_what_is_wrong(self, client: Client, model: Model) -> None:
        answer = client.post(self.ADDRESS, {"2-column": "nothing", "2-value": "1"})

        assert answer.status_code == 422
        assert "no feature of approvals" in answer.context["rows"][2].errors["column"][0]

    def test_adds_and_removes_each_value_of_a_feature(self, client: Client, model: Model) -> None:
        client.post(self.ADDRESS, {"values": "region"})
        assert "Stop watching the values of region?" in markup(client.get(f"{self.ADDRESS}/of/region"))

        client.post(self.ADDRESS, {"remove_values": "region"})

        assert not model.segment_features.exists()

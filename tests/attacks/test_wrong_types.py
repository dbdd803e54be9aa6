"""Attacks with values of the wrong type: one typo used to end a model's monitoring in silence.

Everything begins at the logging API, of an external version whose features nobody has declared.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from driftline.base.periods import Period, rfc3339
from driftline.operations.invariants import check_all
from driftline.operations.services.diagnosis import diagnose
from driftline.web.pages import verdict
from driftline.web.pages.models.model_health import health_of_models
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.registry.models import Model
from monitors.metrics.rows.value_losses import value_losses
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.models import StaleWindow
from tests.driftline.api.conftest import Api, caller
from tests.embedded import make_home
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import make_model, work

pytestmark = pytest.mark.slow

DAY = datetime(2026, 1, 5, tzinfo=UTC)
NUMBERS = [float(value) for value in range(1, 101)]
TEXTS = ["north", "south"] * 50
_numbers = count()


@pytest.fixture
def api(db: None, tmp_path: Any, settings: Any) -> Api:
    settings.HOME = tmp_path
    return caller("ours")


@pytest.fixture
def model(api: Api) -> Model:
    return make_model(api.project)


@pytest.fixture(scope="class")
def shared_rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with rows_of_many_tests(django_db_blocker):
        yield


def send(api: Api, values: list[Any], *, day: datetime = DAY, labelled: bool = False) -> list[str]:
    """Log a row of each value of `income` in one request, and labels of them; returns their ids."""
    ids = [f"row-{next(_numbers)}" for _ in values]
    rows = [
        {
            "id": id_,
            "timestamp": rfc3339(day + timedelta(minutes=1 + place)),
            "version": "1",
            "features": {"income": value, "age": 30.0 + place},
            "prediction": "1",
            "probabilities": 0.75,
        }
        for place, (id_, value) in enumerate(zip(ids, values, strict=True))
    ]
    answer = api.post("/models/approvals/predictions", {"predictions": rows})
    assert answer.json()["accepted"] == len(values), answer.content
    if labelled:
        labels = [{"id": id_, "label": "1", "timestamp": rfc3339(day + timedelta(hours=3))} for id_ in ids]
        assert api.post("/models/approvals/labels", {"labels": labels}).status_code == 200
    return ids


def point(metric: str, feature: str = "", day: datetime = DAY) -> MetricPoint:
    return MetricPoint.objects.get(
        metric=metric, feature=feature, span="day", start=day, version="", segment="", role="champion"
    )


class TestOneTypo:
    @pytest.mark.parametrize(
        ("typo", "requests"), [("", "one"), ("notanumber", "one"), ("12", "one"), ("notanumber", "two")]
    )
    def test_is_counted_and_everything_else_is_measured(
        self, api: Api, model: Model, typo: str, requests: str
    ) -> None:
        """A text in a numeric feature ended the summaries of its day for ever, and the status stayed `ok`."""
        sent = [NUMBERS, [typo]] if requests == "two" else [[*NUMBERS, typo]]
        for values in sent:
            send(api, values, labelled=True)
            work(model)

        assert not TouchedPeriod.objects.exists()
        assert point("count").value == 101
        assert point("label_coverage").value == 1.0
        wrong = point("wrong_type_share", "income")
        assert (wrong.value, wrong.status, wrong.n) == (pytest.approx(1 / 101), "warning", 101)
        assert point("missing_share", "income").value == 0.0
        assert (point("wrong_type_share", "age").value, point("wrong_type_share", "age").status) == (
            0.0,
            "ok",
        )

    def test_leaves_the_numbers_of_its_own_request_numbers(self, api: Api, model: Model) -> None:
        """Beside one text all numbers of a request were written as texts, and were numbers no more."""
        send(api, [*NUMBERS, "notanumber"])
        work(model)

        drift = api.get(f"/models/approvals/drift?from={rfc3339(DAY)}&to={rfc3339(DAY + timedelta(days=1))}")

        assert drift.json()["wrong_type"] == [
            {"feature": "income", "rows": 1, "share": pytest.approx(1 / 101)}
        ]
        items = api.get("/models/approvals/predictions").json()["items"]
        assert {row["features"]["income"] for row in items} <= {*NUMBERS, "notanumber"}

    def test_is_said_on_the_models_page_and_in_the_overview(self, api: Api, model: Model) -> None:
        send(api, [*NUMBERS, "notanumber"])
        work(model)

        said = verdict.of_model(model)

        assert said.status == "notice"
        assert "wrong type came on 5 Jan 2026 in income (0.99% of 101 rows)" in said.text
        assert [one.status for one in health_of_models(api.project)] == ["notice"]

    def test_is_forgotten_on_the_next_day_that_is_clean(self, api: Api, model: Model) -> None:
        send(api, [*NUMBERS, "notanumber"])
        send(api, NUMBERS, day=DAY + timedelta(days=1))
        work(model)

        assert verdict.of_model(model).status == "not_monitored"  # and no notice
        assert [one.status for one in health_of_models(api.project)] == ["not_monitored"]


class TestAFeatureThatChangesItsType:
    @pytest.mark.parametrize(
        ("first", "then", "is_mixed"),
        [
            ([True, False] * 50, ["yes"] * 20, False),
            (TEXTS, [1.0] * 20, False),
            (TEXTS, [True] * 20, True),
            (NUMBERS, ["high"] * 20, False),
            (NUMBERS, ["", "notanumber"] * 10, True),
        ],
    )
    def test_is_faulty_and_measured_on(
        self, api: Api, model: Model, first: list[Any], then: list[Any], is_mixed: bool
    ) -> None:
        """Boolean then text ended monitoring as well; text then number lost the numbers without a word."""
        for values in [[*then, *first]] if is_mixed else [first, then]:
            send(api, values, labelled=True)
            work(model)

        wrong = point("wrong_type_share", "income")
        assert (wrong.value, wrong.status) == (pytest.approx(1 / 6), "warning")
        assert point("faulty_features").detail["counted"] == ["income"]
        assert (point("count").value, point("label_coverage").value) == (120, 1.0)

    def test_is_typed_by_no_value_that_is_missing_or_empty(self, api: Api, model: Model) -> None:
        """A feature that was null or empty at first became a number or a text by that."""
        for values in ([None] * 3, [""] * 3, TEXTS):
            send(api, values)
            work(model)

        assert point("wrong_type_share", "income").value == 0.0
        assert point("missing_share", "income").value == pytest.approx(3 / 106)

    @pytest.mark.parametrize("value", [["a"], {"a": 1}])
    def test_takes_no_lists_and_no_objects(self, api: Api, model: Model, value: Any) -> None:
        row = {
            "id": "odd",
            "timestamp": rfc3339(DAY),
            "version": "1",
            "features": {"income": value},
            "prediction": "1",
        }

        answer = api.post("/models/approvals/predictions", {"predictions": [row]}).json()

        assert (answer["accepted"], answer["rejected"]) == (0, 1)


@pytest.fixture(scope="class")
def odd_rows(shared_rows: None) -> Api:
    api = caller("ours")
    model = make_model(api.project)
    send(api, [*NUMBERS, "notanumber", ""], labelled=True)
    send(api, NUMBERS)
    work(model)
    return api


class TestReadersOfSuchRows:
    @pytest.fixture
    def api(self, odd_rows: Api, db: None) -> Api:
        return odd_rows

    @pytest.fixture
    def model(self, api: Api) -> Model:
        return Model.objects.get()

    def test_filters_find_numbers_and_texts(self, api: Api) -> None:
        found = {
            value: len(api.get(f"/models/approvals/predictions?segment=income:{value}").json()["items"])
            for value in ("7", "7.0", "notanumber", "8.5")
        }

        assert found == {"7": 2, "7.0": 2, "notanumber": 1, "8.5": 0}

    def test_exports_hold_every_row(self, api: Api) -> None:
        answer = api.get("/models/approvals/export")

        assert answer.status_code == 200
        assert b"".join(answer.streaming_content).startswith(b"PAR1")

    def test_rows_are_compared_by_numbers(self, model: Model) -> None:
        losses = value_losses(
            model=model, feature="income", window=Period(DAY, DAY + timedelta(days=1)), loss=""
        )

        assert losses.n == 102
        assert losses.values

    def test_segments_by_a_range_hold_the_numbers(self, api: Api, model: Model) -> None:
        conditions = [{"feature": "income", "lower": 50}]
        made = api.post("/models/approvals/segments", {"name": "rich", "conditions": conditions})
        assert made.status_code == 201, made.content
        work(model)

        rich = MetricPoint.objects.filter(metric="label_coverage", segment="rich", span="day", version="")

        assert [one.n for one in rich] == [102]


@pytest.fixture(scope="class")
def damaged(shared_rows: None) -> tuple[Api, bytes]:
    """Two days that were worked on when the first could not be read, and what it was before."""
    api = caller("ours")
    model = make_model(api.project)
    send(api, NUMBERS, day=DAY)
    send(api, NUMBERS, day=DAY + timedelta(days=1))
    first = PredictionChunk.objects.filter(day=DAY.date())
    whole = bytes(first.values_list("payload", flat=True).get())
    first.update(payload=b"no stream of Arrow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftline.base.work.attempts.RETRY_AFTER", timedelta(0))
        work(model)
    return api, whole


class TestAWindowThatCannotBeRead:
    """A chunk of the log is damaged: what cannot be computed is an error, and stops nothing else."""

    @pytest.fixture
    def api(
        self,
        damaged: tuple[Api, bytes],
        db: None,
        tmp_path: Any,
        settings: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Api:
        monkeypatch.setattr("driftline.base.work.attempts.RETRY_AFTER", timedelta(0))
        settings.HOME = tmp_path
        api, self.whole = damaged
        return api

    @pytest.fixture
    def model(self, api: Api) -> Model:
        return Model.objects.get()

    def mend(self) -> None:
        PredictionChunk.objects.filter(day=DAY.date()).update(payload=self.whole)

    def test_is_tried_three_times_and_has_failed_then(self, model: Model) -> None:
        [period] = set(TouchedPeriod.objects.values_list("attempts", "hour__date"))
        assert period == (3, DAY.date())
        assert not TouchedPeriod.objects.due().exists()
        assert "is damaged" in TouchedPeriod.objects.first().error

    def test_is_an_error_while_the_other_day_is_measured(self, api: Api, model: Model) -> None:
        assert (point("count").status, point("count").value) == ("error", None)
        assert "is damaged" in point("count").detail["why"]
        assert point("count", day=DAY + timedelta(days=1)).value == 100

    def test_is_said_by_api_page_overview_doctor_and_invariants(
        self, api: Api, model: Model, tmp_path: Any
    ) -> None:
        told = api.get("/models/approvals").json()
        assert told["status"] == "error"
        assert told["computed_until"] == told["newest_event"]
        assert [(one["failed"], "is damaged" in one["reason"]) for one in told["stuck"]] == [(True, True)] * 2
        said = verdict.of_model(model)
        assert (said.status, "not fully watched" in said.text, "is damaged" in said.text) == (
            "error",
            True,
            True,
        )
        assert [one.status for one in health_of_models(api.project)] == ["error"]
        found = next(one for one in diagnose(make_home(tmp_path)) if one.subject == "failed work")
        assert ("ours/approvals" in found.text, "is damaged" in found.text, found.is_fine) == (
            True,
            True,
            False,
        )
        broken = [one for one in check_all() if not one.holds]
        assert [one.counts for one in broken if "failed" in one.statement] == ["2 exceptions"]

    def test_is_shown_with_its_reason_and_a_button_on_the_page(self, api: Api, model: Model) -> None:
        client = PagesClient()
        client.force_login(api.project.members.get())

        page = markup(client.get("/models/approvals/"))

        assert "What could not be computed" in page
        assert "is damaged" in page
        self.mend()
        client.post("/models/approvals/", {"retry": "1"})
        work(model)
        assert "What could not be computed" not in markup(client.get("/models/approvals/"))

    def test_starts_anew_with_the_next_write(self, api: Api, model: Model) -> None:
        self.mend()

        send(api, NUMBERS)
        work(model)

        hours = MetricPoint.objects.filter(span="hour", metric="count", version="", start=DAY)
        assert [one.status for one in hours] == ["ok"]

    def test_is_tried_again_when_somebody_says_so(self, api: Api, model: Model) -> None:
        self.mend()

        assert api.post("/models/approvals/retry").json() == {"retried": 2}
        work(model)

        assert (point("count").status, point("count").value) == ("ok", 100)
        assert not TouchedPeriod.objects.exists()
        assert not StaleWindow.objects.exists()
        assert api.get("/models/approvals").json()["status"] == "not_monitored"  # nobody made a rule

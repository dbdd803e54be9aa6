"""Paging through the log finds exactly what matches, newest first, and reads no more than a page needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.periods import rfc3339
from inference.prediction_log.ingest import arrival
from inference.prediction_log.items import LabelItem
from inference.prediction_log.models import Label, PredictionChunk
from inference.prediction_log.queries import exploring
from inference.prediction_log.queries.exploring import explore
from inference.prediction_log.queries.filters import filter_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

DAYS = 3
ROWS = 80


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


@pytest.fixture
def rows(model: Model) -> list[SentPrediction]:
    """Rows of three days in small chunks that overlap, packed but for the last; labels of every other row."""
    sent = [row for day in range(DAYS) for row in rows_of_a_day(DAY + timedelta(days=day), ROWS)]
    mixed = [sent[place] for place in np.random.default_rng(3).permutation(len(sent))]
    for begin in range(0, len(mixed), 40):
        if begin == 200:
            grow_old()
            pack_all()
        log(model, mixed[begin : begin + 40])
    label(model, truths(sent)[::2])
    return sorted(sent, key=lambda row: row.timestamp, reverse=True)


def walk(model: Model, *, limit: int = 7, **given: str) -> list[dict[str, Any]]:
    wanted = filter_of(model, {name.rstrip("_"): value for name, value in given.items()}, now=DAY)
    found, cursor = [], ""
    for _ in range(1_000):
        page = explore(wanted=wanted, cursor=cursor, limit=limit)
        found += page.items
        if page.next is None:
            return found
        cursor = page.next
    raise AssertionError("the pages have no end")


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in found]


@pytest.mark.parametrize("limit", [1, 7, 240, 1_000])
def test_every_row_is_on_exactly_one_page_the_newest_first(
    limit: int, model: Model, rows: list[SentPrediction]
) -> None:
    assert ids(walk(model, limit=limit)) == [row.id for row in rows]


@pytest.mark.parametrize("most", [1, 50, 130])
def test_little_work_a_page_changes_nothing_of_what_is_found(
    most: int, model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "MAX_ROWS", most)
    monkeypatch.setattr(exploring, "_GROUP_ROWS", 1)

    found = walk(model, segment="region:north")

    assert ids(found) == [row.id for row in rows if row.features["region"] == "north"]


def test_a_row_holds_what_was_sent_and_its_label(model: Model, rows: list[SentPrediction]) -> None:
    [newest] = explore(wanted=filter_of(model, {}, now=DAY), limit=1).items
    sent = rows[0]

    assert newest == {
        "id": sent.id,
        "client_id": None,
        "timestamp": datetime.fromisoformat(sent.timestamp),
        "version": "1",
        "role": "champion",
        "latency_ms": 2.0,
        "features": sent.features,
        "prediction": sent.prediction,
        "probability": pytest.approx(sent.probabilities),
        "label": None,
        "label_timestamp": None,
    }


class TestFilters:
    def test_the_time_is_half_open(self, model: Model, rows: list[SentPrediction]) -> None:
        first, last = rows[100], rows[50]

        found = walk(model, from_=first.timestamp, to=last.timestamp)

        assert ids(found) == [row.id for row in rows[51:101]]

    @pytest.mark.parametrize(("low", "high"), [("0.3", "0.6"), ("0.9", ""), ("", "0.2")])
    def test_the_score_lies_in_the_range(
        self, low: str, high: str, model: Model, rows: list[SentPrediction]
    ) -> None:
        found = walk(model, score_min=low, score_max=high)

        wanted = [row.id for row in rows if float(low or 0) <= row.probabilities <= float(high or 1)]  # type: ignore[operator]
        assert ids(found) == wanted
        assert 0 < len(wanted) < len(rows)

    def test_labelled_and_not_are_told_apart(self, model: Model, rows: list[SentPrediction]) -> None:
        labelled, open_ = walk(model, labelled="true"), walk(model, labelled="false")

        assert len(labelled) == len(open_) == len(rows) // 2
        assert all(row["label"] is not None for row in labelled)
        assert all(row["label"] is None for row in open_)

    def test_right_and_wrong_are_told_apart(self, model: Model, rows: list[SentPrediction]) -> None:
        right, wrong = walk(model, correct="true"), walk(model, correct="false")

        assert all(row["label"] == row["prediction"] for row in right)
        assert all(row["label"] not in (None, row["prediction"]) for row in wrong)
        assert len(right) + len(wrong) == len(rows) // 2

    def test_a_correction_counts(self, model: Model, rows: list[SentPrediction]) -> None:
        one = walk(model, correct="true")[0]
        label(model, [LabelItem(id=one["id"], label="1" if one["label"] == "0" else "0", timestamp=None)])

        assert one["id"] in ids(walk(model, correct="false"))

    def test_shadows_are_shown_only_when_asked_for(self, model: Model, rows: list[SentPrediction]) -> None:
        copy = SentPrediction(
            id=rows[0].id,
            timestamp=rows[0].timestamp,
            version="2",
            features={},
            prediction="0",
            role="shadow",
        )
        log(model, [copy])

        assert (len(walk(model)), ids(walk(model, role="shadow"))) == (len(rows), [copy.id])
        assert ids(walk(model, role="shadow", version="1")) == []

    def test_a_number_and_what_is_missing_are_segments_too(self, model: Model) -> None:
        for number, income in enumerate((1.5, None, 2)):
            row = SentPrediction(
                id=str(number),
                timestamp=rfc3339(DAY),
                version="1",
                features={"income": income},
                prediction="1",
            )
            log(model, [row])

        assert ids(walk(model, segment="income:1.50")) == ["0"]
        assert ids(walk(model, segment="income:")) == ["1"]
        assert ids(walk(model, segment="income:much")) == []
        assert ids(walk(model, segment="income:1e300", score_max="1e300")) == []
        assert ids(walk(model, segment="unheard:of")) == []

    def test_a_number_is_its_own_score(self) -> None:
        project = Project.objects.create(slug="q", name="Q")
        model = create_model(project=project, name="prices", task="regression", actor="test")
        answers = {"cheap": 10.0, "dear": 900.0}
        for id_, value in answers.items():
            row = SentPrediction(id=id_, timestamp=rfc3339(DAY), version="1", features={}, prediction=value)
            log(model, [row])

        assert ids(walk(model, score_min="100")) == ["dear"]

    @pytest.mark.parametrize(
        "given",
        [
            {"from": "yesterday"},
            {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
            {"role": "king"},
            {"segment": "region"},
            {"segment": ":north"},
            {"labelled": "yes"},
            {"correct": "1"},
            {"score_min": "nan"},
            {"score_max": "1e999"},
            {"version": "\x00"},
        ],
    )
    def test_what_means_nothing_is_refused(self, given: dict[str, str], model: Model) -> None:
        with pytest.raises(Problem) as refused:
            filter_of(model, given, now=DAY)

        assert (refused.value.status, refused.value.code) == (400, "invalid_parameter")


class TestBounds:
    def test_a_page_opens_only_the_newest_chunks(
        self, model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = spy_on_payloads(monkeypatch)
        monkeypatch.setattr(exploring, "_GROUP_ROWS", 1)

        explore(wanted=filter_of(model, {}, now=DAY), limit=5)

        newest_day = (DAY + timedelta(days=DAYS - 1)).date()
        days = dict(PredictionChunk.objects.values_list("pk", "day"))
        assert {days[pk] for pk in opened} == {newest_day}

    def test_a_page_without_a_match_says_how_far_back_it_looked(
        self, model: Model, rows: list[SentPrediction], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = spy_on_payloads(monkeypatch)
        monkeypatch.setattr(exploring, "MAX_ROWS", 1)
        wanted = filter_of(model, {"segment": "region:west"}, now=DAY)

        page = explore(wanted=wanted, limit=5)

        assert (page.items, page.looked_until is not None, page.next is not None) == ([], True, True)
        assert len(opened) < PredictionChunk.objects.count()
        older = explore(wanted=wanted, cursor=page.next or "", limit=5)
        assert older.looked_until is None or older.looked_until < (page.looked_until or DAY)

    def test_a_cursor_from_elsewhere_is_refused(self, model: Model) -> None:
        with pytest.raises(Problem) as refused:
            explore(wanted=filter_of(model, {}, now=DAY), cursor="abc")

        assert refused.value.code == "invalid_parameter"


def spy_on_payloads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List the chunks that are opened from now on."""
    opened: list[int] = []
    read = exploring._read

    def reading(day: Any, chunks: Any) -> Any:
        opened.extend(chunk.pk for chunk in chunks)
        return read(day, chunks)

    monkeypatch.setattr(exploring, "_read", reading)
    return opened


class TestFoldedLabels:
    @pytest.fixture
    def folded(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> list[SentPrediction]:
        """Log a day with copies of its first rows; every other label is folded, and one is corrected since."""
        monkeypatch.setattr(arrival, "_closed", set())
        monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")
        sent = rows_of_a_day(DAY, 40)
        log(model, sent)
        log(model, [replace(row, version="2", role="shadow") for row in sent[:10]])
        told = truths(sent)[::2]
        label(model, told)
        let_narrow_rows_go()
        assert not Label.objects.exists()
        label(model, [LabelItem(sent[1].id, "1", None), replace(told[0], label=flipped(told[0].label))])
        return sent

    def expected(self, sent: list[SentPrediction]) -> dict[str, str]:
        told = {item.id: item.label for item in truths(sent)[::2]}
        return told | {sent[1].id: "1", sent[0].id: flipped(told[sent[0].id])}

    @pytest.mark.parametrize(("given", "first"), [({}, 40), ({"role": "shadow"}, 10)])
    def test_are_shown_and_looked_for_as_those_in_rows(
        self, given: dict[str, str], first: int, model: Model, folded: list[SentPrediction]
    ) -> None:
        told = self.expected(folded)
        seen = folded[:first][::-1]

        shown = walk(model, **given)
        labelled = walk(model, labelled="true", **given)
        correct = walk(model, correct="true", **given)
        wrong = walk(model, correct="false", **given)

        assert [(one["id"], one["label"]) for one in shown] == [(row.id, told.get(row.id)) for row in seen]
        assert ids(labelled) == [row.id for row in seen if row.id in told]
        assert ids(correct) == [row.id for row in seen if told.get(row.id) == row.prediction]
        assert ids(wrong) == [row.id for row in seen if row.id in told and told[row.id] != row.prediction]
        assert {one["role"] for one in shown} == {given.get("role", "champion")}

    def test_are_looked_for_among_some_of_the_rows(self, model: Model, folded: list[SentPrediction]) -> None:
        told = self.expected(folded)

        found = walk(model, segment="region:north", labelled="false")

        assert ids(found) == [
            row.id for row in folded[::-1] if row.features["region"] == "north" and row.id not in told
        ]


def flipped(label: Any) -> str:
    return "0" if label == "1" else "1"


def test_rows_of_one_instant_are_paged_by_their_ids(model: Model) -> None:
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    names = [f"row-{number:03}" for number in range(25)]
    for name in names:
        row = SentPrediction(id=name, timestamp=rfc3339(moment), version="1", features={}, prediction="1")
        log(model, [row])

    assert ids(walk(model, limit=4)) == names[::-1]

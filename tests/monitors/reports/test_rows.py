"""Which rows of the log and of a reference a report reads."""

import numpy as np
import pytest

from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.reports.rows import ReportRows, conditions_of, read_log, read_reference
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day
from tests.worlds.reports import DAYS


@pytest.fixture
def model(project) -> Model:
    return make_model(project)


def read(model: Model, *, most: int = 1_000, segment: str = "", version_id: int | None = None) -> ReportRows:
    return read_log(
        model, DAYS, version_id=version_id, segment=conditions_of(segment, model),
        most=most, rng=np.random.default_rng(0), on_progress=lambda share: None,
    )  # fmt: skip


class TestLog:
    def test_draws_the_same_sample_again_and_counts_every_row(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 300)
        log(model, rows[:200])
        log(model, rows[200:])

        first, again = read(model, most=100), read(model, most=100)

        assert (first.total, len(first)) == (300, 100)
        assert first.features["income"].tolist() == again.features["income"].tolist()
        incomes = [row.features["income"] for row in rows]
        places = [incomes.index(income) for income in first.features["income"]]
        assert places == sorted(set(places))  # each row once, in the order of events
        assert 100 < np.mean(places) < 200  # from all of the day

    def test_reads_a_busy_day_by_the_hour(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        log(model, rows_of_a_day(DAY, 120))
        whole = read(model)
        monkeypatch.setattr("monitors.reports.rows.MAX_READ_ROWS", 50)

        assert read(model).features["income"].tolist() == whole.features["income"].tolist()

    def test_keeps_to_a_segment(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 100)
        log(model, rows)

        north = read(model, segment="region:north")

        assert north.total == sum(row.features["region"] == "north" for row in rows)
        assert set(north.features["region"]) == {"north"}

    def test_keeps_to_a_declared_segment_by_its_name(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 100)
        log(model, rows)
        conditions = [{"feature": "region", "value": "north"}, {"feature": "income", "lower": 0.0}]
        model.segments.create(name="rich north", conditions=conditions, since=DAY)

        found = read(model, segment="rich north")

        assert found.total == sum(
            row.features["region"] == "north" and row.features["income"] >= 0 for row in rows
        )
        assert found.features["income"].min() >= 0

    def test_finds_a_segment_of_a_hashed_feature_by_its_plain_value(self, model: Model) -> None:
        Model.objects.filter(pk=model.pk).update(privacy={"region": "hash"})
        rows = rows_of_a_day(DAY, 100)
        log(model, rows)

        north = read(model, segment="region:north")

        assert north.total == sum(row.features["region"] == "north" for row in rows)
        assert "north" not in set(north.features["region"])

    def test_gives_nothing_of_a_version_that_answered_nothing(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 10))

        assert len(read(model, version_id=0)) == 0


def test_a_reference_is_read_as_the_log_would_keep_it(model: Model) -> None:
    Model.objects.filter(pk=model.pk).update(privacy={"income": "drop", "region": "hash"})
    reference: Reference = give_reference(model, days=1)

    side = read_reference(
        reference, segment=conditions_of("region:north", model), most=50, rng=np.random.default_rng(0)
    )

    assert set(side.features) == {"region"}
    assert len(set(side.features["region"])) == 1
    assert len(side) == 50 < side.total < 400
    assert len(side.label) == len(side.probability) == 50  # type: ignore[arg-type]

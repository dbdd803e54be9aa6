"""Summaries that were made elsewhere count as if their rows were logged, once, and only where rows could give them."""

import base64
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import zstandard
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.operations.invariants import check_all
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Model
from monitors.definitions.models import SegmentFeature
from monitors.metrics.store.models import MetricPoint
from monitors.stats.mergeable.outcomes import Moments, summarise_regression_outcomes
from monitors.stats.mergeable.sketches import CategoricalSummary, Distinct, NumericSummary, summarise_numbers
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.uploads.layout import fix_centres, layout_of
from monitors.summaries.uploads.models import SummaryBatch
from monitors.summaries.uploads.services import SentWindow, add_batch
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
NOW = DAY + timedelta(days=3)


@pytest.fixture(scope="module")
def project(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    home = tmp_path_factory.mktemp("home")
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=home):
        yield Project.objects.create(slug="bank", name="Bank")


@pytest.fixture(scope="module")
def logged(project: Project) -> Model:
    """A model that logs its rows, with their labels."""
    model = make_model(project, "logged")
    give_reference(model)
    rows = rows_of_a_day(DAY, 1_200)
    log(model, rows)
    label(model, truths(rows))
    work(model)
    return model


@pytest.fixture(scope="module")
def whose_rows_stay_elsewhere(logged: Model, project: Project) -> Model:
    model = make_model(project, "summed")
    give_reference(model)
    return model


@pytest.fixture
def summed(whose_rows_stay_elsewhere: Model, db: None) -> Model:
    """A model with rows that are summarised elsewhere, on the grid of the one that logs them."""
    return Model.objects.get(pk=whose_rows_stay_elsewhere.pk)


def windows_of(logged: Model) -> list[SentWindow]:
    """What a job would send of the rows that were logged."""
    stored = Summary.objects.filter(model=logged, span="hour").order_by("start", "segment")
    return [
        SentWindow("1", row.role, row.start, row.segment, bytes(row.payload))
        for row in stored.select_related("version")
    ]


def add(model: Model, windows: list[SentWindow], name: str = "spark-1") -> tuple[SummaryBatch, bool]:
    return add_batch(model=model, name=name, windows=windows, actor="job", now=NOW)


def stored(model: Model) -> dict[tuple[Any, ...], bytes]:
    rows = Summary.objects.filter(model=model).values_list("span", "role", "start", "segment", "payload")
    return {tuple(key): bytes(payload) for *key, payload in rows}


def points(model: Model) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    found = MetricPoint.objects.filter(model=model, measure__in=("drift", "quality", "performance"))
    return {
        (point.span, point.start, point.metric, point.feature, point.segment, point.role): (
            point.value,
            point.n,
        )
        for point in found
    }


class TestSummaries:
    def test_are_those_that_the_rows_would_have_given(self, logged: Model, summed: Model) -> None:
        batch, is_new = add(summed, windows_of(logged))

        assert (is_new, batch.rows) == (True, 1_200)
        assert stored(summed) == stored(logged)

    def test_have_the_window_measured_as_if_its_rows_were_logged(self, logged: Model, summed: Model) -> None:
        add(summed, windows_of(logged))

        work(summed)

        found, expected = points(summed), points(logged)
        assert {key for key in expected if key[2] == "psi"} <= set(found)
        assert {key for key in expected if key[2] == "roc_auc"} <= set(found)
        assert {key: found[key] for key in found.keys() & expected.keys()} == {
            key: expected[key] for key in found.keys() & expected.keys()
        }

    def test_add_up_over_batches_and_with_rows(self, logged: Model, summed: Model) -> None:
        windows = windows_of(logged)
        first = [one for one in windows if one.hour < DAY + timedelta(hours=12)]
        rest = [one for one in windows if one not in first]

        add(summed, first, "a")
        add(summed, rest, "b")
        log(summed, rows_of_a_day(DAY, 100, seed=7))
        work(summed)

        day = Summary.objects.get(model=summed, span="day", start=DAY, segment="", role="champion")
        assert day.rows == 1_300

    def test_move_the_clock_of_events(self, logged: Model, summed: Model) -> None:
        add(summed, windows_of(logged))

        assert event_now(model=summed, now=NOW) == DAY + timedelta(days=1, microseconds=-1)

    def test_keep_the_invariants(self, logged: Model, summed: Model, settings: Any, tmp_path: Any) -> None:
        add(summed, windows_of(logged))
        log(summed, rows_of_a_day(DAY + timedelta(days=1), 100))
        work(summed)

        broken = [one for one in check_all() if not one.holds and "spool" not in one.statement]

        assert broken == []

    def test_of_an_hour_that_goes_on_end_now(self, logged: Model, summed: Model) -> None:
        [window, *_] = windows_of(logged)

        add_batch(
            model=summed,
            name="now",
            windows=[window._replace(segment="")],
            actor="job",
            now=DAY + timedelta(minutes=20),
        )

        assert event_now(model=summed, now=DAY + timedelta(minutes=20)) == DAY + timedelta(minutes=20)


class TestBatches:
    def test_that_are_sent_again_add_nothing(self, logged: Model, summed: Model) -> None:
        add(summed, windows_of(logged))
        before = stored(summed)
        StaleWindow.objects.filter(model=summed).delete()

        batch, is_new = add(summed, windows_of(logged))

        assert (is_new, batch.rows) == (False, 1_200)
        assert stored(summed) == before
        assert not StaleWindow.objects.filter(model=summed).exists()

    def test_with_other_windows_under_a_known_name_are_refused(self, logged: Model, summed: Model) -> None:
        windows = windows_of(logged)
        add(summed, windows[:4])

        with pytest.raises(Problem) as refused:
            add(summed, windows)

        assert (refused.value.status, refused.value.code) == (409, "batch_differs")

    def test_of_as_many_rows_with_other_values_are_refused(self, logged: Model, summed: Model) -> None:
        window = next(one for one in windows_of(logged) if not one.segment)
        add(summed, [window])
        decoded = WindowSummary.decode(window.summary)
        fewer = replace(decoded, labelled=decoded.labelled - 1, outcome=None)

        with pytest.raises(Problem) as refused:
            add(summed, [window._replace(summary=fewer.encode())])

        assert refused.value.code == "batch_differs"

    def test_may_have_other_segments_when_they_come_again(self, logged: Model, summed: Model) -> None:
        window = next(one for one in windows_of(logged) if not one.segment)
        add(summed, [window])
        SegmentFeature.objects.create(model=summed, feature="region")

        _, is_new = add(summed, [window, window._replace(segment="region:north")])

        assert not is_new

    def test_of_another_model_may_have_the_same_name(
        self, logged: Model, summed: Model, project: Project
    ) -> None:
        add(summed, windows_of(logged))
        other = make_model(project, "other")
        give_reference(other)

        _, is_new = add(other, windows_of(logged))

        assert is_new

    def test_are_added_whole_or_not_at_all(self, logged: Model, summed: Model) -> None:
        windows = windows_of(logged)

        with pytest.raises(Problem):
            add(summed, [*windows, windows[0]._replace(version="9")])

        assert stored(summed) == {}
        assert not SummaryBatch.objects.exists()


type Spoil = Callable[[WindowSummary], WindowSummary]


def income(change: dict[str, Any]) -> Spoil:
    def spoil(summary: WindowSummary) -> WindowSummary:
        column = summary.features["income"]
        assert isinstance(column, NumericSummary)
        return replace(
            summary, features={**summary.features, "income": replace(column, distinct=None, **change)}
        )

    return spoil


def region(change: dict[str, Any]) -> Spoil:
    def spoil(summary: WindowSummary) -> WindowSummary:
        column = summary.features["region"]
        assert isinstance(column, CategoricalSummary)
        return replace(summary, features={**summary.features, "region": replace(column, **change)})

    return spoil


IMPOSSIBLE: dict[str, Spoil] = {
    "no rows": lambda summary: replace(summary, rows=0),
    "more rows than values": lambda summary: replace(summary, rows=summary.rows + 1),
    "a feature too few": lambda summary: summary.without(["income"]),
    "another grid": lambda summary: replace(
        summary, features={**summary.features, "income": summarise_numbers(np.ones(summary.rows), centre=5.0)}
    ),
    "a text that is a number": lambda summary: replace(
        summary, features={**summary.features, "region": summarise_numbers(np.ones(summary.rows), centre=0.0)}
    ),
    "a number that is a text": lambda summary: replace(
        summary, features={**summary.features, "income": summary.features["region"]}
    ),
    "a total of its own": income({"total": 1e9}),
    "a sum without end": income({"total_sq": float("inf")}),
    "squares that are too few": income({"total_sq": 0.0, "total": 40.0}),
    "negative missing values": income({"missing": -1, "infinite": 1}),
    "values beyond the greatest": income({"maximum": -50.0, "minimum": -60.0}),
    "a zero byte in a level": region({"counts": {"no\0rth": 50}, "n": 50}),
    "levels that do not add up": region({"counts": {"north": 7}}),
    "squares that are too many": income({"total_sq": 1.7e308}),
    "a greatest value that no cell holds": income({"maximum": 1e300}),
    "cells of other values": lambda summary: income(
        {"keys": summary.features["income"].keys + np.uint16(7)}  # type: ignore[union-attr]
    )(summary),
    "distinct values that do not ascend": lambda summary: replace(
        summary,
        features={
            **summary.features,
            "income": replace(
                summary.features["income"],  # type: ignore[type-var]
                distinct=Distinct(np.ones(summary.rows), np.ones(summary.rows, np.int64)),
            ),
        },
    ),
    "sums of no values": lambda summary: replace(
        summary,
        score=replace(summarise_numbers(np.full(summary.rows, np.nan), centre=0.0), total=float("nan")),
    ),
    "losses of no rows": lambda summary: replace(
        summary,
        outcome=replace(summary.outcome, brier=Moments(0, 5e200, 0.0)),  # type: ignore[type-var]
    ),
    "no predictions": lambda summary: replace(summary, prediction=None),
    "more labels than rows": lambda summary: replace(summary, labelled=summary.rows + 1),
    "the outcome of another task": lambda summary: replace(
        summary, outcome=summarise_regression_outcomes([1.0], [2.0])
    ),
    "a confusion that does not add up": lambda summary: replace(
        summary,
        outcome=replace(summary.outcome, tp=999),  # type: ignore[type-var]
    ),
    "more losses than rows": lambda summary: merge_windows(
        [summary, replace(summary, labelled=-summary.labelled, rows=0, features={}, prediction=None)]
    ),
}


class TestWindows:
    @pytest.mark.parametrize("what", IMPOSSIBLE)
    def test_that_no_rows_could_have_given_are_refused(self, logged: Model, summed: Model, what: str) -> None:
        window = next(one for one in windows_of(logged) if not one.segment)
        spoiled = IMPOSSIBLE[what](WindowSummary.decode(window.summary))

        with pytest.raises(Problem) as refused:
            add(summed, [window._replace(summary=spoiled.encode())])

        assert (refused.value.status, refused.value.code) == (422, "impossible_summary"), what
        assert stored(summed) == {}

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"PAR1",
            zstandard.compress(b"no msgpack"),
            zstandard.compress(b"\x00" * (64 << 20)),
            zstandard.ZstdCompressor(write_content_size=False).compress(b"\x99"),
        ],
        ids=["empty", "parquet", "no msgpack", "64 MiB of zeros", "no size"],
    )
    def test_of_other_bytes_are_refused(self, logged: Model, summed: Model, data: bytes) -> None:
        [window, *_] = windows_of(logged)

        with pytest.raises(Problem) as refused:
            add(summed, [window._replace(summary=data)])

        assert (refused.value.status, refused.value.code) == (422, "unreadable_summary")

    @pytest.mark.parametrize("place", range(40))
    def test_with_a_damaged_byte_are_refused_or_still_possible(
        self, logged: Model, summed: Model, place: int
    ) -> None:
        window = next(one for one in windows_of(logged) if not one.segment)
        plain = bytearray(zstandard.decompress(window.summary))
        rng = np.random.default_rng(place)
        plain[int(rng.integers(len(plain)))] ^= int(rng.integers(1, 256))

        with suppress(Problem):  # a 422; anything else would fail the test
            add(summed, [window._replace(summary=zstandard.compress(bytes(plain)))])
        work(summed)

        assert not MetricPoint.objects.filter(model=summed, status="error").exists()

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"version": "9"}, "unknown_version"),
            ({"role": "king"}, "unknown_role"),
            ({"hour": DAY + timedelta(minutes=1)}, "not_an_hour"),
            ({"hour": NOW + timedelta(hours=2)}, "timestamp_out_of_window"),
            ({"hour": datetime(1, 1, 2, tzinfo=UTC)}, "timestamp_out_of_window"),
            ({"segment": "region:"}, "unknown_segment"),
            ({"segment": "shoe size"}, "unknown_segment"),
        ],
    )
    def test_of_an_impossible_place_are_refused(
        self, logged: Model, summed: Model, change: dict[str, Any], code: str
    ) -> None:
        window = next(one for one in windows_of(logged) if not one.segment)

        with pytest.raises(Problem) as refused:
            add(summed, [window._replace(**change)])

        assert (refused.value.status, refused.value.code) == (422, code)

    def test_that_are_in_a_batch_twice_are_refused(self, logged: Model, summed: Model) -> None:
        [window, *_] = windows_of(logged)

        with pytest.raises(Problem) as refused:
            add(summed, [window, window])

        assert refused.value.code == "duplicate_window"

    def test_have_segments_only_where_all_rows_of_the_hour_have_them(
        self, logged: Model, summed: Model
    ) -> None:
        SegmentFeature.objects.create(model=summed, feature="region")
        hour, *_ = (one for one in windows_of(logged) if not one.segment)
        north = hour._replace(segment="region:north", summary=WindowSummary.decode(hour.summary).encode())
        later = hour._replace(hour=hour.hour + timedelta(hours=1))

        add(summed, [hour], "a")
        add(summed, [hour, north], "b")  # the rows of the first batch have no segment
        add(summed, [later, north._replace(hour=later.hour)], "c")

        segments = Summary.objects.filter(model=summed, span="hour").exclude(segment="")
        assert list(segments.values_list("start", "segment")) == [(later.hour, "region:north")]

    def test_have_at_most_fifty_segments_of_a_feature(self, logged: Model, summed: Model) -> None:
        SegmentFeature.objects.create(model=summed, feature="region")
        hour, *_ = (one for one in windows_of(logged) if not one.segment)

        add(summed, [hour, *(hour._replace(segment=f"region:r{number}") for number in range(60))])

        assert Summary.objects.filter(model=summed, span="hour").exclude(segment="").count() == 50

    def test_of_a_hidden_feature_are_refused(self, logged: Model, summed: Model) -> None:
        summed.privacy = {"region": "drop"}
        summed.save()
        [window, *_] = windows_of(logged)

        with pytest.raises(Problem) as refused:
            add(summed, [window])

        assert "has a column 'region'" in str(refused.value.detail)

    def test_of_more_rows_than_32_bits_count_are_stored_and_measured(
        self, logged: Model, summed: Model
    ) -> None:
        window = next(one for one in windows_of(logged) if not one.segment)
        summary = WindowSummary.decode(window.summary)
        for _ in range(30):
            summary = merge_windows([summary, summary])

        batch, _ = add(summed, [window._replace(summary=summary.encode())])
        work(summed)

        assert batch.rows == summary.rows > 1 << 32
        day = Summary.objects.get(model=summed, span="day", segment="")
        assert (day.rows, day.labelled) == (summary.rows, summary.labelled)
        measured = MetricPoint.objects.filter(model=summed, span="day")
        counts = measured.filter(segment="").values_list("metric", "n")
        assert {("roc_auc", summary.labelled), ("psi", summary.rows)} <= set(counts)
        assert not measured.filter(status="error").exists()


class TestLayout:
    def test_names_what_has_no_centre_and_fixes_it_once(self, project: Project) -> None:
        model = make_model(project, "fresh")
        give_reference(model)
        model.feature_profiles.all().delete()
        version = model.versions.get()
        assert layout_of(model, version).missing == ("income",)

        first = fix_centres(model, version, {"income": 2.5})
        second = fix_centres(model, version, {"income": 9.0})

        assert (first.missing, first.layout.features) == ((), {"income": 2.5, "region": None})
        assert second.layout == first.layout

    def test_refuses_a_centre_of_a_text(self, summed: Model) -> None:
        with pytest.raises(Problem) as refused:
            fix_centres(summed, summed.versions.get(), {"region": 1.0})

        assert refused.value.code == "unknown_feature"

    def test_is_asked_for_before_anything_is_sent(self, logged: Model, summed: Model) -> None:
        windows = windows_of(logged)
        summed.feature_profiles.filter(feature="income").delete()

        with pytest.raises(Problem) as refused:
            add(summed, windows[:1])

        assert refused.value.code == "no_centre"

    def test_is_of_no_ranking(self, project: Project) -> None:
        model = make_model(project, "ranks")
        give_reference(model)
        model.task = "ranking"

        with pytest.raises(Problem) as refused:
            layout_of(model, model.versions.get())

        assert refused.value.code == "unsupported_task"


def encoded(window: SentWindow) -> dict[str, Any]:
    hour: datetime = window.hour
    return {
        "version": window.version, "role": window.role, "hour": hour.isoformat(), "segment": window.segment,
        "summary": base64.b64encode(window.summary).decode(),
    }  # fmt: skip

"""What the summaries of a model weigh in PostgreSQL: by the hour, the day and the month, as `storage_bench` asks."""

from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import connection

from driftline.base.accounts.models import Project
from inference.registry.models import Version
from inference.registry.services import create_model
from monitors.stats.mergeable.outcomes import summarise_binary_outcomes
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows, summarise_window
from monitors.summaries.models import Summary
from monitors.summaries.rollups import drop_parts
from monitors.summaries.stored import SourceFields, row_of, save

MONTH = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 31
ROWS_AN_HOUR = 4_000
FEATURES = [f"feature_{place:02}" for place in range(30)]


def measure() -> dict[str, float]:
    """Store a month of hours of one version, all rows labelled, drop hours, then days; bytes on disk a model-day."""
    model = create_model(
        project=Project.objects.create(slug="sums", name="Sums"), name="m", task="binary", actor="bench"
    )
    version = Version.objects.create(model=model, version="1")
    source: SourceFields = {"model": model, "version": version, "role": "champion"}
    rng = np.random.default_rng(20260101)
    starts = [MONTH + timedelta(days=day) for day in range(DAYS)]
    _store_day(source, starts[0], rng)
    bytes_of = {"hour": _size("hour")}
    for start in starts[1:]:
        _store_day(source, start, rng)
        drop_parts(model=model, span="day", before=start)
    drop_parts(model=model, span="day", before=MONTH + timedelta(days=DAYS))
    bytes_of["day"] = _size("day") / DAYS
    drop_parts(model=model, span="month", before=MONTH + timedelta(days=DAYS))
    bytes_of["month"] = _size("month") / DAYS
    [left] = Summary.objects.filter(model=model)
    if left.rows != DAYS * 24 * ROWS_AN_HOUR:
        raise AssertionError(f"The month holds {left.rows:,} rows.")
    return bytes_of


def _store_day(source: SourceFields, day: datetime, rng: np.random.Generator) -> None:
    hours = [_hour(rng) for _ in range(24)]
    rows = [row_of(source, "hour", day + timedelta(hours=n), "", hour) for n, hour in enumerate(hours)]
    save([*rows, row_of(source, "day", day, "", merge_windows(hours))])


def _hour(rng: np.random.Generator) -> WindowSummary:
    values = rng.normal(size=(len(FEATURES), ROWS_AN_HOUR)).round(6)
    probability = 1 / (1 + np.exp(-values[0]))
    answer, truth = probability > 0.5, rng.random(ROWS_AN_HOUR) < probability
    return summarise_window(
        rows=ROWS_AN_HOUR,
        features=dict(zip(FEATURES, values, strict=True)),
        centres=dict.fromkeys(FEATURES, 0.0),
        prediction=np.where(answer, "1", "0").astype(object),
        score=probability,
        latency_ms=rng.lognormal(1, 0.5, ROWS_AN_HOUR).round(3),
        outcome=summarise_binary_outcomes(truth, answer, probability),
        labelled=ROWS_AN_HOUR,
        label_lag_s=rng.uniform(0, 3_600, ROWS_AN_HOUR),
    )


def _size(span: str) -> float:
    """Weigh the rows of one length on disk, indexes and TOAST included, in a table of their own."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE weighed (LIKE monitors_summary INCLUDING INDEXES)")
        cursor.execute("INSERT INTO weighed SELECT * FROM monitors_summary WHERE span = %s", [span])
        cursor.execute("SELECT pg_total_relation_size('weighed')")
        (size,) = cursor.fetchone() or (0,)
        cursor.execute("DROP TABLE weighed")
    return float(size)

"""Ninety days of hourly summaries of a model, made by the product's own functions, and the questions asked of them."""

import io
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.contrib.staticfiles import finders
from django.db import connection, connections
from django.test import Client

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project, create_token
from driftline.base.periods import floor, rfc3339
from driftline.operations.services.processes import Process
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.feature_kinds import centres_of
from monitors.definitions.models import Monitor, MonitorKind, Reference
from monitors.definitions.services import build_reference
from monitors.metrics.catalogue import ANSWER_COLUMNS
from monitors.metrics.references import loaded as in_use
from monitors.metrics.references import nulls
from monitors.metrics.services import measure as measure_windows
from monitors.metrics.store.models import (
    MetricPoint,
    NullDraws,
    PackedPoints,
    PointLimits,
    PointName,
)
from monitors.stats.mergeable.outcomes import summarise_binary_outcomes
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows, summarise_window
from monitors.summaries.models import StaleWindow
from monitors.summaries.services import measure_hours
from monitors.summaries.stored import SourceFields, row_of, save
from tests.pages_client import PagesClient

LEVELS = (3, 8, 40, 800)
NUMBERS = 30 - len(LEVELS)
FEATURE = "n00"
REFERENCE_ROWS = 20_000
REFERENCE_DAYS = 30
DAY = timedelta(days=1)
_LINKED = re.compile(r'(?:src|href)="/static/([^"?]+)"')


# -- a history ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class History:
    """A model with so many rows an hour, and what it took to measure all its windows again."""

    model: Model
    rows_an_hour: int
    days: int
    points: int
    measuring_cpu_s: float


def columns(rng: np.random.Generator, rows: int, drift: float) -> dict[str, np.ndarray]:
    """Draw 30 features: numbers of five awkward shapes, a twentieth of some missing, and categories."""
    shapes: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(size=rows).round(6),
        lambda: rng.lognormal(size=rows).round(6),
        lambda: np.floor(rng.gamma(2, 3, size=rows)),
        lambda: np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(size=rows)).round(6),
        lambda: np.where(rng.random(rows) < 0.05, np.nan, rng.standard_t(2.5, size=rows)).round(6),
    ]
    found = {f"n{place:02}": shapes[place % 5]() + drift * (place < 3) for place in range(NUMBERS)}
    for levels in LEVELS:
        names = np.array([f"level {level}" for level in range(levels)], dtype=object)
        found[f"c{levels}"] = names[(rng.zipf(1.3, size=rows) - 1) % levels]
    return found


def build(project: Project, *, rows_an_hour: int, days: int) -> History:
    """Store the hours and days of a model up to last midnight, and every point of them."""
    model = create_model(
        project=project, name=f"rows-{rows_an_hour}", task="binary", actor="bench",
        objectives={"label_lag_hours": 1},
    )  # fmt: skip
    end = floor(datetime.now(UTC), "day")
    give_reference(model, end - days * DAY)
    # A rule on one hour's drift has the drift of each hour measured; without one it is measured by the day.
    Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).update(span="hour")
    version = model.versions.get(version="1")
    source: SourceFields = {"model": model, "version": version, "role": "champion"}
    rng = np.random.default_rng(rows_an_hour)
    starts = [end - back * DAY for back in range(days, 0, -1)]
    for number, start in enumerate(starts):
        _store_day(source, start, rng, rows_an_hour, drift=0.5 * (number % 10 == 9))
    for moment in (starts[0], end - timedelta(minutes=1)):
        _log_one(model, moment)
    cpu_s = _measure_all(model, starts)
    return History(model, rows_an_hour, days, MetricPoint.objects.filter(model=model).count(), cpu_s)


def give_reference(model: Model, end: datetime, seed: int = 0) -> None:
    """Upload a reference of thirty days with labels and scores, as a file, and build it."""
    rng = np.random.default_rng(seed)
    table = columns(rng, REFERENCE_ROWS, 0.0)
    probability = _probability(table)
    minutes = np.sort(rng.integers(0, REFERENCE_DAYS * 1_440, REFERENCE_ROWS))
    times = np.datetime64((end - REFERENCE_DAYS * DAY).replace(tzinfo=None), "us")
    table |= {
        "probability": probability,
        "prediction": np.where(probability > 0.5, "1", "0").astype(object),
        "label": np.where(rng.random(REFERENCE_ROWS) < probability, "1", "0").astype(object),
    }
    content = io.BytesIO()
    stamps = pa.array(times + minutes.astype("timedelta64[m]"), pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({**table, "timestamp": stamps}), content)
    content.seek(0)
    store_reference(
        model=model, version="1", stream=content, content_type="application/vnd.apache.parquet", actor="bench"
    )
    build_reference(Reference.objects.filter(model=model).latest("pk").pk)


def _store_day(
    source: SourceFields, day: datetime, rng: np.random.Generator, rows: int, *, drift: float
) -> None:
    hours = [_summary(source["model"], columns(rng, rows, drift), rng) for _ in range(24)]
    stored = [row_of(source, "hour", day + timedelta(hours=n), "", hour) for n, hour in enumerate(hours)]
    save([*stored, row_of(source, "day", day, "", merge_windows(hours))])


def _summary(model: Model, table: dict[str, np.ndarray], rng: np.random.Generator) -> WindowSummary:
    probability = _probability(table)
    rows = probability.size
    answer, truth = probability > 0.5, rng.random(rows) < probability
    return summarise_window(
        rows=rows,
        features=table,
        centres=centres_of(model, table, prediction=None),
        prediction=np.where(answer, "1", "0").astype(object),
        score=probability,
        latency_ms=rng.lognormal(1, 0.5, rows).round(3),
        outcome=summarise_binary_outcomes(truth, answer, probability),
        labelled=rows,
        label_lag_s=rng.uniform(0, 3_600, rows),
    )


def _probability(table: dict[str, np.ndarray]) -> np.ndarray:
    probability: np.ndarray = 1 / (1 + np.exp(-table[FEATURE]))
    return probability


def _log_one(model: Model, moment: datetime) -> None:
    """Log one prediction: pages begin with the oldest event that was logged and end with the newest."""
    row = SentPrediction(
        id=rfc3339(moment),
        timestamp=rfc3339(moment),
        version="1",
        features={},
        prediction="1",
        probabilities=0.7,
    )
    log_predictions(
        model=model, batch=PredictionBatch(columns_of([row], task="binary")), now=datetime.now(UTC)
    )


def _measure_all(model: Model, days: Iterable[datetime]) -> float:
    """Have every window measured, as a new reference does; gives the worker's and the database's CPU time."""
    hours = [day + timedelta(hours=hour) for day in days for hour in range(24)]
    measure_hours(model_id=model.pk, hours=hours)
    began = _cpu_s()
    while measure_windows(model.pk):
        pass
    spent = _cpu_s() - began
    if StaleWindow.objects.filter(model=model).exists():
        raise AssertionError("Windows are left that nobody measured.")
    return spent


def weigh_points() -> dict[str, float]:
    """Weigh all points on disk, in bytes with their indexes, and count the features that were judged in windows."""
    tables = [kind._meta.db_table for kind in (PackedPoints, PointName, PointLimits)]
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s) AS name", [tables])
        (weight,) = cursor.fetchone() or (0,)
    judged = MetricPoint.objects.filter(metric="psi", status__in=("ok", "warning", "critical"))
    return {
        "bytes": float(weight),
        "points": MetricPoint.objects.count(),
        "feature_windows": judged.exclude(feature__in=ANSWER_COLUMNS).count(),
    }


# -- questions ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Question:
    """What is asked, its goal in ms, and how; an answer of so many bytes at least is a real one.

    `is_first` is what nobody has asked before: of the reference nothing has been drawn yet.
    """

    what: str
    kind: str
    goal_ms: float | None
    ask: Callable[[], Any]
    fewest_bytes: int = 1_000
    is_first: bool = False


@dataclass(frozen=True)
class Answer:
    """What one answer took: wall time, CPU time of server and database, bytes sent, and MB that PostgreSQL read."""

    ms: float
    cpu_ms: float
    kilobytes: float
    read_mb: float


def questions_of(history: History, pages: Client, api: Client) -> Iterator[Question]:
    name, days = history.model.name, history.days
    stored, computed = "stored points", "summaries"
    metrics, ask = f"/api/v1/models/{name}/metrics?from=-{days + 1}d", f"?from=-{days}d"
    yield Question("API: psi of one feature by the day", stored, 200,
                   lambda: api.get(f"{metrics}&metric=psi&feature={FEATURE}"), 100 * days)  # fmt: skip
    yield Question("API: accuracy by the hour", stored, 200,
                   lambda: api.get(f"{metrics}&metric=accuracy&step=hour&limit=10000"), 2_400 * days)  # fmt: skip
    yield Question("page: health", stored, 200, lambda: pages.get(f"/models/{name}/{ask}"))
    yield Question(
        "page: drift of all features", stored, 200, lambda: pages.get(f"/models/{name}/drift{ask}")
    )
    for page, path in (
        ("one feature", f"features/{FEATURE}"),
        ("performance", "performance"),
        ("latency", "latency"),
    ):
        yield Question(
            f"page: {page}", computed, None, lambda path=path: pages.get(f"/models/{name}/{path}{ask}")
        )
    rule = {
        "model": name,
        "metric": "psi",
        "feature": FEATURE,
        "threshold": 0.11,
        "span": "hour",
        "name": "asked",
    }
    yield Question("changed rule: psi of one feature by the hour", computed, 500,
                   lambda: api.post("/api/v1/rules/backtest", rule, content_type="application/json"), 10)  # fmt: skip
    by_the_week = f"{metrics}&metric=psi&feature={FEATURE}&step=week"
    yield Question("changed windows: psi of one feature by the week", computed, 500,
                   lambda: api.get(by_the_week), 300)  # fmt: skip
    yield Question("changed period: 30 features, summed up", computed, 1_000,
                   lambda: api.get(f"/api/v1/models/{name}/drift{ask}"), 10_000)  # fmt: skip
    yield Question("new reference: psi of one feature by the week", computed, 500,
                   lambda: api.get(by_the_week), 300, is_first=True)  # fmt: skip


def clients_of(project: Project, owner: User) -> tuple[Client, Client]:
    """A signed-in browser and a caller of the API."""
    pages = PagesClient(SERVER_NAME="127.0.0.1")
    pages.force_login(owner)
    _, text = create_token(project=project, name="bench", scopes=Scope, actor="bench")
    return pages, Client(SERVER_NAME="127.0.0.1", headers={"Authorization": f"Bearer {text}"})


def make_cold(database: Process, question: Question) -> None:
    """Begin anew: PostgreSQL with empty buffers, no connection to it, no reference or draws in the process."""
    if question.is_first:
        NullDraws.objects.all().delete()
    connections.close_all()
    database.stop()
    database.start()
    database.wait_ready()
    in_use._load.cache_clear()
    nulls._memory.clear()


def answer(question: Question) -> Answer:
    """Ask once and measure; raises AssertionError where the answer is none."""
    connection.ensure_connection()
    before = _read_blocks()
    cpu, began = _cpu_s(), time.perf_counter()
    response = question.ask()
    ms, cpu_ms = (time.perf_counter() - began) * 1e3, (_cpu_s() - cpu) * 1e3
    if response.status_code != 200 or len(response.content) < question.fewest_bytes:
        raise AssertionError(f"{question.what}: {response.status_code} {response.content[:200]!r}")
    read_mb = (_read_blocks() - before) * 8_192 / 1e6
    return Answer(ms, cpu_ms, len(response.content) / 1e3, read_mb)


def first_page_kb(pages: Client, path: str) -> float:
    """Weigh a page and every file that it names, Plotly aside, which loads where a chart is; uncompressed."""
    html = pages.get(path).content
    names = {name for name in _LINKED.findall(html.decode()) if "plotly" not in name}
    files = [Path(str(finders.find(name))) for name in names]
    return float(len(html) + sum(file.stat().st_size for file in files)) / 1e3


def _cpu_s() -> float:
    """CPU time of this process, which serves, and of the database's process that serves it."""
    pid = connection.connection.info.backend_pid
    return time.process_time() + int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _read_blocks() -> int:
    """Count the blocks that PostgreSQL has read from its files so far, whatever cached them below it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT 1")  # ends a transaction, which is when statistics are handed on
        cursor.execute("SELECT blks_read FROM pg_stat_database WHERE datname = current_database()")
        (blocks,) = cursor.fetchone() or (0,)
    return int(blocks)


# -- all of it ---------------------------------------------------------------------------------------------------------
def measure(database: Process, *, sizes: Iterable[int], days: int, rounds: int) -> dict[str, Any]:
    """Build a history of each size, ask everything of each, cold and then warm, and weigh the first pages."""
    owner = User.objects.create_user("owner@bench.example")
    project = create_project(slug="bench", name="Bench", owner=owner)
    histories = [build(project, rows_an_hour=size, days=days) for size in sizes]
    weight = weigh_points()
    pages, api = clients_of(project, owner)
    asked = {history.rows_an_hour: list(questions_of(history, pages, api)) for history in histories}
    for question in (one for some in asked.values() for one in some):
        answer(question)  # templates are compiled and modules loaded once in a process's life
    results = [
        _asked_of_each(place, asked, database, rounds) for place in range(len(next(iter(asked.values()))))
    ]
    return {
        "days": days,
        "weight": weight,
        "questions": results,
        "first_page_kb": {path: first_page_kb(pages, path) for path in ("/", f"/models/{histories[-1].model.name}/")},
        "measuring": [
            {"rows_an_hour": one.rows_an_hour, "points": one.points, "cpu_s": one.measuring_cpu_s} for one in histories
        ],
    }  # fmt: skip


def _asked_of_each(
    place: int, asked: dict[int, list[Question]], database: Process, rounds: int
) -> dict[str, Any]:
    question = next(iter(asked.values()))[place]
    found: dict[str, Any] = {"what": question.what, "kind": question.kind, "goal_ms": question.goal_ms}
    taken: dict[int, dict[str, list[Answer]]] = {size: {"cold": [], "warm": []} for size in asked}
    for _ in range(rounds):
        for size, questions in asked.items():
            make_cold(database, questions[place])
            taken[size]["cold"].append(answer(questions[place]))
            taken[size]["warm"] += [answer(questions[place]) for _ in range(2)]
    found["sizes"] = {
        size: {state: [vars(one) for one in answers] for state, answers in states.items()}
        for size, states in taken.items()
    }
    return found

"""A fleet of models on one node: set up, sent rows and worked for, as `fleet_bench` asks."""

import http.client
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from celery import current_app
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from driftline.accounts.models import Project, User
from driftline.common.clock import now
from driftline.common.ids import uuid7
from driftline.common.periods import floor
from driftline.common.work import touch
from driftline.tasks import close_windows, sweep, tidy
from inference.prediction_log.models import PackedDay, PredictionChunk, TouchedPeriod
from inference.prediction_log.tasks import expire as expire_log
from inference.prediction_log.tasks import pack
from inference.registry.datasets import store_reference
from inference.registry.models import Model, Version
from inference.registry.publishing import publish
from inference.registry.services import create_model, external_version
from monitors.definitions.models import FeatureProfile, Reference
from monitors.definitions.services import build_reference
from monitors.metrics.models import JointDay, MetricPoint, PendingEvaluation
from monitors.metrics.tasks import compare_jointly, measure_model
from monitors.metrics.tasks import expire as expire_summaries
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Rule, RuleState
from monitors.rules.tasks import judge_model
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.tasks import summarise_model
from tests.performance import fleet_serving
from tests.performance.installation import Installed

OBJECTIVES = {"label_lag_hours": 1, "latency_p99_ms": 50, "quality": {"metric": "accuracy", "floor": 0.6}}
LEVELS = np.array([f"level {place}" for place in range(10)])
CATEGORIES_SHARE = 0.2
REFERENCE_DAYS, REFERENCE_ROWS_A_DAY = 20, 100
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Size:
    """How much is measured: models and their features, rows a model-hour; `day_models` live through a day that is
    worked on every `pass_hours`, and `busy` copies of them get an hour."""

    models: int
    features: int
    rows: int
    day_models: int
    pass_hours: int
    busy: int


# -- what it costs -----------------------------------------------------------------------------------------------------
@dataclass
class Cost:
    """Seconds of processor time of some calls: this process's, the database's and the web server's."""

    calls: int = 0
    own: float = 0.0
    database: float = 0.0
    web: float = 0.0


@dataclass
class Meter:
    """Adds up what calls cost, by name."""

    installed: Installed
    costs: dict[str, Cost] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str, calls: int = 1) -> Iterator[None]:
        """Count what happens inside as so many calls; none are not told of."""
        before = self._seconds()
        yield
        if not calls:
            return
        cost = self.costs.setdefault(name, Cost())
        cost.calls += calls
        for who, begin, end in zip(("own", "database", "web"), before, self._seconds(), strict=True):
            setattr(cost, who, getattr(cost, who) + end - begin)

    def _seconds(self) -> tuple[float, float, float]:
        database, web = self.installed.database_pid, self.installed.server_pid
        return (
            time.process_time(),
            _cpu_seconds(database),
            _cpu_seconds(web),
        )


def _cpu_seconds(pid: int) -> float:
    """Add up the processor time of a process with its children, those included that have ended."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0  # it has ended meanwhile, and its parent has its time
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") + sum(
        _cpu_seconds(int(child)) for child in children
    )


# -- rows --------------------------------------------------------------------------------------------------------------
class Traffic:
    """What models are asked, and what really happened: every model sees the same chance on a scale of its own."""

    def __init__(self, size: Size) -> None:
        self._rng = np.random.default_rng(20260101)
        categories = round(size.features * CATEGORIES_SHARE)
        self._numbers = [f"number_{place:03}" for place in range(size.features - categories)]
        self._categories = [f"category_{place:03}" for place in range(categories)]

    def columns(self, model: Model, starts: Sequence[datetime], rows: int) -> dict[str, Any]:
        """Draw so many rows from each of these hours or days on."""
        n = rows * len(starts)
        numbers = self._rng.normal(size=(len(self._numbers), n))
        levels = self._rng.integers(0, len(LEVELS), (len(self._categories), n))
        probability = 1 / (1 + np.exp(-numbers[0]))
        length = HOUR * 0.999
        offsets = np.sort(self._rng.random((len(starts), rows)), axis=1)
        times = [
            start + length * share
            for start, some in zip(starts, offsets.tolist(), strict=True)
            for share in some
        ]
        drawn = numbers * (1 + model.pk % 7) + model.pk % 11
        return {
            "id": [str(uuid7()) for _ in range(n)],
            "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
            "prediction": np.where(probability > 0.5, "1", "0"),
            "probability": probability.round(6),
            **dict(zip(self._numbers, drawn.round(4), strict=True)),
            **{
                name: pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(LEVELS))
                for name, codes in zip(self._categories, levels, strict=True)
            },
        }

    def truths(self, columns: dict[str, Any]) -> list[str]:
        """Draw what really happened."""
        happened = self._rng.random(len(columns["id"])) < columns["probability"]
        return np.where(happened, "1", "0").tolist()


class Sender:
    """One keep-alive connection to the logging API."""

    def __init__(self, installed: Installed, traffic: Traffic) -> None:
        self._port, self._token = installed.port, installed.token
        self.traffic = traffic
        self.reconnect()

    def reconnect(self) -> None:
        """Open a new connection: one that was silent for long is closed."""
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)

    def prepare(self, model: Model, hours: Sequence[datetime], rows: int) -> tuple[bytes, bytes]:
        """Write the bodies of some hours' predictions and labels."""
        columns = self.traffic.columns(model, hours, rows)
        truths = self.traffic.truths(columns)
        labels = [{"id": key, "label": truth} for key, truth in zip(columns["id"], truths, strict=True)]
        n = len(truths)
        table = pa.table(columns | {"version": ["1"] * n, "latency_ms": np.full(n, 3.0)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue()), json.dumps({"labels": labels}).encode()

    def send(self, model: Model, predictions: bytes, labels: bytes) -> None:
        """Send both, over a connection of their own as it may be long until the next, and see that all are stored."""
        self.reconnect()
        self._post(model, "predictions", predictions, "application/vnd.apache.arrow.stream")
        self._post(model, "labels", labels, "application/json")

    def _post(self, model: Model, what: str, body: bytes, media_type: str) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": media_type}
        self._connection.request("POST", f"/api/v1/models/{model.name}/{what}", body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200 or json.loads(answer)["rejected"]:
            raise AssertionError(f"{what} were answered by {response.status}: {answer[:500]!r}")

    def get(self, path: str) -> bytes:
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise AssertionError(f"{path} was answered by {response.status}: {answer[:500]!r}")
        return answer


# -- the bench ---------------------------------------------------------------------------------------------------------
def measure(installed: Installed, size: Size) -> dict[str, Any]:
    """Let some models live through a day, add the others as their copies, and work for them; what was found."""
    idle = memory(installed)
    a_day, together = Meter(installed), Meter(installed)
    sender = Sender(installed, Traffic(size))
    originals = set_up(size, sender.traffic, a_day)
    disk = live_a_day(originals, floor(now(), "day") - DAY, size, sender, a_day)
    copies = copy_models(originals, size.models, together)
    present = floor(now(), "hour") - HOUR  # the hour that has just ended
    current_app.control.purge()
    with together.of("send an hour's rows and labels, with making them", size.busy):
        for model in copies[: size.busy]:
            sender.send(model, *sender.prepare(model, [present], size.rows))
    rings = {"an hour of a model in two bodies": f"{current_app.control.purge() / size.busy:.1f}"}
    work(copies[: size.busy], together)
    rings |= ticks([*originals, *copies], together)
    upkeep(together)
    return {
        "size": vars(size),
        "rings": rings,
        "pages": pages(sender, together),
        "memory": {"at the start": idle, "after all": memory(installed)},
        "serving": fleet_serving.measure(size.models, size.features),
        "rows": rows_of_tables(),
        "disk": disk | {"plan file": f"{(installed.paths.home / 'plan.json').stat().st_size / 1e3:,.0f} kB"},
        "costs": {
            title: {name: vars(cost) for name, cost in meter.costs.items()}
            for title, meter in (("a model's day", a_day), ("the fleet", together))
        },
    }


def set_up(size: Size, traffic: Traffic, meter: Meter) -> list[Model]:
    """Make the models that live through a day, with references and default rules."""
    project = Project.objects.get(slug="default")
    with meter.of("create a model", size.day_models):
        models = [_create(project, f"original-{number}") for number in range(size.day_models)]
    first = floor(now(), "day") - (REFERENCE_DAYS + 1) * DAY
    days = [first + DAY * number for number in range(REFERENCE_DAYS)]
    with meter.of("store a reference, with making it", size.day_models):
        for model in models:
            columns = traffic.columns(model, days, REFERENCE_ROWS_A_DAY)
            sink = io.BytesIO()
            pq.write_table(pa.table(columns | {"label": traffic.truths(columns)}), sink)
            sink.seek(0)
            store_reference(
                model=model,
                version="1",
                stream=sink,
                content_type="application/vnd.apache.parquet",
                actor="bench",
            )
    with meter.of("build a reference", size.day_models):
        for pk in Reference.objects.order_by("pk").values_list("pk", flat=True):
            build_reference(pk)
    with meter.of("add the default rules", size.day_models):
        for model in models:
            add_default_rules(project=project, model=model, actor="bench")
    return models


def _create(project: Project, name: str) -> Model:
    return create_model(project=project, name=name, task="binary", actor="bench", objectives=OBJECTIVES)


def live_a_day(
    models: list[Model], day: datetime, size: Size, sender: Sender, meter: Meter
) -> dict[str, str]:
    """Send some models a day, work as often as asked, close the day; what the day weighs."""
    before = weigh_parts()
    for number in range(0, 24, size.pass_hours):
        hours = [day + HOUR * (number + place) for place in range(size.pass_hours)]
        with meter.of("send an hour's rows and labels, with making them", len(models) * size.pass_hours):
            for model in models:
                sender.send(model, *sender.prepare(model, hours, size.rows))
        work(models, meter, f"of {size.pass_hours} hours")
    PredictionChunk.objects.filter(is_packed=False).update(created_at=now() - 2 * HOUR)
    with meter.of("pack a day", len(models)):
        pack()
    vacuum()
    told = {
        f"a model-day: {part}": _kb(weight - before[part], len(models))
        for part, weight in weigh_parts().items()
    }
    for model in models:  # an event of the last hour closes it, and labels are ripe
        sender.send(model, *sender.prepare(model, [floor(now(), "hour") - HOUR], 1))
    work(models, meter, "of one row")
    with meter.of("compare a day in all columns together", len(models)):
        for model in models:
            compare_jointly(model_id=model.pk)
    if JointDay.objects.ended(now()).exists():
        raise AssertionError("Days were left uncompared.")
    return told


# -- copies ------------------------------------------------------------------------------------------------------------
COPIED = (FeatureProfile, Reference, Rule, PackedDay, MetricPoint, Summary)


def copy_models(originals: list[Model], wanted: int, meter: Meter) -> list[Model]:
    """Fill the fleet up with models that have what the first original has, but for its rows and hourly summaries."""
    project, [template] = originals[0].project, originals[0].versions.all()
    number = wanted - len(originals)
    with meter.of("create a model and its version", number):
        copies = [_create(project, f"model-{place:04}") for place in range(number)]
        versions = [external_version(model=model, version="1") for model in copies]
    Version.objects.filter(pk__in=[version.pk for version in versions]).update(signature=template.signature)
    for model in COPIED:
        _copy(model, template, "span <> 'hour'" if model is Summary else "true")
    rules = Rule.objects.filter(state=None)
    RuleState.objects.bulk_create([RuleState(rule=rule, judged_until=now()) for rule in rules])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return copies


def _copy(model: type[Any], template: Version, condition: str) -> None:
    """Copy the rows of the template's model to every other model."""
    columns = [column.column for column in model._meta.concrete_fields if column.column != "id"]
    others = {"model_id": "v.model_id", "version_id": "v.id"}
    names = ", ".join(f'"{name}"' for name in columns)
    given = ", ".join(others.get(name, f't."{name}"') for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({names}) SELECT {given} FROM {model._meta.db_table} t, "
            f"inference_version v WHERE t.model_id = %s AND {condition} AND v.model_id IN "
            "(SELECT id FROM inference_model WHERE name LIKE 'model-%%')",
            [template.model_id],
        )


# -- work --------------------------------------------------------------------------------------------------------------
def work(models: list[Model], meter: Meter, what: str = "of an hour") -> None:
    """Do what the workers would do, stage by stage, until nothing is due."""
    stages: tuple[tuple[str, Callable[..., None], Any], ...] = (
        (f"summarise a model's rows {what}", summarise_model, TouchedPeriod),
        ("measure its windows", measure_model, StaleWindow),
        ("judge its rules", judge_model, PendingEvaluation),
    )
    while any(rows.objects.filter(model__in=models).exists() for _, _, rows in stages):
        for name, task, rows in stages:
            due = list(rows.objects.filter(model__in=models).values_list("model_id", flat=True).distinct())
            with meter.of(name, len(due)):
                for model_id in due:
                    task(model_id=model_id)


def ticks(models: list[Model], meter: Meter) -> dict[str, str]:
    """Run the ticks of every few seconds once, quiet and while all models wait; how often they rang."""
    told = {}
    for name, tick in (("sweep", sweep), ("close windows", close_windows)):
        current_app.control.purge()
        with meter.of(f"tick: {name}, nothing due"):
            tick()
        told[f"{name}, nothing due"] = f"{current_app.control.purge():,}"
        due = list(PendingEvaluation.objects.values_list("model_id", flat=True))
        if due:
            with meter.of(f"what {name} rang for: judge a model", len(due)):
                for model_id in due:
                    judge_model(model_id=model_id)
    touch(PendingEvaluation, [(model.pk,) for model in models], fields=("model_id",))
    with meter.of("tick: sweep, all models due"):
        sweep()
    told["sweep, all models due"] = f"{current_app.control.purge():,}"
    PendingEvaluation.objects.all().delete()
    return told


def upkeep(meter: Meter) -> None:
    """Run the ticks of every half a minute and of every hour once."""
    ages: tuple[tuple[str, Callable[[], None]], ...] = (
        ("tick: pack, nothing old enough", pack),
        ("tick: expire the log", expire_log),
        ("tick: expire summaries", expire_summaries),
        ("tick: tidy", tidy),
    )
    for name, tick in ages:
        with meter.of(name):
            tick()
    with meter.of("publish the plan"):
        publish()


# -- pages -------------------------------------------------------------------------------------------------------------
def pages(sender: Sender, meter: Meter) -> dict[str, str]:
    """Ask for what shows the whole fleet: queries and size."""
    visitor = Client(HTTP_HOST="localhost")
    visitor.force_login(User.objects.get())
    told = {}
    for name in ("overview", "models"):
        with meter.of(f"page: {name}"), CaptureQueriesContext(connection) as queries:
            answer = visitor.get(reverse(name))
        if answer.status_code != 200:
            raise AssertionError(f"The page {name} was answered by {answer.status_code}.")
        told[name] = f"{len(queries):,} queries, {len(answer.content) / 1e3:,.0f} kB"
    sender.reconnect()
    for path in ("/metrics", "/api/v1/models"):
        with meter.of(f"GET {path}"):
            told[path] = f"{len(sender.get(path)) / 1e3:,.0f} kB"
    return told


# -- memory and disk ---------------------------------------------------------------------------------------------------
def memory(installed: Installed) -> str:
    """Tell the resident memory of this worker, and the proportional memory of the web server and the database."""
    own = _field(Path("/proc/self/status"), "VmRSS")
    return (
        f"worker {own / 1024:,.0f} MB, web {_pss(installed.server_pid) / 1024:,.0f} MB, "
        f"database {_pss(installed.database_pid) / 1024:,.0f} MB"
    )


def _pss(pid: int) -> float:
    """Add up the memory (kB) of a process with its children; what they share counts once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") + sum(_pss(int(child)) for child in children)


def _field(path: Path, name: str) -> float:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0.0  # it has ended, or is another user's
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0.0)


PARTS = {
    "log": ("inference_predictionchunk", "inference_packedday"),
    "narrow rows, for seven days": ("inference_predictionrow",),
    "labels, until they are folded": ("inference_label",),
    "summaries": ("monitors_summary",),
    "points": ("monitors_metricpoint",),
}


def weigh_parts() -> dict[str, float]:
    """Weigh the parts of the database on disk, in bytes, with indexes."""
    sizes = _table_sizes()
    parts = {
        part: sum(size for table, size in sizes.items() if table.startswith(tables))
        for part, tables in PARTS.items()
    }
    return parts | {"all else": sum(sizes.values()) - sum(parts.values())}


def weigh() -> float:
    return sum(_table_sizes().values())


def _table_sizes() -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return {name: float(size) for name, size in cursor.fetchall()}


def vacuum() -> None:
    """Make room again as autovacuum does."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")


def _kb(size: float, of: int) -> str:
    return f"{size / of / 1e3:,.1f} kB"


def rows_of_tables() -> dict[str, str]:
    """Count what grows with models."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_inherits")
        (partitions,) = cursor.fetchone() or (0,)
    counted = {
        model._meta.db_table: model._base_manager.count() for model in (Summary, MetricPoint, RuleState)
    }
    return {"partitions": f"{partitions:,}"} | {name: f"{count:,}" for name, count in counted.items()}

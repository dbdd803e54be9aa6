"""A fleet of models on one node: set up, sent rows and worked for, as `fleet_bench` asks."""

import http.client
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from celery import current_app
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project, create_token
from driftline.base.clock import now
from driftline.base.ids import new_id
from driftline.base.periods import floor, rfc3339
from driftline.tasks import close_windows, sweep, tidy
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.models import PackedDay, PredictionChunk, TouchedPeriod
from inference.prediction_log.rows.sent_columns import PredictionBatch, columns_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.tasks import expire as expire_log
from inference.prediction_log.tasks import pack
from inference.registry.files import artifacts
from inference.registry.files.datasets import store_reference
from inference.registry.lineage import Lineage
from inference.registry.models import Deployment, Model, Version
from inference.registry.plan.publishing import publish
from inference.registry.services import change_tags, create_model
from inference.registry.signals import model_created
from inference.registry.versions import Contents, external_version, register
from monitors.definitions.models import FeatureProfile, Reference
from monitors.definitions.services import build_reference
from monitors.metrics.rows.ended_days import read_days
from monitors.metrics.store.models import PackedPoints, PendingEvaluation, PointName, UnreadDay
from monitors.metrics.tasks import expire as expire_summaries
from monitors.metrics.tasks import measure_model, measure_what_ended
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Rule, RuleState
from monitors.rules.tasks import judge_model
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.tasks import summarise_model
from tests.inference.onnx_models import classifier_signature, constant_classifier
from tests.pages_client import PagesClient
from tests.performance import fleet_serving
from tests.performance.installation import Installed
from tests.worlds.approvals import work as work_until_done

OFTEN: dict[str, Callable[[], None]] = {
    "sweep, every 5 s": sweep,
    "close windows, every 15 s": close_windows,
    "pack, every 30 s": pack,
}
SELDOM: dict[str, Callable[[], None]] = {
    "measure ended, every 5 minutes": measure_what_ended,
    "expire the log, every hour": expire_log,
    "expire summaries, every hour": expire_summaries,
    "tidy, every hour": tidy,
}
TICKED = 3
CHANGES = 5
PAGES = (
    "overview",
    "models",
    "incidents",
    "start",
    *(
        f"admin:{name}_changelist"
        for name in ("inference_model", "inference_version", "inference_deployment")
    ),
    *(f"admin:{name}_changelist" for name in ("monitors_packedpoints", "monitors_summary", "monitors_rule")),
)
LISTS = {
    f"models, {what}": f"/models/?{query}"
    for what, query in {
        "searched": "search=model-05",
        "by newest data": "sort=newest",
        "of a status and task": "status=not_monitored&task=binary",
        "of a tag": "tag=tenth",
        "the last page by name": "sort=name&page=20",
    }.items()
}
ASKED = 5
DAYS_LIVED = 3
MADE = 300
OBJECTIVES = {"label_lag_hours": 1, "latency_p99_ms": 50, "quality": {"metric": "accuracy", "floor": 0.6}}
LEVELS = np.array([f"level {place}" for place in range(10)])
CATEGORIES_SHARE = 0.2
REFERENCE_DAYS, REFERENCE_ROWS_A_DAY = 20, 100
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Size:
    """How much is measured: models and their features, rows a model-hour; `day_models` live through a day that is
    worked on every `pass_hours`; of the others `busy` get an hour, and workers come to `worked` of these."""

    models: int
    features: int
    rows: int
    day_models: int
    pass_hours: int
    busy: int
    worked: int


# -- what it costs -----------------------------------------------------------------------------------------------------
@dataclass
class Cost:
    """Seconds of processor time of some calls: this process's with its children's, the database's and the web
    server's; `each` holds what a call took of the first two, one number each time that it was measured."""

    calls: int = 0
    own: float = 0.0
    database: float = 0.0
    web: float = 0.0
    each: list[float] = field(default_factory=list)


@dataclass
class Meter:
    """Adds up what calls cost, by name."""

    installed: Installed
    costs: dict[str, Cost] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str, calls: int = 1) -> Iterator[None]:
        """Count what happens inside as so many calls; none stay uncounted."""
        before = self._seconds()
        yield
        if not calls:
            return
        cost = self.costs.setdefault(name, Cost())
        cost.calls += calls
        own, database, web = (end - begin for begin, end in zip(before, self._seconds(), strict=True))
        cost.own, cost.database, cost.web = cost.own + own, cost.database + database, cost.web + web
        cost.each.append((own + database) / calls)

    def _seconds(self) -> tuple[float, float, float]:
        own, database, web = os.times(), self.installed.database_pid, self.installed.server_pid
        return sum(own[:4]), _cpu_seconds(database), _cpu_seconds(web)


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
            "id": [new_id() for _ in range(n)],
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

    def promote(self, model: Model, version: str) -> None:
        """Let a version answer, and wait until every serving process has it."""
        self.reconnect()
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "If-Match": str(Deployment.objects.get(model=model).generation),
        }
        path = f"/api/v1/models/{model.name}/promote"
        self._connection.request("POST", path, json.dumps({"version": version}).encode(), headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise AssertionError(f"The promotion was answered by {response.status}: {answer[:500]!r}")

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
    a_day, together, ticked = Meter(installed), Meter(installed), Meter(installed)
    sender = Sender(installed, Traffic(size))
    originals = set_up(size, sender.traffic, a_day)
    disk = live_a_day(originals, floor(now(), "day") - DAY, size, sender, a_day)
    copies = copy_models(originals, size, together)
    present = floor(now(), "hour") - HOUR  # the hour that has just ended
    current_app.control.purge()
    for model in copies[: size.busy]:
        bodies = sender.prepare(model, [present], size.rows)
        with together.of("send an hour's rows and labels"):
            sender.send(model, *bodies)
    messages = {"an hour of a model in two bodies": f"{current_app.control.purge() / size.busy:.1f}"}
    messages |= ticks(ticked, OFTEN, "models due")
    work(copies[: size.worked], together)
    let_the_others_go(copies[size.worked :])
    messages |= ticks(ticked, OFTEN, "nothing due")
    messages |= ticks(ticked, SELDOM, "nothing due")
    shown = pages(sender, together)
    served = serve_another_version(copies, size, sender, together)
    return {
        "size": vars(size),
        "ticks": {name: format_cost(cost) for name, cost in ticked.costs.items()},
        "messages": messages,
        "pages": shown,
        "memory": {"at the start": idle, "after all": memory(installed)},
        "serving": fleet_serving.measure(size.models, size.features) | served,
        "rows": rows_of_tables(),
        "disk": disk | {"plan file": f"{(installed.paths.home / 'plan.json').stat().st_size / 1e3:,.0f} kB"},
        "costs": {
            title: {name: vars(cost) for name, cost in meter.costs.items()}
            for title, meter in (("a model's day", a_day), ("the fleet", together))
        },
    }


def measure_models(installed: Installed, size: Size) -> dict[str, Any]:
    """Make the models without a web server, give them what one of them has, and look at pages; what was found."""
    meter = Meter(installed)
    project = create_project(
        slug="default", name="Default", owner=User.objects.create_user("bench@example.com")
    )
    create_token(project=project, name="bench", scopes=["infer"], actor="bench")
    original = live_here(_create(project, "original"), size)
    create_served(project, min(size.models - 1, MADE), size.features, meter)
    fill_up(project, size.models)
    copies = give_copies(original.versions.get())
    change_tags(models=copies[::10], add=["tenth"], actor="bench")
    return {
        "size": vars(size),
        "pages": look(meter, ("overview", "models", "incidents")),
        "rows": rows_of_tables(),
        "disk": {
            path.name: f"{path.stat().st_size / 1e3:,.0f} kB"
            for path in installed.paths.home.glob("plan*.json*")
        },
        "costs": {"the fleet": {name: vars(cost) for name, cost in meter.costs.items()}},
    }


def make_copies_of_one(size: Size) -> None:
    """Make a project of models that have the points and rules of the first one, and serve nothing."""
    owner = User.objects.create_user("bench@example.com")
    project = create_project(slug="default", name="Default", owner=owner)
    original = live_here(_create(project, "original"), size)
    fill_up(project, size.models)
    give_copies(original.versions.get())


def fill_up(project: Project, number: int) -> None:
    """Add plain rows of models until the project has so many: making more would show what making some shows."""
    first = project.models.count()
    made = Model.objects.bulk_create(
        Model(project=project, name=f"model-{place:04}", task="binary", objectives=OBJECTIVES)
        for place in range(first, number)
    )
    Deployment.objects.bulk_create(Deployment(model=model) for model in made)
    for model in made:
        model_created.send(sender=Model, model=model)


def live_here(model: Model, size: Size) -> Model:
    """Give a model a reference, default rules and some days of labelled rows, without a web server."""
    traffic, first = Traffic(size), floor(now(), "day") - (REFERENCE_DAYS + DAYS_LIVED) * DAY
    for days, rows in ((REFERENCE_DAYS, REFERENCE_ROWS_A_DAY), (DAYS_LIVED, 24 * size.rows)):
        starts = [first + DAY * number for number in range(days)]
        columns = traffic.columns(model, starts, rows)
        table = pa.table(columns | {"label": traffic.truths(columns), "version": ["1"] * (days * rows)})
        if days == REFERENCE_DAYS:
            sink = io.BytesIO()
            pq.write_table(table.drop_columns(["version"]), sink)
            sink.seek(0)
            kind = "application/vnd.apache.parquet"
            store_reference(model=model, version="1", stream=sink, content_type=kind, actor="bench")
            build_reference(Reference.objects.get(model=model).pk)
            add_default_rules(project=model.project, model=model, actor="bench")
        else:
            log_here(model, table)
        first += DAY * days
    work_until_done(model)
    return model


def log_here(model: Model, table: pa.Table) -> None:
    """Log rows and their labels as the API does once it has read them."""
    plain = ("id", "timestamp", "prediction", "probability", "label", "version")
    rows = [
        SentPrediction(
            id=row["id"], timestamp=rfc3339(row["timestamp"]), version="1", prediction=row["prediction"],
            probabilities=row["probability"], latency_ms=3.0,
            features={name: value for name, value in row.items() if name not in plain},
        )
        for row in table.to_pylist()
    ]  # fmt: skip
    found = log_predictions(model=model, batch=PredictionBatch(columns_of(rows, task=model.task)), now=now())
    labels = [
        LabelItem(id=row["id"], label=row["label"], timestamp=row["timestamp"]) for row in table.to_pylist()
    ]
    log_labels(model=model, items=labels, source="bench", now=now())
    if found.accepted != len(rows):
        raise AssertionError(f"{found.accepted} of {len(rows)} rows were logged.")


def format_cost(cost: Cost) -> str:
    """Write the least, the median and the most of what calls took."""
    return f"{min(cost.each) * 1e3:,.0f} / {median(cost.each) * 1e3:,.0f} / {max(cost.each) * 1e3:,.0f} ms"


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
    numbers = {
        f"a model-day: {part}": _kb(weight - before[part], len(models))
        for part, weight in weigh_parts().items()
    }
    for model in models:  # an event of the last hour closes it, and labels are ripe
        sender.send(model, *sender.prepare(model, [floor(now(), "hour") - HOUR], 1))
    work(models, meter, "of one row")
    with meter.of("compare a day in all columns together", len(models)):
        for model in models:
            read_days(model.pk)
    if UnreadDay.objects.ended(now()).exists():
        raise AssertionError("Days were left uncompared.")
    return numbers


# -- creating ----------------------------------------------------------------------------------------------------------
def measure_creating(installed: Installed, size: Size) -> dict[str, Any]:
    """Create the models alone, let other versions answer for some, run ticks and look at pages; what was found."""
    meter, ticked, sender = Meter(installed), Meter(installed), Sender(installed, Traffic(size))
    models = create_served(Project.objects.get(slug="default"), size.models, size.features, meter)
    messages = ticks(ticked, OFTEN | SELDOM, "nothing due")
    return {
        "size": vars(size),
        "ticks": {name: format_cost(cost) for name, cost in ticked.costs.items()},
        "messages": messages,
        "serving": serve_another_version(models, size, sender, meter),
        "pages": pages(sender, meter),
        "memory": {"after all": memory(installed)},
        "costs": {"the fleet": {name: vars(cost) for name, cost in meter.costs.items()}},
    }


def create_served(project: Project, number: int, features: int, meter: Meter) -> list[Model]:
    """Create models that each serve an ONNX file of their own.

    The sandbox that examines an upload is left out: its cost is the same for each.
    """
    models = []
    for place in range(number):
        first = place // 100 * 100
        with meter.of(f"create a model that serves, {first:,} to {first + 99:,}"):
            models.append(_create(project, f"model-{place:04}"))
            serve(models[-1], "served", features)
    with meter.of("publish the plan"):
        publish()
    return models


def serve(model: Model, version: str, features: int) -> None:
    """Register an ONNX file that no other version holds."""
    content = constant_classifier(0.5 + Version.objects.count() / 1e6, features)
    with artifacts.receive(settings.HOME, io.BytesIO(content)) as arrived:
        stored = arrived.keep()
    contents = Contents(
        identity={
            "sha256": stored.sha256,
            "signature": msgspec.to_builtins(classifier_signature(features)),
            "execution_provider": "cpu",
        },
        details={"size": stored.size, "path": stored.path},
        audited={"sha256": stored.sha256},
    )
    register(model=model, name=version, contents=contents, lineage=Lineage(), actor="bench")


def serve_another_version(models: list[Model], size: Size, sender: Sender, meter: Meter) -> dict[str, str]:
    """Let other versions answer for some models, one after another; how long until every process serves one."""
    waited = []
    for model in models[:CHANGES]:
        serve(model, "another", size.features)
        began = time.monotonic()
        with meter.of("promote a version, until it is served"):
            sender.promote(model, "another")
        waited.append(time.monotonic() - began)
    numbers = f"{min(waited):.2f} / {median(waited):.2f} / {max(waited):.2f} s of wall time on a busy machine"
    return {"promotion over HTTP until every process serves it": numbers}


# -- copies ------------------------------------------------------------------------------------------------------------
COPIED: dict[type[Any], str] = {
    FeatureProfile: "true",
    Reference: "true",
    Rule: "true",
    PackedDay: "true",
    PointName: "true",
    PackedPoints: "ripe_at IS NULL",  # those would be measured again, from summaries that are not there
    Summary: "span <> 'hour'",
}


def copy_models(originals: list[Model], size: Size, meter: Meter) -> list[Model]:
    """Fill the fleet up with models that have what the first original has, but for its rows and hourly summaries.

    Each serves a file of its own too.
    """
    project, template = originals[0].project, originals[0].versions.get()
    create_served(project, size.models - len(originals), size.features, meter)
    return give_copies(template)


def give_copies(template: Version) -> list[Model]:
    """Give what a version's model has to every other model of its project."""
    copies = list(template.model.project.models.filter(name__startswith="model-").order_by("pk"))
    versions = [external_version(model=model, version="1") for model in copies]
    Version.objects.filter(pk__in=[version.pk for version in versions]).update(signature=template.signature)
    for model, condition in COPIED.items():
        _copy(model, template, condition)
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
            f"inference_version v WHERE t.model_id = %s AND {condition} AND v.version = '1' AND v.model_id IN "
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


def ticks(meter: Meter, clock: Mapping[str, Callable[[], None]], when: str) -> dict[str, str]:
    """Run ticks of the clock some times; return how many messages each sent."""
    numbers = {}
    for name, tick in clock.items():
        current_app.control.purge()
        for _ in range(TICKED):
            with meter.of(f"{name}, {when}"):
                tick()
        numbers[f"{name}, {when}"] = f"{current_app.control.purge() / TICKED:,.0f}"
    return numbers


def let_the_others_go(models: list[Model]) -> None:
    """Forget the work that waits for models that workers do not come to here."""
    for rows in (TouchedPeriod, StaleWindow, PendingEvaluation):
        rows._base_manager.filter(model__in=models).delete()


# -- pages -------------------------------------------------------------------------------------------------------------
def pages(sender: Sender, meter: Meter) -> dict[str, str]:
    """Ask for what shows the whole fleet, the API too: queries, size and time."""
    numbers = look(meter, PAGES)
    sender.reconnect()
    for path in ("/metrics", "/api/v1/models"):
        with meter.of(f"GET {path}"):
            numbers[path] = f"{len(sender.get(path)) / 1e3:,.0f} kB"
    return numbers


def look(meter: Meter, names: Sequence[str]) -> dict[str, str]:
    """Look at the pages that show the whole fleet."""
    visitor = PagesClient(HTTP_HOST="localhost")
    visitor.force_login(User.objects.get())
    numbers = {}
    for name, path in ({name: reverse(name) for name in names} | LISTS).items():
        visitor.get(path)  # the first time templates are compiled
        with CaptureQueriesContext(connection) as queries:
            answer = visitor.get(path)
        asked = len(queries)  # the next request forgets them
        if answer.status_code != 200:
            raise AssertionError(f"The page {name} was answered by {answer.status_code}.")
        took = []
        with meter.of(f"page: {name}", ASKED):
            for _ in range(ASKED):
                began = time.monotonic()
                visitor.get(path)
                took.append((time.monotonic() - began) * 1e3)
        numbers[name] = (
            f"{asked:,} queries, {len(answer.content) / 1e3:,.0f} kB, "
            f"{min(took):,.0f} / {median(took):,.0f} ms of wall time (least, median of {ASKED})"
        )
    return numbers


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
    "points": ("monitors_packedpoints", "monitors_pointname", "monitors_pointlimits"),
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
        model._meta.db_table: model._base_manager.count() for model in (Summary, PackedPoints, RuleState)
    }
    return {"partitions": f"{partitions:,}"} | {name: f"{count:,}" for name, count in counted.items()}

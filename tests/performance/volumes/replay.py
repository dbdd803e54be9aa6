"""Replays a stream through the product's own path and reads from the database what it made of it.

Rows become summaries by the functions that summarise the log; the log itself is left out, as fifty thousand rows a day
would measure nothing but it. Days come in pieces, as an import brings them, and their labels two days later.
"""

import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.db import connection, transaction

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.periods import STEPS, end_of, to_us
from inference.prediction_log.labels.services import lock_summaries
from inference.prediction_log.models import PredictionRole, SummedDay
from inference.prediction_log.queries.frames import LogFrame
from inference.registry.files.datasets import store_reference
from inference.registry.models import RowsKept
from inference.registry.services import create_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.definitions.models import MonitorKind, Reference
from monitors.definitions.services import build_reference
from monitors.metrics.catalogue import METRICS
from monitors.metrics.services import measure
from monitors.metrics.store.models import MetricPoint, PointStatus
from monitors.rules.defaults import add_default_rules
from monitors.rules.judging.judge import judge
from monitors.rules.models import Transition
from monitors.summaries.changes import apply_change
from monitors.summaries.from_rows import RowDefinitions, RowsOfVersion, hours_of, labels_by_hour, rows_by_hour
from monitors.summaries.services import measure_hours
from tests.performance.volumes.notices import NoticedProblem, noticed
from tests.performance.volumes.worlds import BROKEN_FROM, DAYS, LABEL_DAYS, Traffic, TrafficDay

LABEL_LAG = timedelta(days=3)
MAX_REFERENCE_ROWS = 40_000
DAYS_A_PIECE = 15
_DAY = timedelta(days=1)


def first_day() -> datetime:
    """Return a Friday from which all days lie in the past."""
    friday = date.today() - timedelta(days=DAYS + 30)
    friday -= timedelta(days=(friday.weekday() - 4) % 7)
    return datetime(friday.year, friday.month, friday.day, tzinfo=UTC)


def objectives_of(traffic: Traffic) -> dict[str, Any]:
    """Return what the owner of a model with such traffic declares."""
    quality = {"quality": {"metric": "roc_auc", "floor": traffic.floor}} if traffic.floor else {}
    return {"label_lag_hours": LABEL_LAG / timedelta(hours=1), **quality}


class StreamReplay:
    """A model that is given a stream, and what was noticed."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic, self.start = traffic, first_day()
        self.reference = traffic.reference(MAX_REFERENCE_ROWS)
        project = Project.objects.create(slug="volumes", name="Volumes")
        self.model = create_model(
            project=project, name="traffic", task="binary", actor="bench", objectives=objectives_of(traffic),
            rows_kept=RowsKept.NONE,
        )  # fmt: skip
        self._give_reference()
        add_default_rules(project=project, model=self.model, actor="bench")
        version = self.model.versions.get(version="1")
        self.source = RowsOfVersion(
            self.model, version, PredictionRole.CHAMPION, RowDefinitions.of(self.model)
        )
        self.days = 0
        self._unlabelled: list[TrafficDay] = []

    def _give_reference(self) -> None:
        days = [day for day in self.reference if len(day)]
        columns: dict[str, Any] = {
            name: np.concatenate([day.features[name] for day in days]) for name in days[0].features
        }
        score = np.concatenate([day.score for day in days])
        columns |= {
            "probability": score,
            "prediction": _classes(score >= 0.5),
            "label": _classes(np.concatenate([day.labels for day in days])),
            "timestamp": pa.array(
                np.concatenate([self._times_us(day) for day in days]), pa.timestamp("us", tz="UTC")
            ),
        }
        content = io.BytesIO()
        pq.write_table(pa.table(columns), content)
        content.seek(0)
        store_reference(
            model=self.model, version="1", stream=content, content_type="application/vnd.apache.parquet", actor="bench"
        )  # fmt: skip
        build_reference(Reference.objects.get(model=self.model).pk)

    def run(self, days: int) -> list[NoticedProblem]:
        """Replay so many days and return the incidents, oldest first.

        Of a fault nothing is replayed after the piece in which it was noticed, or in which it is too late for that.
        """
        usual, fault = self.traffic.usual(self.reference), self.traffic.fault
        incidents: list[NoticedProblem] = []
        for first in range(0, days, DAYS_A_PIECE):
            end = min(first + DAYS_A_PIECE, days)
            piece = [self.traffic.day(number, usual) for number in range(first, end)]
            self.days = end
            self._feed(piece, labelled_before=end - LABEL_DAYS)
            self._work()
            incidents = self._incidents()
            if fault is not None and (noticed(fault, incidents) or end > BROKEN_FROM + fault.within_days):
                break
        return incidents

    def _incidents(self) -> list[NoticedProblem]:
        opened = (
            Incident.objects.filter(model=self.model)
            .select_related("lead__rule", "lead__model")
            .order_by("pk")
        )
        return [problem_of(incident, self.start) for incident in opened]

    def _feed(self, piece: Sequence[TrafficDay], labelled_before: int) -> None:
        """Summarise some days; of the last ones the labels come with the next piece."""
        with transaction.atomic():
            lock_summaries(self.model.pk)
            for day in self._unlabelled:
                self._add_labels(day)
            self._unlabelled = []
            for day in piece:
                comes_later = day.labels_come and day.number >= labelled_before
                if len(day):
                    self._add_rows(day, with_labels=day.labels_come and not comes_later)
                    self._unlabelled += [day] if comes_later else []

    def _add_rows(self, day: TrafficDay, *, with_labels: bool) -> None:
        frame = self._frame(day, with_labels=with_labels)
        finest = {self._date(day): ("hour", self._date(day))}
        apply_change(self.source, finest, added=rows_by_hour(self.source, frame, {}))
        measure_hours(model_id=self.model.pk, hours=hours_of(frame))
        first, last = (self._date(day) + timedelta(seconds=float(day.seconds[place])) for place in (0, -1))
        stored = now()
        SummedDay.objects.create(
            model=self.model, version=self.source.version, role=PredictionRole.CHAMPION, day=first.date(),
            week=(stored - timedelta(days=stored.weekday())).date(), rows=len(day), start=first, end=last,
            created_at=stored, end_stored_at=stored,
        )  # fmt: skip

    def _add_labels(self, day: TrafficDay) -> None:
        frame = self._frame(day, with_labels=True)
        hours = hours_of(frame)
        added = labels_by_hour(self.source, frame, {hour: {""} for hour in hours})
        apply_change(self.source, {self._date(day): ("hour", self._date(day))}, added=added)
        measure_hours(model_id=self.model.pk, hours=hours)

    def _work(self) -> None:
        """Do what the workers would do, until nothing is due."""
        while measure(self.model.pk) or judge(self.model.pk):
            pass
        for key in Transition.objects.filter(alerts_done_at=None).order_by("pk").values_list("pk", flat=True):
            handle_transition(key)

    def _frame(self, day: TrafficDay, *, with_labels: bool) -> LogFrame:
        """Write a day's rows as the log gives them back."""
        rows, times_us = len(day), self._times_us(day)
        lag_us = LABEL_DAYS * 86_400_000_000
        return LogFrame(
            ids=np.arange(rows).astype(object),
            times_us=times_us,
            version_ids=np.full(rows, self.source.version.pk),
            latency_us=np.full(rows, 2_000.0),
            features=day.features,
            prediction=_classes(day.score >= 0.5),
            probability=day.score,
            label=_classes(day.labels) if with_labels else np.full(rows, None, object),
            label_time_us=times_us + lag_us if with_labels else np.zeros(rows, np.int64),
        )

    def _date(self, day: TrafficDay) -> datetime:
        return self.start + day.number * _DAY

    def _times_us(self, day: TrafficDay) -> np.ndarray:
        times: np.ndarray = to_us(self._date(day)) + (day.seconds * 1e6).astype(np.int64)
        return times

    def judged_span(self) -> str:
        """Return the span of the windows in which drift was judged most often, but rolling ones; else the week."""
        judged = MetricPoint.objects.filter(metric="drifted_features", value__isnull=False).exclude(
            status=PointStatus.INSUFFICIENT
        )
        counts = Counter(judged.values_list("span", flat=True))
        span = counts.most_common(1)[0][0] if counts else ""
        return span if span in STEPS else "week"


def _classes(positive: np.ndarray) -> np.ndarray:
    return np.where(positive, "1", "0").astype(object)


def problem_of(incident: Incident, start: datetime) -> NoticedProblem:
    """Say when an incident opened; a metric of labels is judged when they have had their time."""
    rule = incident.rule
    is_late = METRICS[rule.metric].kind == MonitorKind.PERFORMANCE
    opened = incident.opened_at + (LABEL_LAG if is_late else timedelta(0))
    return NoticedProblem(
        rule.name,
        rule.metric,
        day=(opened - start) / _DAY,
        began=(end_of(incident.since, rule.judged_span) - start) / _DAY,
        causes=[str(cause.get("feature") or cause.get("segment")) for cause in incident.causes[:2]],
    )


def forget_everything() -> None:
    """Empty the database of this process for the next stream."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_project CASCADE")

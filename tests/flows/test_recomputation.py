"""What is stored after any order of arrival is what a plain look at the final rows says."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from driftline.base.accounts.models import Project
from driftline.base.periods import parse_timestamp, rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.models import Reference
from monitors.definitions.segments import set_segments
from monitors.definitions.services import build_reference
from monitors.metrics.catalogue import ESTIMATED, EVIDENCE_METRICS, JOINT_METRICS
from monitors.metrics.store.models import MetricPoint
from tests.flows.plain_metrics import Key, Plain, Row
from tests.worlds.approvals import DAY, give_reference, label, rows_of_a_day, send, work
from tests.worlds.summaries import broken_invariants

pytestmark = pytest.mark.slow

CLASSES = {"binary": ("0", "1"), "multiclass": ("ant", "bee", "cat"), "regression": ()}
LAGS_S = (60, 600, 3_600)
# Of draws, of other points, or of rows of one request: these have tests of their own.
NOT_OF_ROWS = {
    *ESTIMATED, *EVIDENCE_METRICS, *JOINT_METRICS, "drifted_features", "faulty_features", "error_rate",
    "shadow_drop_rate", "freshness", "volume_ratio", "silence",
}  # fmt: skip


def test_a_value_that_a_late_row_made_a_repeated_one_is_a_fault_of_its_own_day(
    project: Project, model: Model
) -> None:
    give_reference(model)
    next_day = DAY + timedelta(days=1)

    def odd_row(day: datetime) -> list[SentPrediction]:
        [row] = rows_of_a_day(day, 1, seed=7)
        return [msgspec.structs.replace(row, id=f"odd {day}", features=row.features | {"income": 1e6})]

    def faulty() -> float | None:
        points = MetricPoint.objects.filter(model=model, metric="faulty_features", span="day", version="")
        return points.get(start=next_day, role="champion").value

    for day in (DAY, next_day, next_day + timedelta(days=1)):
        send(model, rows_of_a_day(day, 60))
    send(model, odd_row(next_day))
    work(model)
    before = faulty()

    send(model, odd_row(DAY))
    work(model)

    assert (before, faulty()) == (0.0, 1.0)


@pytest.fixture
def models(project: Project, home: Path) -> Callable[[str], Model]:
    """Make models whose versions have a reference, with a segment feature."""

    def make(task: str) -> Model:
        model = create_model(
            project=project, name=f"{task}-{Model.objects.count()}", task=task, actor="test",
            objectives={"label_lag_hours": 0},
        )  # fmt: skip
        model.monitors.update(min_rows=1)  # of fewer rows than that little is measured
        set_segments(model=model, features=["region"], actor="test")
        for version in ("1", "2", "3") if task == "multiclass" else ("1",):  # classes are learnt from it
            stream = _csv(reference_of(task), task)
            store_reference(
                model=model, version=version, stream=stream, content_type="text/csv", actor="test"
            )
            build_reference(Reference.objects.get(model=model, version__version=version).pk)
        return model

    return make


def draw_rows(task: str, n: int, *, seed: int, shift: float = 0.0) -> list[Row]:
    """Draw labelled rows whose values lie far enough apart for cells of their own: what is compared is exact then."""
    rng = np.random.default_rng([seed, len(task)])
    return [_draw_row(task, number, rng, shift) for number in range(n)]


def _draw_row(task: str, number: int, rng: np.random.Generator, shift: float) -> Row:
    classes = CLASSES[task]
    probability: float | tuple[float, ...] | None = None
    if task == "binary":
        probability = int(rng.integers(1, 20)) / 20
        prediction, truth = classes[int(probability >= 0.5)], str(rng.choice(classes))
    elif task == "multiclass":
        probability = tuple(rng.permutation([0.6, 0.3, 0.1] if number % 2 else [0.5, 0.25, 0.25]).tolist())
        prediction, truth = classes[int(np.argmax(probability))], str(rng.choice(classes))
    else:
        prediction, truth = (float(rng.integers(-8, 9)) / 2 for _ in range(2))
    time = DAY + timedelta(minutes=int(rng.integers(0, 120))) + timedelta(days=int(number % 4 == 3))
    return Row(
        time=time,
        version="3" if number % 5 == 4 else "1",  # a champion before it
        role="champion",
        income=None if number % 7 == 6 else float(rng.integers(-20, 21) + shift),
        region=[None, "west"][number % 2] if number % 9 == 8 else str(rng.choice(["north", "south"])),
        prediction=prediction,
        probability=probability,
        latency_ms=float(rng.choice([1.0, 2.0, 5.0, 9.0])),
        label=truth,
        label_time=time + timedelta(seconds=int(rng.choice(LAGS_S))),
    )


def reference_of(task: str) -> list[Row]:
    return [row for row in draw_rows(task, 150, seed=1) if row.region != "west"]


def _csv(rows: list[Row], task: str) -> BytesIO:
    classes = CLASSES[task]
    scores = {"binary": ["probability"], "multiclass": [f"probability_{name}" for name in classes]}
    lines = [",".join(["income,region,label,prediction,timestamp", *scores.get(task, [])])]
    for row in rows:
        p = row.probability if isinstance(row.probability, tuple) else [row.probability]
        cells = [row.income, row.region, row.label, row.prediction, rfc3339(row.time - timedelta(days=30))]
        lines.append(",".join("" if cell is None else str(cell) for cell in (*cells, *p[: len(classes)])))
    return BytesIO("\n".join(lines).encode())


def sent(row: Row, name: str, task: str) -> SentPrediction:
    p = row.probability
    return SentPrediction(
        id=name, timestamp=rfc3339(row.time), version=row.version, role=row.role,
        features={"income": row.income, "region": row.region}, prediction=row.prediction,
        probabilities=dict(zip(CLASSES[task], p, strict=True)) if isinstance(p, tuple) else p,
        latency_ms=row.latency_ms,
    )  # fmt: skip


def events_of(rows: list[Row], task: str) -> list[SentPrediction | LabelItem]:
    """Predictions, some with a shadow's copy, sent twice, or again with another income; labels, some never right."""
    events: list[SentPrediction | LabelItem] = []
    for number, row in enumerate(rows):
        name, another = f"r{number}", rows[number - 1]
        prediction = sent(row, name, task)
        events.append(prediction)
        if number % 3 == 0:
            copied = {"version": "2", "role": "shadow", "latency_ms": another.latency_ms}
            copy = dataclasses.replace(
                row, prediction=another.prediction, probability=another.probability, **copied
            )
            events += [sent(copy, name, task), prediction]
        if number % 5 == 0:
            events.append(
                msgspec.structs.replace(prediction, features={**prediction.features, "income": 35.0})
            )
        if number % 4:
            events.append(LabelItem(id=name, label=row.label, timestamp=row.label_time))
        if number % 6 == 1:
            later = row.label_time + timedelta(seconds=900)
            events.append(LabelItem(id=name, label=another.label, timestamp=later))
    return events


def final_rows(arrived: list[SentPrediction | LabelItem]) -> list[Row]:
    """What holds in the end: the first body of each prediction and copy, the last label that said something new."""
    predictions: dict[tuple[str, str], SentPrediction] = {}
    labels: dict[str, LabelItem] = {}
    for event in arrived:
        if isinstance(event, SentPrediction):
            predictions.setdefault((event.id, event.version), event)
        elif event.id not in labels or labels[event.id].label != event.label:
            labels[event.id] = event
    return [_final(prediction, labels.get(id_)) for (id_, _), prediction in predictions.items()]


def _final(prediction: SentPrediction, told: LabelItem | None) -> Row:
    p = prediction.probabilities
    return Row(
        time=parse_timestamp(prediction.timestamp), version=prediction.version, role=prediction.role,
        income=prediction.features["income"], region=prediction.features["region"],
        prediction=prediction.prediction, probability=tuple(p.values()) if isinstance(p, dict) else p,
        latency_ms=prediction.latency_ms,
        label=told and told.label, label_time=told and told.timestamp,
    )  # fmt: skip


def stored(model: Model) -> dict[Key, float | None]:
    points = MetricPoint.objects.filter(model=model)
    return {
        (point.metric, point.span, point.start, point.role, point.version, point.segment, point.feature): point.value
        for point in points
        if point.metric not in NOT_OF_ROWS and not point.metric.endswith("_gap")
        if point.value != 0 or point.metric != "count"  # hours without a row
    }  # fmt: skip


# A failure prints what arrived; to shrink it would take minutes.
@pytest.mark.parametrize("task", CLASSES)
@settings(
    max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(data=st.data())
def test_every_point_is_what_a_plain_look_at_the_final_rows_says(
    data: st.DataObject, task: str, models: Callable[[str], Model]
) -> None:
    model = models(task)
    rows = draw_rows(task, 40, seed=data.draw(st.integers(0, 99)), shift=data.draw(st.sampled_from([0, 6])))
    arrived = data.draw(st.permutations(events_of(rows, task)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(arrived) - 1), min_size=2, max_size=4)))

    for start, end in pairwise([0, *cuts, len(arrived)]):
        send(model, [event for event in arrived[start:end] if isinstance(event, SentPrediction)])
        label(model, [event for event in arrived[start:end] if isinstance(event, LabelItem)])
        work(model)

    expected, found = (
        Plain(task, CLASSES[task], reference_of(task)).points(final_rows(arrived)),
        stored(model),
    )
    assert found.keys() == expected.keys()
    assert {key: value for key, value in found.items() if value is not None} == pytest.approx(
        {key: value for key, value in expected.items() if value is not None}, rel=1e-5, abs=1e-6
    )
    assert not model.touched_periods.exists()
    assert broken_invariants() == []

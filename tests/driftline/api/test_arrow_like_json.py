"""Whatever predictions are sent, as columns or as JSON, the answers and the log are the same."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.models import PredictionChunk, PredictionRow
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.driftline.api.arrow_streams import STREAM, as_stream
from tests.driftline.api.conftest import Api

pytestmark = pytest.mark.slow

START = now() - timedelta(hours=1)
PLAIN = ("id", "timestamp", "version", "prediction", "latency_ms", "role", "subject")
FEATURES = ("age", "carrier")
numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([-0.0, 0.1, 1e300])
sent = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c", "longer", "é", "飛行"]),
        "timestamp": st.integers(0, 3_000_000).map(lambda ms: rfc3339(START + timedelta(milliseconds=ms))),
        "version": st.sampled_from(["1", "2"]),
        "features": st.fixed_dictionaries(
            {"age": st.none() | numbers, "carrier": st.none() | st.text("xyé", max_size=3)}
        ),
        "prediction": st.sampled_from(["0", "1", "é"]),
    },
    optional={
        "latency_ms": st.floats(0, 1000, width=32),
        "role": st.sampled_from(["champion", "shadow"]),
        "subject": st.sampled_from(["someone", "née"]),
    },
)


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [row.get(name) for row in rows] for name in PLAIN}
    columns |= {name: [row["features"][name] for row in rows] for name in FEATURES}
    return pa.table(columns)


def log_of(model: Model) -> tuple[list[Any], list[str]]:
    """Give a model's narrow rows and the columns of its chunks, but for the moment at which they came."""
    rows = PredictionRow.objects.filter(model=model).order_by("prediction_id", "version__version", "role")
    chunks = PredictionChunk.objects.filter(model=model).order_by("version__version", "role", "day")
    tables = [pa.ipc.open_stream(chunk.payload).read_all() for chunk in chunks]
    columns = [
        f"{name} {table[name].type} {table[name].to_pylist()}"  # as text NaN is NaN, and 0.0 is not -0.0
        for table in tables
        for name in sorted(set(table.column_names) - {"received"})
    ]
    told = ("prediction_id", "client_id", "version__version", "role", "event_time", "body_hash")
    return list(rows.values_list(*told)), columns


@pytest.fixture
def copies(api: Api, flights: Model) -> Model:
    return create_model(project=api.project, name="copies", task=flights.task, actor="test")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(sent, min_size=1, max_size=6))
def test_columns_leave_the_log_that_json_leaves(
    rows: list[dict[str, Any]], api: Api, flights: Model, copies: Model
) -> None:
    for kept in (PredictionRow, PredictionChunk):
        kept.objects.all().delete()  # of other examples

    as_json = api.post("/models/flights/predictions", {"predictions": rows}).json()
    as_columns = api.post("/models/copies/predictions", as_stream(as_table(rows)), content_type=STREAM).json()

    assert as_columns == as_json
    assert as_json["accepted"] > 0
    assert log_of(copies) == log_of(flights)

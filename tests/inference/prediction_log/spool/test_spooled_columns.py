"""Micro-batches that are read together give what each of them alone would give."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given

from inference.prediction_log.ingest.store import _alike
from inference.prediction_log.rows.columns import LogColumns, concatenate, from_batches, shape_of
from inference.prediction_log.spool.record import (
    FeatureColumn,
    FeatureTable,
    LoggedBatch,
    decode_record,
    encode_record,
)
from inference.signatures import Feature, Signature, TensorSpec

pytestmark = pytest.mark.slow

SIGNATURE = Signature(
    features=[Feature("a", "float"), Feature("b", "float")],
    inputs=[TensorSpec("X", "FP32", [-1, 2])],
    outputs=[TensorSpec("label", "INT64", [-1])],
    prediction_output="label",
    probabilities_output=None,
    classes=["0", "1"],
    positive_class="1",
    missing={},
    task="binary",
)


@st.composite
def batches(draw: st.DrawFn) -> LoggedBatch:
    n, number = draw(st.integers(1, 3)), draw(st.integers(0, 9))
    rng = np.random.default_rng(number)
    features: Any = FeatureTable(["a", "b"], "f4", rng.random((n, 2)).astype("<f4").tobytes())
    if draw(st.booleans()):
        texts = FeatureColumn("b", "s", [None if number % 2 else "x"] * n)
        features = [FeatureColumn("a", "f8", rng.random(n).tobytes()), texts]
        if draw(st.booleans()):
            vectors = rng.random((n, draw(st.sampled_from([3, 20])))).astype("<f4")
            features.append(FeatureColumn("v", "v4", vectors.tobytes()))
    has_texts = draw(st.booleans())
    return LoggedBatch(
        model_id=1, version_id=draw(st.sampled_from([1, 2])), role="champion", generation=1,
        ids=[f"{number}-{place}" for place in range(n)], client_ids=["c", None, "d"][:n] if has_texts else None,
        keyed=False, event_time_us=[number + place for place in range(n)], received_us=number,
        latency_us=[5] * n, features=features, prediction=["1"] * n,
        probabilities=rng.random((n, 2)).astype("<f4").tobytes() if draw(st.booleans()) else None,
        subjects=None, tags=[{"k": "v"}] * n if has_texts else None,
        thumbnails=[b"png", None, b"other"][:n] if draw(st.booleans()) else None,
    )  # fmt: skip


def listed(columns: LogColumns) -> list[Any]:
    plain = (columns.ids, columns.times_us, columns.received_us, columns.latency_us, columns.client_ids)
    more = (columns.subjects, columns.tags, columns.prediction, columns.body_hash, columns.thumbnails)
    probability = None if columns.probability is None else columns.probability.tolist()
    features = {name: (values.dtype.kind, values.tolist()) for name, values in columns.features.items()}
    return [*(column.tolist() for column in (*plain, *more)), probability, features]


@given(st.lists(batches(), min_size=1, max_size=6))
def test_runs_of_one_shape_read_as_their_batches_do(logged: list[LoggedBatch]) -> None:
    for run in _alike(logged):
        together = from_batches(run, SIGNATURE)
        alone = concatenate([from_batches([batch], SIGNATURE) for batch in run])
        assert listed(together) == listed(alone)


@given(st.lists(batches(), max_size=6))
def test_runs_keep_the_order_of_each_version_and_hold_one_shape(logged: list[LoggedBatch]) -> None:
    runs = _alike(logged)

    for version in (1, 2):
        kept = [batch for run in runs for batch in run if batch.version_id == version]
        assert kept == [batch for batch in logged if batch.version_id == version]
    assert all(len({(batch.version_id, shape_of(batch)) for batch in run}) == 1 for run in runs)


@given(batches())
def test_a_record_of_before_thumbnails_has_none(logged: LoggedBatch) -> None:
    *before, _ = msgspec.msgpack.decode(encode_record(logged))

    found = decode_record(msgspec.msgpack.encode(before))

    assert found == msgspec.structs.replace(logged, thumbnails=None)

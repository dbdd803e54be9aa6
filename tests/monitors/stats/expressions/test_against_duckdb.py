"""Metrics equal what DuckDB computes from the same rows; DRIFTLINE_TEST_EXPRESSIONS says how many are tried."""

import os

import duckdb
import pyarrow as pa
import pytest

from monitors.stats.expressions.checking import check_metric
from monitors.stats.expressions.estimates import estimate_metric
from monitors.stats.expressions.parsing import parse_metric
from tests.monitors.stats.expressions.random_metrics import COLUMNS, MetricWriter, sums_in_parts, table

pytestmark = pytest.mark.slow

TRIED = int(os.environ.get("DRIFTLINE_TEST_EXPRESSIONS", "60"))
TOLERANCE = 1e-12  # of the sum of absolute values: what the order of adding up may move a sum by


@pytest.mark.parametrize("seed", range(3))
def test_values_and_counts_are_those_of_the_same_question_in_sql(seed: int) -> None:
    columns, writer, database = table(seed), MetricWriter(seed), duckdb.connect()
    rows = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    database.register("rows", rows)
    differing = []

    for _ in range(-(-TRIED // 3)):
        asked = writer.metric()
        metric = parse_metric(asked.text)
        check_metric(metric, COLUMNS)
        ours = estimate_metric(metric, sums_in_parts(metric, columns), hours=1.0)
        value, count, scale = (
            database.execute(sql).fetchall()[0][0] for sql in (asked.value, asked.count, asked.scale)
        )
        is_equal = (
            ours.value is None
            if value is None
            else ours.value is not None
            and (
                abs(ours.value - float(value))
                <= TOLERANCE * max(float(scale or 0.0), abs(float(value)), 1e-300)
            )
        )
        if not is_equal or ours.n != count:
            differing.append((asked.text, ours.value, value, ours.n, count))

    assert differing == []

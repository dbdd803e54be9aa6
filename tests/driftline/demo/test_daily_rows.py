"""Rows dealt to days, the ids of their requests, and what a request says of them."""

from datetime import UTC, datetime, timedelta

import orjson
import pandas as pd
import pytest

from driftline.demo.daily_rows import DAY, DailyDraws
from driftline.demo.inference_request import ModelInputs

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def draws() -> DailyDraws:
    return draw()


def draw() -> DailyDraws:
    return DailyDraws(
        pd.DataFrame({"label": range(1_000)}), first=FIRST, rows_a_day=100, label_lag=2 * HOUR, seed=1
    )


def test_a_day_has_the_same_rows_in_every_replay_however_it_is_cut(draws: DailyDraws) -> None:
    again = draw()

    whole = draws.between(FIRST, FIRST + DAY)
    parts = again.between(FIRST, FIRST + 6 * HOUR) + again.between(FIRST + 6 * HOUR, FIRST + DAY)

    assert whole == parts
    assert len({row.alone for row in whole}) == len({row.in_hour for row in whole}) == 100
    assert all(FIRST <= row.at < FIRST + DAY for row in whole)


def test_days_differ(draws: DailyDraws) -> None:
    first, second = draws.between(FIRST, FIRST + DAY), draws.between(FIRST + DAY, FIRST + 2 * DAY)

    assert [row.place for row in first] != [row.place for row in second]


def test_labels_follow_their_rows_by_the_lag(draws: DailyDraws) -> None:
    known = draws.labelled_between(FIRST + DAY, FIRST + DAY + 2 * HOUR)

    assert known == draws.between(FIRST + 22 * HOUR, FIRST + DAY)


def test_the_rows_of_an_hour_have_the_ids_that_the_platform_gives_those_of_one_request(
    draws: DailyDraws,
) -> None:
    in_hour = draws.between(FIRST + 7 * HOUR, FIRST + 8 * HOUR)

    assert {row.hour for row in in_hour} == {"2026-03-01T07"}
    assert [row.in_hour for row in in_hour] == [f"2026-03-01T07:{n}" for n in range(len(in_hour))]


def test_a_request_asks_about_its_rows_with_one_input_a_feature() -> None:
    inputs = ModelInputs(strings=["plan"], numbers=["age"])

    asked = orjson.loads(
        inputs.request([["free", 30.0], ["25%", None]], key="hour", timestamps=["2026-03-01T07:00:00Z"] * 2)
    )

    assert asked["inputs"] == [
        {"name": "plan", "shape": [2, 1], "datatype": "BYTES", "data": ["free", "25%"]},
        {"name": "age", "shape": [2, 1], "datatype": "FP32", "data": [30.0, None]},
    ]
    assert asked["parameters"]["driftline_id"] == "hour"
    assert orjson.loads(asked["parameters"]["driftline_timestamp"]) == ["2026-03-01T07:00:00Z"] * 2

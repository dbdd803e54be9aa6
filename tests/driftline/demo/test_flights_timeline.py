"""What departs and what lands between two moments."""

from datetime import UTC, datetime, timedelta

import orjson

from driftline.demo.flights_timeline import FEATURES, Timeline

FIRST, SECOND, THIRD = (datetime(2013, 3, day, tzinfo=UTC) for day in (4, 5, 6))


class TestTimeline:
    def test_departures_are_half_open(self, timeline: Timeline) -> None:
        first_landing = datetime(2013, 3, 4, 1, tzinfo=UTC)

        assert timeline.rows_between(FIRST, SECOND) == range(3)
        assert timeline.rows_between(FIRST, first_landing) == range(0)
        assert timeline.rows_between(first_landing, SECOND) == range(3)

    def test_labels_come_in_order_of_landing_and_only_for_who_landed(self, timeline: Timeline) -> None:
        assert [(f.id, f.label) for f in timeline.landed_between(FIRST, SECOND)] == [("flight-0", "late")]
        assert [f.id for f in timeline.landed_between(SECOND, THIRD)] == ["flight-2", "flight-3"]

    def test_labels_after_a_moment_are_those_of_the_given_flights(self, timeline: Timeline) -> None:
        assert [f.id for f in timeline.landed_after(SECOND, range(3))] == ["flight-2"]

    def test_a_request_asks_with_one_input_a_feature(self, timeline: Timeline) -> None:
        cancelled = orjson.loads(next(timeline.requests(range(1, 2), shift=timedelta(weeks=1))))

        assert [tensor["name"] for tensor in cancelled["inputs"]] == FEATURES
        assert {tuple(tensor["shape"]) for tensor in cancelled["inputs"]} == {(1, 1)}
        assert cancelled["inputs"][0] == {
            "name": "carrier",
            "shape": [1, 1],
            "datatype": "BYTES",
            "data": ["x"],
        }
        assert cancelled["inputs"][-1] == {
            "name": "seats",
            "shape": [1, 1],
            "datatype": "FP32",
            "data": [None],
        }
        assert cancelled["parameters"] == {
            "driftline_id": "flight-1",
            "driftline_timestamp": "2013-03-11T12:00:00+00:00",
        }

    def test_a_live_request_leaves_its_time_to_the_server(self, timeline: Timeline) -> None:
        live = orjson.loads(next(timeline.requests(range(1), shift=None, suffix=".2")))

        assert live["parameters"] == {"driftline_id": "flight-0.2"}

"""Whole frames, logged and labelled through the real API."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from driftline_client import DriftlineError, FrameInterrupted, ModelHandle, RowFault, frame_log
from tests.driftline_client.flights import FLIGHTS, NOON, TOLD
from tests.driftline_client.platform import Platform
from tests.driftline_client.server import Answer, Recorder


class TestLogFrame:
    @pytest.mark.slow
    @pytest.mark.parametrize("frame", [FLIGHTS, pa.Table.from_pandas(FLIGHTS)], ids=["pandas", "arrow"])
    def test_keeps_every_column_as_what_it_is_told_to_be(self, platform: Platform, frame: Any) -> None:
        with platform.open("flights") as flights:
            result = flights.log_frame(frame, **TOLD)

        assert (result.ids, result.statuses) == (["101", "102", "103"], ["accepted"] * 3)
        assert (result.accepted, result.duplicates, result.rejected, result.faults) == (3, 0, 0, {})
        first = platform.get("/models/flights/predictions/101")
        assert first["features"] == {"delay": 4.5, "hour": 7, "carrier": "AA", "early": 1}
        assert first["prediction"] == "late"
        assert first["probability"] == 0.75
        assert (first["timestamp"], first["latency_ms"]) == ("2026-01-31T12:00:00Z", 1.5)
        second = platform.get("/models/flights/predictions/102")
        assert second["features"] == {"delay": None, "hour": None, "carrier": "UA", "early": 0}

    @pytest.mark.slow
    def test_again_keeps_no_row_twice(self, platform: Platform) -> None:
        with platform.open("flights") as flights:
            flights.log_frame(FLIGHTS, **TOLD)

            again = flights.log_frame(FLIGHTS, **TOLD)

        assert (again.accepted, again.duplicates, again.statuses) == (0, 3, ["duplicate"] * 3)

    @pytest.mark.slow
    def test_makes_ordered_ids_and_takes_every_other_column_for_a_feature(self, platform: Platform) -> None:
        frame = pd.DataFrame({"a": range(2_500), "answer": [n % 2 for n in range(2_500)]})
        done: list[tuple[int, int]] = []

        with platform.open("numbers") as numbers:
            result = numbers.log_frame(
                frame, prediction="answer", timestamp=NOON, progress=lambda *step: done.append(step)
            )

        assert result.accepted == 2_500
        assert result.ids == sorted(set(result.ids))
        assert done[-1] == (2_500, 2_500)
        last = platform.get(f"/models/numbers/predictions/{result.ids[-1]}")
        assert (last["features"], last["timestamp"]) == ({"a": 2_499}, "2026-01-31T12:00:00Z")

    @pytest.mark.slow
    def test_tells_of_each_row_that_is_refused_here_or_there(self, platform: Platform) -> None:
        frame = pd.DataFrame(
            {"a": [1.0, np.inf, 2.0, 3.0], "score": [0.5, 0.5, 1.5, 0.5], "answer": [1, 1, 1, None]}
        )

        with platform.open("numbers") as numbers:
            result = numbers.log_frame(frame, prediction="answer", probabilities="score")

        assert result.statuses == ["accepted", "rejected", "rejected", "rejected"]
        assert result.faults[1] == RowFault(
            "not_sendable", "The feature a is inf, which JSON cannot hold; send None or a finite number."
        )
        assert result.faults[2].code == "invalid_probability"
        assert "prediction is missing" in result.faults[3].detail

    @pytest.mark.parametrize(
        ("frame", "told", "words"),
        [
            (FLIGHTS, {"prediction": "answr"}, "no columns 'answr'; it has delay"),
            (FLIGHTS, TOLD | {"id": ["1"]}, "1 ids for 3 rows"),
            (FLIGHTS, TOLD | {"timestamp": "airport"}, "'JFK' is no time"),
            (FLIGHTS.assign(at=FLIGHTS["at"].dt.tz_localize(None)), TOLD, "has no zone"),
            (FLIGHTS.assign(at=pd.NaT), TOLD, "timestamp is missing"),
            ({"a": [1]}, {"prediction": "a"}, "A dict is no frame"),
        ],
    )
    def test_says_what_does_not_fit_before_it_sends(
        self, server: Recorder, flights: ModelHandle, frame: Any, told: Any, words: str
    ) -> None:
        with pytest.raises(DriftlineError, match=words):
            flights.log_frame(frame, **told)

        assert server.requests == []

    def test_sends_again_what_the_server_was_too_busy_for(
        self, server: Recorder, flights: ModelHandle
    ) -> None:
        kept = {"accepted": 3, "results": [{"index": n, "status": "accepted"} for n in range(3)]}
        server.answers = [Answer(429, headers={"Retry-After": "0.01"}), Answer(503), Answer(200, kept)]

        told = TOLD | {"probabilities": {"late": "late", "on time": "on time"}}
        assert flights.log_frame(FLIGHTS, **told).accepted == 3

        assert [body["predictions"] for _, _, body in server.requests[1:]] == [
            server.requests[0][2]["predictions"]
        ] * 2
        first = server.requests[0][2]["predictions"][0]
        assert first["tags"] == {"airport": "JFK"}
        assert first["probabilities"] == {"late": 0.75, "on time": 0.25}

    @pytest.mark.slow
    def test_can_be_gone_on_with_after_an_interruption(
        self,
        platform: Platform,
        server: Recorder,
        flights: ModelHandle,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(frame_log, "ROWS_A_REQUEST", 2)
        frame = FLIGHTS[["delay", "answer"]]
        taken = Answer(200, {"accepted": 2, "results": [{"status": "accepted"}] * 2})
        server.answers = [taken, *[Answer(503)] * 100]
        with pytest.raises(FrameInterrupted, match="took 2 of 3 rows, then: HTTP 503") as caught:
            flights.log_frame(frame, prediction="answer", patience_s=0.1)
        stopped = caught.value.result
        assert stopped.statuses == ["accepted", "accepted", "unsent"]

        with platform.open("flights", "7") as real:
            for item in server.requests[0][2]["predictions"]:
                real.log(**item | {"timestamp": datetime.fromisoformat(item["timestamp"])})
            real.flush(20)
            resumed = real.log_frame(frame, prediction="answer", id=stopped.ids, timestamp=stopped.timestamp)

        assert resumed.statuses == ["duplicate", "duplicate", "accepted"]


class TestLabelFrame:
    @pytest.mark.slow
    def test_labels_the_rows_by_their_ids(self, platform: Platform) -> None:
        truth = pd.DataFrame({"key": [101.0, 102.0, None, 999], "truth": ["late", "late", "late", None]})

        with platform.open("flights") as flights:
            flights.log_frame(FLIGHTS, **TOLD)
            result = flights.label_frame(truth, id="key", label="truth")

        assert result.statuses == ["accepted", "accepted", "rejected", "rejected"]
        (label,) = platform.get("/models/flights/predictions/102")["labels"]
        assert label["value"] == "late"

    @pytest.mark.slow
    def test_may_come_before_the_predictions_and_with_its_own_time(self, platform: Platform) -> None:
        truth = pa.table({"key": ["a"], "truth": [1], "seen": [NOON + timedelta(days=1)]})

        with platform.open("flights") as flights:
            result = flights.label_frame(truth, id="key", label="truth", timestamp="seen")

        assert result.statuses == ["pending_prediction"]
        assert result.accepted == 1

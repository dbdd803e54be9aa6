"""What the client sends when an application logs, and what it does when sending is hard."""

import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

import driftline_client
from driftline_client import Counts, Delivery, DriftlineError, ModelHandle
from tests.driftline_client.platform import HASTY
from tests.driftline_client.programs import run
from tests.driftline_client.server import Answer, Recorder, running_server


class TestLog:
    def test_sends_all_that_it_is_told(self, server: Recorder, flights: ModelHandle) -> None:
        key = flights.log(
            features={"delay": 4.5, "carrier": "AA", "early": True, "hour": 7},
            prediction="late",
            probabilities={"late": 0.75, "on time": 0.25},
            timestamp=datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))),
            latency_ms=1.5,
            role="shadow",
            subject="person 9",
            tags={"airport": "JFK"},
        )
        assert flights.flush(10)

        path, headers, body = server.requests[0]
        assert path == "/api/v1/models/flights/predictions"
        assert headers["Authorization"] == "Bearer dl_test"
        assert datetime.fromisoformat(body["sent_at"]).tzinfo is not None
        assert body["predictions"] == [
            {
                "id": key,
                "timestamp": "2026-01-31T12:00:00Z",
                "version": "7",
                "features": {"delay": 4.5, "carrier": "AA", "early": True, "hour": 7},
                "prediction": "late",
                "probabilities": {"late": 0.75, "on time": 0.25},
                "latency_ms": 1.5,
                "role": "shadow",
                "subject": "person 9",
                "tags": {"airport": "JFK"},
            }
        ]

    def test_makes_ids_that_grow_and_times_that_are_now(self, server: Recorder, flights: ModelHandle) -> None:
        began = datetime.now(UTC)

        keys = [flights.log(features={}, prediction=0) for _ in range(3)]
        flights.flush(10)

        assert [uuid.UUID(key).version for key in keys] == [7, 7, 7]
        assert [key[:8] for key in keys] == sorted(key[:8] for key in keys)
        times = [datetime.fromisoformat(item["timestamp"]) for item in server.items("predictions")]
        assert all(began <= time <= datetime.now(UTC) for time in times)

    @pytest.mark.parametrize(
        ("value", "sent"),
        [
            (float("nan"), None),
            (np.float32("nan"), None),
            (np.float32(0.5), 0.5),
            (np.int64(3), 3),
            (np.bool_(True), True),
            (np.str_("AA"), "AA"),
            (pd.NA, None),
            (pd.NaT, None),
            (None, None),
        ],
    )
    def test_sends_missing_and_numpy_values_as_json(
        self, server: Recorder, flights: ModelHandle, value: Any, sent: Any
    ) -> None:
        flights.log(features={"x": value}, prediction=np.int64(1), probabilities=np.float32(0.5))
        flights.flush(10)

        item = server.items("predictions")[0]
        assert item["features"] == {"x": sent}
        assert type(item["features"]["x"]) is type(sent)
        assert (item["prediction"], item["probabilities"]) == (1, 0.5)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"timestamp": datetime(2026, 1, 1)}, "no zone"),
            ({"features": {"x": float("inf")}}, "feature x is inf"),
            ({"features": {"x": object()}}, "feature x is a object"),
            ({"prediction": None}, "prediction is missing"),
            ({"prediction": float("nan")}, "prediction is missing"),
            ({"probabilities": {"late": float("nan")}}, "probability of late"),
            ({"features": {"x": "y" * 70_000}}, "at most 64 KiB"),
            ({"features": {"x": "\ud800"}}, "not Unicode"),
            ({"tags": {"x": object()}}, "cannot be written"),
        ],
    )
    def test_counts_what_cannot_be_sent_and_raises_only_when_strict(
        self,
        server: Recorder,
        flights: ModelHandle,
        caplog: pytest.LogCaptureFixture,
        arguments: dict[str, Any],
        words: str,
    ) -> None:
        strict = driftline_client.model("flights", server.url, "dl_test", "7", strict=True)

        key = flights.log(**{"features": {}, "prediction": 1} | arguments)
        with pytest.raises(DriftlineError, match=words):
            strict.log(**{"features": {}, "prediction": 1} | arguments)

        assert uuid.UUID(key)
        assert flights.counts() == Counts(dropped=1, reasons={"not_sendable": 1})
        assert words in caplog.text
        assert server.requests == []

    def test_needs_a_version(self, server: Recorder) -> None:
        nameless = driftline_client.model("flights", server.url, "dl_test", strict=True, delivery=HASTY)

        with pytest.raises(DriftlineError, match="needs a version"):
            nameless.log(features={}, prediction=1)
        nameless.log(features={}, prediction=1, version="8")
        nameless.close(10)

        assert [item["version"] for item in server.items("predictions")] == ["8"]


class TestLabel:
    def test_goes_to_its_own_path(self, server: Recorder, flights: ModelHandle) -> None:
        key = flights.log(features={}, prediction="late")
        flights.label(key, "on time")
        flights.label("other", np.int64(1), datetime(2026, 1, 31, tzinfo=UTC))
        flights.flush(10)

        assert [path for path, _, _ in server.requests] == [
            "/api/v1/models/flights/predictions",
            "/api/v1/models/flights/labels",
        ]
        assert server.items("labels") == [
            {"id": key, "label": "on time"},
            {"id": "other", "label": 1, "timestamp": "2026-01-31T00:00:00Z"},
        ]
        assert flights.counts() == Counts(sent=3)


class TestDelivery:
    def test_sends_full_batches_in_order(self, server: Recorder) -> None:
        patient = driftline_client.model(
            "flights", server.url, "dl_test", "7", delivery=replace(HASTY, wait_s=60)
        )
        for number in range(1001):
            patient.log(features={"n": number}, prediction=0)
        server.wait_for(2)
        assert patient.close(10)

        assert [len(body["predictions"]) for _, _, body in server.requests] == [500, 500, 1]
        numbers = [item["features"]["n"] for item in server.items("predictions")]
        assert numbers == list(range(1001))

    def test_sends_predictions_and_labels_that_come_in_turn_in_few_batches(self, server: Recorder) -> None:
        patient = driftline_client.model(
            "flights", server.url, "dl_test", "7", delivery=replace(HASTY, wait_s=60)
        )
        for _ in range(600):
            patient.label(patient.log(features={}, prediction=0), 1)
        assert patient.close(10)

        assert (len(server.items("predictions")), len(server.items("labels"))) == (600, 600)
        assert len(server.requests) <= 8

    def test_sends_a_lone_item_without_being_asked(self, server: Recorder, flights: ModelHandle) -> None:
        flights.log(features={}, prediction=0)

        server.wait_for(1)

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_sends_the_same_items_again_when_the_server_asks_for_it(
        self, server: Recorder, flights: ModelHandle, status: int
    ) -> None:
        server.answers = [Answer(status), Answer(status, headers={"Retry-After": "0.05"})]

        key = flights.log(features={}, prediction=0)

        assert flights.flush(10)
        assert [item["id"] for item in server.items("predictions")] == [key] * 3
        assert flights.counts() == Counts(sent=1)

    @pytest.mark.slow
    def test_sends_again_once_the_server_is_back(self) -> None:
        with running_server() as gone:
            port = int(gone.url.rsplit(":", 1)[1])
        handle = driftline_client.model("flights", gone.url, "dl_test", "7", delivery=HASTY)
        key = handle.log(features={}, prediction=0)
        assert not handle.flush(0.2)

        with running_server(port) as back:
            assert handle.flush(20)

        assert [item["id"] for item in back.items("predictions")] == [key]
        handle.close()

    @pytest.mark.slow
    @pytest.mark.parametrize("spelled", ["60", "Fri, 31 Dec 2100 23:59:59 GMT"])
    def test_waits_as_long_as_the_server_asks_also_when_told_to_hurry(
        self, server: Recorder, flights: ModelHandle, spelled: str
    ) -> None:
        server.answers = [Answer(429, headers={"Retry-After": spelled})]
        flights.log(features={}, prediction=0)
        server.wait_for(1)

        assert not flights.flush(0.3)

        assert len(server.requests) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("spelled", ["nan", "-60", "soon"])
    def test_waits_by_its_own_measure_where_the_server_asks_for_no_time(
        self, server: Recorder, spelled: str
    ) -> None:
        server.always = {"predictions": Answer(503, headers={"Retry-After": spelled})}
        slow = replace(HASTY, first_retry_s=3600, longest_retry_s=3600)
        flights = driftline_client.model("flights", server.url, "dl_test", "7", delivery=slow)
        flights.log(features={}, prediction=0)
        server.wait_for(1)

        assert not flights.flush(0.2)  # which is worth one attempt more
        assert len(server.requests) <= 2
        flights.close(0)

    def test_tries_again_at_once_when_the_process_is_about_to_end(self, server: Recorder) -> None:
        server.answers = [Answer(503)]
        slow = replace(HASTY, first_retry_s=3600, longest_retry_s=3600)
        flights = driftline_client.model("flights", server.url, "dl_test", "7", delivery=slow)
        flights.log(features={}, prediction=0)
        server.wait_for(1)

        assert flights.close(20)

        assert flights.counts() == Counts(sent=1)

    def test_takes_no_other_site_for_driftline(
        self, server: Recorder, flights: ModelHandle, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.answers = [
            Answer(200, {"hello": "there"}),
            Answer(301, headers={"Location": "https://there/"}),
        ]

        for _ in range(2):
            flights.log(features={}, prediction=0)
            flights.flush(10)

        assert flights.counts() == Counts(rejected=2, reasons={"not_driftline": 1, "http_301": 1})
        assert "redirects to https://there/" in caplog.text

    @pytest.mark.parametrize("status", [401, 404, 422, 500])
    def test_counts_what_the_server_refuses_and_goes_on(
        self, server: Recorder, flights: ModelHandle, caplog: pytest.LogCaptureFixture, status: int
    ) -> None:
        server.answers = [Answer(status, {"detail": "The reason."})]
        flights.log(features={}, prediction=0)
        flights.flush(10)
        flights.log(features={}, prediction=0)
        flights.flush(10)

        assert flights.counts() == Counts(sent=1, rejected=1, reasons={f"http_{status}": 1})
        assert "The reason." in caplog.text

    def test_counts_the_items_of_a_batch_that_were_refused(
        self, server: Recorder, flights: ModelHandle, caplog: pytest.LogCaptureFixture
    ) -> None:
        fault = {"code": "invalid_id", "pointer": "/predictions/1/id"}
        results = [{"index": 0, "status": "accepted"}, {"index": 1, "status": "rejected", "error": fault}]
        server.answers = [Answer(200, {"accepted": 1, "duplicates": 0, "rejected": 1, "results": results})]

        for key in ("fine", ""):
            flights.label(key or "\x00", 1)
        flights.flush(10)

        assert flights.counts() == Counts(sent=1, rejected=1, reasons={"invalid_id": 1})
        assert "invalid_id" in caplog.text

    def test_drops_and_counts_what_finds_the_queue_full(
        self, server: Recorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        small = driftline_client.model(
            "flights", server.url, "dl_test", "7", delivery=Delivery(queue_size=5, wait_s=60)
        )

        with caplog.at_level(logging.WARNING, "driftline_client"):
            for _ in range(13):
                small.log(features={}, prediction=0)

        assert small.counts() == Counts(dropped=8, queued=5, reasons={"queue_full": 8})
        assert caplog.text.count("queue holds 5 items") == 4
        assert small.close(10)
        assert len(server.items("predictions")) == 5

    def test_holds_no_more_bytes_than_it_may(self, server: Recorder) -> None:
        delivery = Delivery(queue_bytes=10_000, wait_s=60)
        small = driftline_client.model("flights", server.url, "dl_test", "7", delivery=delivery)

        for _ in range(20):
            small.log(features={"text": "x" * 1_000}, prediction=0)

        assert small.counts().queued < 10
        assert small.counts().reasons == {"queue_full": 20 - small.counts().queued}
        small.close(0)

    def test_refuses_to_log_once_closed(self, server: Recorder) -> None:
        closed = driftline_client.model("flights", server.url, "dl_test", "7", strict=True)
        closed.close()

        with pytest.raises(DriftlineError, match="closed"):
            closed.log(features={}, prediction=0)

    def test_sends_what_is_queued_before_the_process_ends(self, server: Recorder) -> None:
        program = (
            "import driftline_client\n"
            "flights = driftline_client.model('flights', version='7')\n"
            "for number in range(700): flights.log(features={'n': number}, prediction=0)\n"
        )

        finished = run(program, url=server.url)

        assert finished.stderr == ""
        assert len(server.items("predictions")) == 700
        assert server.requests[0][1]["Authorization"] == "Bearer dl_from_environment"

    def test_works_on_both_sides_of_a_fork(self, server: Recorder) -> None:
        program = (
            "import os, warnings, driftline_client\n"
            "warnings.simplefilter('ignore')\n"
            "delivery = driftline_client.Delivery(exit_s=50)\n"
            "flights = driftline_client.model('flights', version='7', delivery=delivery)\n"
            "flights.log(features={}, prediction='before')\n"  # queued, and sent by the parent alone
            "child = os.fork()\n"
            "flights.log(features={}, prediction='child' if child == 0 else 'parent')\n"
            "os.waitpid(child, 0) if child else None\n"
        )

        run(program, url=server.url)

        assert sorted(item["prediction"] for item in server.items("predictions")) == [
            "before",
            "child",
            "parent",
        ]

    def test_sends_what_a_process_of_multiprocessing_logged(self, server: Recorder) -> None:
        program = (
            "import multiprocessing, warnings, driftline_client\n"
            "warnings.simplefilter('ignore')\n"
            "delivery = driftline_client.Delivery(exit_s=50)\n"
            "flights = driftline_client.model('flights', version='7', delivery=delivery)\n"
            "flights.log(features={}, prediction='parent')\n"
            "def work(): flights.log(features={}, prediction='child')\n"
            "child = multiprocessing.get_context('fork').Process(target=work)\n"
            "child.start()\n"
            "child.join()\n"
        )

        run(program, url=server.url)

        assert sorted(item["prediction"] for item in server.items("predictions")) == ["child", "parent"]


class TestModel:
    def test_takes_a_token_as_it_stands_in_a_file(self, server: Recorder) -> None:
        with driftline_client.model("flights", server.url, "dl_test\n", "7") as flights:
            flights.log(features={}, prediction=0)

        assert server.requests[0][1]["Authorization"] == "Bearer dl_test"

    def test_says_that_a_token_is_none(self, server: Recorder) -> None:
        with pytest.raises(DriftlineError, match="copy it again"):
            driftline_client.model("flights", server.url, "dl_\N{EM DASH}")

    @pytest.mark.parametrize("url", ["localhost:8000", "ftp://there", "there", "http://", "http://h:port"])
    def test_says_that_the_address_is_none(self, url: str) -> None:
        with pytest.raises(DriftlineError, match="https://"):
            driftline_client.model("flights", url, "dl_test")

    def test_says_that_there_is_no_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DRIFTLINE_TOKEN", raising=False)

        with pytest.raises(DriftlineError, match="DRIFTLINE_TOKEN"):
            driftline_client.model("flights")

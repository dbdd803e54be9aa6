"""Every request is counted by how it ended, and told to the spool before a process ends."""

import time
from collections import Counter
from pathlib import Path

import pytest

from inference.prediction_log.spool.record import RequestCounts
from inference.serving.counts.metrics import WAIT_SECONDS, ServingMetrics, fault_of
from inference.serving.counts.request_tally import RequestTally
from inference.serving.plan import PlanModel
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.conftest import publish_everything
from tests.inference.serving.running import publish, rows_body, running_server, token

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"


class TestServing:
    def test_counts_each_request_once_over_processes(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)

        with running_server(tmp_path, workers=2) as server:
            for _ in range(20):
                assert server.ask(SUMS, rows_body([1, 2, 3])).status == 200
            for body in (b"{", rows_body([1, 2]), b""):
                assert server.ask(SUMS, body).status == 400
            server.stop()
            counted, waited = server.counted(), server.waited()

        assert counted == Counter({("1", "answered"): 20, ("1", "invalid"): 3})
        assert waited == Counter({"1": 20})

    def test_counts_no_request_of_a_stranger_against_a_model(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)

        with running_server(tmp_path) as server:
            assert server.ask(SUMS, rows_body([1, 2, 3]), token="dl_none").status == 401
            server.stop()
            counted = server.counted()

        assert counted == Counter()

    def test_counts_the_rows_that_a_shadow_copied_also_as_it_ends(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)

        with running_server(tmp_path) as server:
            assert server.ask("/v2/models/coins/infer", rows_body([1, 2, 3], [4, 5, 6])).status == 200
            server.stop()
            counted = server.counted()

        assert counted == Counter({("1", "answered"): 1, ("2", "answered"): 2})


class TestTally:
    def test_takes_only_what_is_new(self) -> None:
        metrics = ServingMetrics()
        tally = RequestTally(metrics)
        metrics.series(1, "1", "champion").requests += 1
        first = tally.take(7_201.0)
        metrics.series(1, "1", "champion").faults["late"] += 2

        second = tally.take(7_202.0)

        assert first is not None
        assert second is not None
        assert [(one.outcome, one.requests) for one in first.ended] == [("answered", 1)]
        assert [(one.outcome, one.requests) for one in second.ended] == [("late", 2)]
        assert (first.hour_s, tally.take(7_203.0)) == (7_200, None)

    def test_tells_again_what_could_not_be_spooled(self) -> None:
        metrics = ServingMetrics()
        tally = RequestTally(metrics)
        metrics.series(1, "1", "champion").requests += 1
        lost = tally.take(time.time())
        assert lost is not None

        tally.give_back(lost)

        again = tally.take(time.time())
        assert again is not None
        assert again.ended == lost.ended

    def test_takes_how_long_requests_waited_once(self) -> None:
        metrics = ServingMetrics()
        tally = RequestTally(metrics)
        waits = metrics.series(1, "1", "champion").phases["queue"]
        waits.extend([40_000, 60_000, 31 * 10**9])  # 40 us, 60 us, 31 s
        first = tally.take(7_201.0)
        waits.extend([90_000])
        lost = tally.take(7_202.0)
        assert first is not None
        assert lost is not None

        tally.give_back(lost)

        again = tally.take(7_203.0)
        assert again is not None
        assert first.waited[0].counts == [1, 1] + [0] * (len(WAIT_SECONDS) - 2) + [1]
        assert again.waited == lost.waited
        assert again.waited[0].counts == [0, 1] + [0] * (len(WAIT_SECONDS) - 1)
        assert tally.take(7_204.0) is None

    def test_takes_no_waits_of_a_shadow(self) -> None:
        metrics = ServingMetrics()
        metrics.series(1, "1", "shadow").phases["queue"].extend([40_000])

        assert RequestTally(metrics).take(7_201.0) is None


class TestTokenUses:
    def test_are_noted_once_a_minute(self) -> None:
        metrics = ServingMetrics()
        tally = RequestTally(metrics)
        taken = []

        for now in (7_201.0, 7_202.0, 7_261.0):
            metrics.token_uses.add("busy")
            taken.append(tally.take(now))

        assert [record and record.token_uses for record in taken] == [
            {"busy": 7_201.0},
            None,
            {"busy": 7_261.0},
        ]
        assert tally.take(7_400.0) is None

    def test_are_noted_again_where_they_could_not_be_spooled(self) -> None:
        metrics = ServingMetrics()
        tally = RequestTally(metrics)
        metrics.token_uses.add("used")
        lost = tally.take(7_201.0)
        assert lost is not None

        tally.give_back(lost)

        again = tally.take(7_202.0)
        assert again is not None
        assert again.token_uses == {"used": 7_202.0}

    def test_are_spooled_for_those_who_are_let_in_alone(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)

        with running_server(tmp_path) as server:
            statuses = [
                server.ask("/v2/models/sums/infer", rows_body([1, 2, 3]), token=text).status
                for text in ("dl_infer", "dl_expired", "dl_read")
            ]
            server.stop()
            records = [record for record in server.records() if isinstance(record, RequestCounts)]

        used = {digest for record in records for digest in record.token_uses}
        assert statuses == [200, 401, 403]
        assert used == {token("dl_infer").digest}

    def test_are_noted_where_a_version_is_loaded_for_the_request(self, tmp_path: Path) -> None:
        versions = [
            store(tmp_path, constant_classifier(0.5, 3), classifier_signature(3), id=id, version=str(id))
            for id in (1, 2)
        ]
        publish(tmp_path, [PlanModel(1, 1, "coins", 1, "1", [], versions)], [token("dl_infer")])

        with running_server(tmp_path) as server:
            answer = server.ask("/v2/models/coins/versions/2/infer", rows_body([1, 2, 3]))
            server.stop()
            records = [record for record in server.records() if isinstance(record, RequestCounts)]

        assert answer.status == 200
        assert {digest for record in records for digest in record.token_uses} == {token("dl_infer").digest}


@pytest.mark.parametrize(
    ("status", "fault"),
    [(400, "invalid"), (403, "invalid"), (429, "overloaded"), (503, "overloaded"), (504, "late")],
)
def test_a_status_names_its_fault(status: int, fault: str) -> None:
    assert fault_of(status) == fault

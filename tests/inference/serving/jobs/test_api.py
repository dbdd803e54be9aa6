"""Inference that is answered later: `Prefer: respond-async` gives a job, and the job gives the stored answer."""

import gzip
import json
import struct
import time
from typing import Any

import pytest

from inference.serving.jobs.store import JOBS_FOLDER, waiting_callbacks
from inference.serving.plan import PlanCallback
from tests.inference.serving.running import (
    Response,
    Server,
    request_bytes,
    rows_body,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
BODY = rows_body([1, 2, 3], id="mine")
ASYNC = {"prefer": "respond-async"}
UNKNOWN = "01900000-0000-7000-8000-000000000000"


def send(server: Server, body: bytes = BODY, path: str = SUMS, **headers: str) -> Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.ask(path, body, headers=ASYNC | more)


def look(server: Server, job: Response | str, **options: Any) -> Response:
    path = job if isinstance(job, str) else job.headers["location"]
    return server.ask(path, method="GET", **options)


def answer_of(server: Server, job: Response) -> Response:
    wait_until(lambda: look(server, job).status != 202)
    return look(server, job)


def own_headers(answer: Response) -> dict[str, str]:
    """Leave out what differs between any two answers."""
    differ = ("date", "driftline-prediction-id", "driftline-job-state")
    return {name: value for name, value in answer.headers.items() if name not in differ}


class TestAJob:
    def test_is_acknowledged_with_where_to_find_it(self, server: Server) -> None:
        job = send(server)

        assert job.status == 202
        assert job.headers["preference-applied"] == "respond-async"
        assert job.headers["location"] == job.json["url"] == f"/v2/jobs/{job.json['id']}"
        assert job.headers["driftline-version"] == job.json["model_version"] == "1"
        assert (job.json["state"], job.json["model_name"]) == ("queued", "sums")
        assert job.json["prediction_id"] == job.headers["driftline-prediction-id"]
        assert job.headers["retry-after"] == "1"

    def test_has_the_answer_that_a_synchronous_request_has(self, server: Server) -> None:
        now = server.ask(SUMS, BODY)

        later = answer_of(server, send(server))

        assert (later.status, later.body) == (now.status, now.body)
        assert own_headers(later) == own_headers(now)
        assert later.headers["driftline-job-state"] == "succeeded"

    def test_has_the_same_bytes_in_binary_too(self, server: Server) -> None:
        tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        body = head + struct.pack("<3f", 1, 2, 3)
        length = {"inference-header-content-length": str(len(head))}
        now = server.ask(SUMS, body, headers=length)

        later = answer_of(server, server.ask(SUMS, body, headers=ASYNC | length))

        assert later.body == now.body
        assert own_headers(later) == own_headers(now)
        assert later.body.endswith(struct.pack("<f", 6))

    def test_is_logged_once_under_the_id_and_at_the_time_of_its_acceptance(self, server: Server) -> None:
        before = time.time()
        job = send(server)
        accepted = time.time()

        answer = answer_of(server, job)

        [record] = [record for record in server.spooled() if job.json["prediction_id"] in record.ids]
        assert answer.headers["driftline-prediction-id"] == job.json["prediction_id"] == job.json["id"]
        assert before <= record.event_time_us[0] / 1e6 <= accepted
        assert (record.role, record.client_ids) == ("champion", ["mine"])

    def test_takes_the_callers_own_key_as_the_prediction_id(self, server: Server) -> None:
        job = send(server, rows_body([1, 2, 3], parameters={"driftline_id": "order-7"}))

        assert job.json["prediction_id"] == "order-7" != job.json["id"]
        assert answer_of(server, job).headers["driftline-prediction-id"] == "order-7"

    def test_may_be_sent_and_fetched_compressed(self, server: Server) -> None:
        rows = [[float(place), 0, 0] for place in range(500)]
        body = gzip.compress(rows_body(*rows))

        job = send(server, body, content_encoding="gzip")
        answer_of(server, job)
        fetched = look(server, job, headers={"accept-encoding": "gzip"})

        assert fetched.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(fetched.body))["outputs"][0]["data"] == [row[0] for row in rows]

    def test_keeps_its_place_on_a_connection(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(
                request_bytes(SUMS, BODY)
                + request_bytes(SUMS, BODY, headers=ASYNC)
                + request_bytes(SUMS, BODY)
            )

            assert [connection.receive().status for _ in range(3)] == [200, 202, 200]

    def test_may_name_its_version(self, server: Server) -> None:
        job = send(server, rows_body([0, 0, 0]), "/v2/models/coins/versions/2/infer")

        answer = answer_of(server, job)

        assert (answer.json["model_version"], answer.headers["driftline-version"]) == ("2", "2")


class TestWaiting:
    def test_gives_the_answer_itself_where_it_comes_in_time(self, server: Server) -> None:
        answer = server.ask(SUMS, BODY, headers={"prefer": "respond-async, wait=20"})

        assert (answer.status, answer.json["outputs"][0]["data"]) == (200, [6])
        assert answer.headers["preference-applied"] == "respond-async, wait=20"
        assert look(server, answer.headers["content-location"]).body == answer.body

    def test_without_respond_async_changes_nothing(self, server: Server) -> None:
        answer = server.ask(SUMS, BODY, headers={"prefer": "wait=20, return=minimal"})

        assert answer.status == 200
        assert "preference-applied" not in answer.headers


class TestForgetting:
    def test_leaves_nothing_behind(self, server: Server) -> None:
        job = send(server)
        answer_of(server, job)

        deleted = server.ask(job.headers["location"], method="DELETE")

        assert (deleted.status, deleted.json) == (200, {"id": job.json["id"], "state": "deleted"})
        assert look(server, job).status == 404
        assert server.ask(job.headers["location"], method="DELETE").status == 404
        assert not list((server.home / JOBS_FOLDER).rglob(f"*{job.json['id']}*"))


class TestWhatIsAnsweredAtOnce:
    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            (SUMS, b"{", 400),
            (SUMS, rows_body([1, 2]), 400),
            (SUMS, rows_body([1, 2, 3], name="Y"), 400),
            (SUMS, rows_body([1, 2, 3], parameters={"driftline_timestamp": "2020-01-01T00:00:00Z"}), 403),
            ("/v2/models/nobody/infer", BODY, 404),
            ("/v2/models/foreign/infer", BODY, 404),
            ("/v2/models/sums/versions/9/infer", BODY, 404),
            ("/v2/models/empty/infer", BODY, 409),
        ],
    )
    def test_is_all_that_a_synchronous_request_is_refused_for(
        self, server: Server, path: str, body: bytes, status: int
    ) -> None:
        now = server.ask(path, body)

        answer = send(server, body, path)

        assert (answer.status, answer.body) == (now.status, now.body)
        assert answer.status == status

    @pytest.mark.parametrize(("bearer", "status"), [("dl_read", 403), ("dl_expired", 401), ("", 401)])
    def test_is_a_token_that_may_not_ask(self, server: Server, bearer: str, status: int) -> None:
        assert server.ask(SUMS, BODY, token=bearer, headers=ASYNC).status == status

    def test_is_a_callback_that_nobody_made(self, server: Server) -> None:
        answer = send(server, driftline_callback="nowhere")

        assert answer.status == 400
        assert "no callback of that name: there are app." in answer.json["error"]

    def test_is_a_callback_for_a_synchronous_request(self, server: Server) -> None:
        assert server.ask(SUMS, BODY, headers={"driftline-callback": "app"}).status == 400


class TestStrangers:
    def test_find_no_job_of_another_project(self, server: Server) -> None:
        job = send(server)
        answer_of(server, job)

        for method in ("GET", "DELETE"):
            theirs = server.ask(job.headers["location"], method=method, token="dl_theirs")
            nobodys = server.ask(f"/v2/jobs/{UNKNOWN}", method=method, token="dl_theirs")
            assert (theirs.status, nobodys.status) == (404, 404)
            assert theirs.json["error"].replace(job.json["id"], UNKNOWN) == nobodys.json["error"]
        assert look(server, job).status == 200

    @pytest.mark.parametrize(
        ("path", "method", "bearer", "status"),
        [
            (f"/v2/jobs/{UNKNOWN}", "GET", "", 401),
            (f"/v2/jobs/{UNKNOWN}", "GET", "dl_read", 403),
            (f"/v2/jobs/{UNKNOWN}", "DELETE", "dl_read", 403),
            (f"/v2/jobs/{UNKNOWN}", "POST", "dl_infer", 405),
            ("/v2/jobs/", "GET", "dl_infer", 404),
            ("/v2/jobs", "GET", "dl_infer", 404),
            ("/v2/jobs/../../plan.json", "GET", "dl_infer", 404),
            (f"/v2/jobs/{UNKNOWN}/answer", "GET", "dl_infer", 404),
        ],
    )
    def test_are_told_why(self, server: Server, path: str, method: str, bearer: str, status: int) -> None:
        answer = server.ask(path, method=method, token=bearer)

        assert answer.status == status
        assert answer.json["error"].endswith((".", "'."))


def test_a_job_whose_values_the_model_cannot_answer_fails_with_the_reason(server: Server) -> None:
    tensor = {"name": "size", "shape": [1, 1], "datatype": "INT64", "data": [-5]}
    body = json.dumps({"inputs": [tensor]}).encode()
    now = server.ask("/v2/models/sizes/infer", body)

    later = answer_of(server, send(server, body, "/v2/models/sizes/infer", driftline_callback="app"))

    assert (later.status, later.body) == (now.status, now.body)
    assert (later.status, later.headers["driftline-job-state"]) == (400, "failed")
    [(_, callback)] = waiting_callbacks(server.home)
    assert (callback.ended.state, callback.answer) == ("failed", now.body)
    assert callback.job.callback == PlanCallback(1, 1, "app")

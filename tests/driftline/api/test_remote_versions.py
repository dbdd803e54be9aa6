"""A version of a server that the user already runs, over HTTP: how it is made, and what is refused."""

import json
from typing import Any

import pytest
from django.conf import settings as live_settings

from driftline.base.accounts.models import AuditEntry
from inference.registry.models import Version
from inference.runtime.remote.credentials import open_headers
from inference.serving.plan import PLAN_FILE, load_plan
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.driftline.api.upstream_sums import FEATURES, METADATA, sums_in_v2
from tests.ports import free_port
from tests.upstream import Asked, Upstream, response, running_upstream

MODEL = "/models/delay"


def sums_in_rows(asked: Asked) -> bytes:
    """A server of rows that sums them, as V1 or as TorchServe."""
    body = json.loads(asked.body)
    if isinstance(body, dict):
        return response(json.dumps({"predictions": [sum(row) for row in body["instances"]]}).encode())
    return response(json.dumps([sum(value or 0 for value in row) for row in body]).encode())


@pytest.fixture
def model(api: Api, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    api.post("/models", {"name": "delay", "task": "regression"})


@pytest.fixture
def upstream() -> Any:
    with running_upstream(sums_in_v2) as running:
        yield running


def body_of(upstream: Upstream, **endpoint: Any) -> dict[str, Any]:
    told = {"protocol": "v2", "url": upstream.url, "model": "theirs"} | endpoint
    return {"endpoint": told, "metadata": FEATURES}


@pytest.mark.usefixtures("model")
class TestMaking:
    def test_a_version_is_made_of_an_endpoint_that_answers(self, api: Api, upstream: Upstream) -> None:
        answer = api.post(f"{MODEL}/versions", body_of(upstream, token="s3cret", version="7"))

        assert answer.status_code == 201, answer.content
        version = answer.json()
        assert (version["version"], version["is_external"], version["sha256"]) == ("1", False, None)
        assert version["endpoint"] == {
            "protocol": "v2",
            "url": upstream.url,
            "model": "theirs",
            "version": "7",
            "names": {},
            "binary": False,
            "max_rows": 1024,
            "timeout_ms": 10_000,
            "has_credential": True,
        }
        assert version["signature"]["inputs"] == METADATA["inputs"]
        assert [feature["name"] for feature in version["signature"]["features"]] == ["wind", "load"]
        report = version["intake_report"]
        assert [(run["rows"], run["fill"], run["error"]) for run in report["dry_runs"][:2]] == [
            (1, "typical", None),
            (3, "typical", None),
        ]
        assert "null is no number" in report["warnings"][0]
        assert api.get(f"{MODEL}/deployment").json()["champion"] == "1"

    def test_its_credential_is_sent_to_its_server_and_shown_to_nobody(
        self, api: Api, upstream: Upstream, django_capture_on_commit_callbacks: Any
    ) -> None:
        sent = body_of(upstream, token="s3cret", headers={"X-Team": "risk"})

        with django_capture_on_commit_callbacks(execute=True):
            answer = api.post(f"{MODEL}/versions", sent)

        told = {"authorization": "Bearer s3cret", "x-team": "risk"}
        assert all(asked.headers.items() >= told.items() for asked in upstream.asked)
        kept = Version.objects.get()
        plan = (live_settings.HOME / PLAN_FILE).read_text()
        audit = json.dumps(list(AuditEntry.objects.values_list("after", flat=True)))
        for text in (
            answer.content.decode(),
            plan,
            audit,
            bytes(kept.credential).decode(),
            str(kept.endpoint),
        ):
            assert "s3cret" not in text
        [published] = [one for one in load_plan(live_settings.HOME / PLAN_FILE).models if one.name == "delay"]
        assert published.champion == "1"
        endpoint = published.versions[0].endpoint
        assert endpoint is not None
        assert open_headers(endpoint.credential, live_settings.HOME) == {
            "X-Team": "risk",
            "Authorization": "Bearer s3cret",
        }

    def test_the_same_endpoint_again_takes_the_new_credential(self, api: Api, upstream: Upstream) -> None:
        first = api.post(f"{MODEL}/versions", body_of(upstream, token="old"))

        again = api.post(f"{MODEL}/versions", body_of(upstream, token="new"))

        assert (first.status_code, again.status_code) == (201, 200)
        kept = Version.objects.get()
        assert open_headers(bytes(kept.credential).decode(), live_settings.HOME) == {
            "Authorization": "Bearer new"
        }

    @pytest.mark.parametrize("protocol", ["v1", "torchserve"])
    def test_a_server_that_tells_nothing_of_itself_is_known_by_its_answer(
        self, api: Api, protocol: str
    ) -> None:
        with running_upstream(sums_in_rows) as upstream:
            answer = api.post(f"{MODEL}/versions", body_of(upstream, protocol=protocol))

        assert answer.status_code == 201, answer.content
        signature = answer.json()["signature"]
        assert signature["inputs"] == [{"name": "inputs", "datatype": "FP32", "shape": [-1, 2]}]
        assert signature["outputs"] == [{"name": "predictions", "datatype": "FP64", "shape": [-1]}]

    def test_it_goes_by_the_champions_names_where_its_tensors_are_the_same(
        self, api: Api, upstream: Upstream
    ) -> None:
        api.post(f"{MODEL}/versions", body_of(upstream))
        theirs = {
            "inputs": [{"name": "wide", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "total", "datatype": "FP64", "shape": [-1]}],
        }

        def other_names(asked: Asked) -> bytes:
            if asked.line.startswith("GET"):
                return response(json.dumps(theirs).encode())
            renamed = asked.body.replace(b'"wide"', b'"x0"')
            return sums_in_v2(Asked(asked.line, asked.headers, renamed)).replace(b'"y0"', b'"total"')

        upstream.answer = lambda asked: response(b"", 500)
        with running_upstream(lambda asked: fit(other_names(asked))) as other:
            answer = api.post(f"{MODEL}/versions", {"endpoint": body_of(other)["endpoint"]})

        assert answer.status_code == 201, answer.content
        version = answer.json()
        assert version["signature"] == api.get(f"{MODEL}/versions/1").json()["signature"]
        assert version["endpoint"]["names"] == {"x0": "wide", "y0": "total"}

    def test_tensors_may_be_told(self, api: Api, upstream: Upstream) -> None:
        told = {
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2], "upstream": "x0"}],
            "outputs": [{"name": "sum", "datatype": "FP64", "shape": [-1], "upstream": "y0"}],
        }

        answer = api.post(f"{MODEL}/versions", body_of(upstream, **told))

        assert answer.status_code == 201, answer.content
        assert answer.json()["endpoint"]["names"] == {"X": "x0", "sum": "y0"}


def fit(answer: bytes) -> bytes:
    """Write a changed answer's length anew."""
    return response(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.usefixtures("model")
class TestRefusing:
    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"protocol": "v3"}, "/endpoint/protocol"),
            ({"model": ""}, "/endpoint/model"),
            ({"model": "a\r\nb"}, "/endpoint/model"),
            ({"timeout_ms": 0}, "/endpoint/timeout_ms"),
            ({"max_rows": 5000}, "/endpoint/max_rows"),
            ({"colour": "red"}, "/endpoint/colour"),
            ({"token": "a\nb"}, "/endpoint/token"),
            ({"headers": {"Host": "other"}}, "/endpoint/headers/Host"),
            ({"headers": {"A:b": "c"}}, "/endpoint/headers/A:b"),
            ({"headers": {"A": "b\r\nC: d"}}, "/endpoint/headers/A"),
            ({"headers": {"Authorization": "a"}, "token": "b"}, "/endpoint/token"),
            ({"inputs": [{"name": "x", "datatype": "FP99", "shape": [-1]}]}, "/endpoint/inputs/0/datatype"),
        ],
    )
    def test_what_is_told_badly_names_its_field(
        self, api: Api, upstream: Upstream, change: dict[str, Any], pointer: str
    ) -> None:
        answer = api.post(f"{MODEL}/versions", body_of(upstream, **change))

        assert_problem(answer, 422)
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert not upstream.asked

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://127.0.0.1/",
            "http://10.0.0.1:8000",
            "http://169.254.169.254/latest",
            "https://[::1]:8000",
            "http://127.0.0.2:8000",
            "http://user:password@127.0.0.1:8000",
            "http://127.0.0.1:6379",
        ],
    )
    def test_an_address_that_must_not_be_called_is_refused(
        self, api: Api, upstream: Upstream, url: str
    ) -> None:
        answer = api.post(f"{MODEL}/versions", body_of(upstream, url=url))

        assert_problem(answer, 422, "url_not_allowed")
        assert answer.json()["errors"][0]["pointer"] == "/endpoint/url"

    def test_a_server_that_is_not_there_is_refused(self, api: Api, upstream: Upstream) -> None:
        answer = api.post(f"{MODEL}/versions", body_of(upstream, url=f"http://127.0.0.1:{free_port()}"))

        assert_problem(answer, 422, "endpoint_failed")
        assert answer.json()["errors"][0]["pointer"] == "/endpoint/url"

    def test_a_model_that_it_does_not_know_is_refused(self, api: Api, upstream: Upstream) -> None:
        upstream.answer = lambda _: response(b'{"error": "no model theirs"}', 404)

        answer = api.post(f"{MODEL}/versions", body_of(upstream))

        assert_problem(answer, 422, "unknown_upstream_model")
        assert answer.json()["errors"][0]["pointer"] == "/endpoint/model"
        assert "no model theirs" in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("metadata", "pointer"),
        [
            ({"features": [{"name": "wind"}]}, "/metadata/features"),
            ({"outputs": {"prediction": "other"}}, "/metadata/outputs/prediction"),
            ({"classes": ["a", "b"]}, "/metadata/classes"),
            ({"colour": 1}, "/metadata/colour"),
        ],
    )
    def test_metadata_that_does_not_fit_its_tensors_is_refused(
        self, api: Api, upstream: Upstream, metadata: dict[str, Any], pointer: str
    ) -> None:
        answer = api.post(f"{MODEL}/versions", body_of(upstream) | {"metadata": metadata})

        assert_problem(answer, 422)
        assert answer.json()["errors"][0]["pointer"] == pointer

    def test_a_server_that_answers_another_type_than_it_told_is_refused(
        self, api: Api, upstream: Upstream
    ) -> None:
        usual = upstream.answer
        upstream.answer = lambda asked: (
            fit(usual(asked).replace(b"FP64", b"FP32")) if "POST" in asked.line else usual(asked)
        )

        answer = api.post(f"{MODEL}/versions", body_of(upstream))

        assert_problem(answer, 422, "endpoint_answers_garbage")
        assert "'y0' is FP32 and should be FP64" in answer.json()["detail"]
        assert not Version.objects.exists()


@pytest.mark.usefixtures("model")
def test_what_needs_a_file_says_that_there_is_none(api: Api, upstream: Upstream) -> None:
    api.post(f"{MODEL}/versions", body_of(upstream))

    for method, path, body in (
        ("GET", f"{MODEL}/versions/1/artifact", None),
        ("PATCH", f"{MODEL}/versions/1", {"execution_provider": "cuda"}),
        ("POST", f"{MODEL}/versions/1/variants", {}),
        ("POST", f"{MODEL}/runs", {}),
    ):
        answer = api.send(method, path, body)
        assert_problem(answer, 409, "version_has_no_artifact")

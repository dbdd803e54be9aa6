"""Each kind of pipeline against a service that refuses what the real one refuses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators import ORCHESTRATORS
from monitors.workflows.remote.orchestrators.base import ExternalState, Pipeline
from tests.monitors.workflows.remote import checking_services as checking
from tests.monitors.workflows.remote.checking_services import PASSWORD, TOKEN, FakeService
from tests.monitors.workflows.remote.service import Service

KEY = "driftline-run-7-0f3a9c41d27b"
ORDER = {
    "url": "https://d.example/api/v1/runs/7/order",
    "run": 7, "model": "approvals", "task": "binary", "trigger": {}, "snapshot": {}, "job": {"text": "é\"'{{"},
    "callback": {"token": "dl_run_0"},
}  # fmt: skip
ORDER_TO_READ = {"order_url": "https://d.example/api/v1/runs/7/order", "token": "dl_run_0"}
RUNNING, SUCCEEDED, FAILED = ExternalState


@dataclass(frozen=True)
class Case:
    """How a kind is set up, and its words for running, succeeded, failed and ended by us."""

    rules: Any
    path: str
    options: dict[str, str]
    secret: str
    words: tuple[str, str, str, str] = ("", "", "", "")
    media_type: str = "application/json"
    order: Any = field(default_factory=lambda: ORDER)
    wrong_secret: str = "wrong"


CASES = {
    "airflow": Case(
        checking.airflow, "", {"dag_id": "retrain", "username": "driftline"}, PASSWORD,
        ("running", "success", "failed", "failed"),
    ),
    "prefect": Case(
        checking.prefect, "/api", {"deployment": "retrain/default"}, f"admin:{PASSWORD}",
        ("RUNNING", "COMPLETED", "CRASHED", "CANCELLED"),
    ),
    "dagster": Case(
        checking.dagster, "/graphql",
        {"location": "retraining", "repository": "__repository__", "job": "retrain"}, TOKEN,
        ("STARTED", "SUCCESS", "FAILURE", "CANCELED"),
    ),
    "kubeflow": Case(
        checking.kubeflow, "/pipeline", {"pipeline_id": "b1a2", "version_id": "c3", "experiment_id": "e7"}, TOKEN,
        ("RUNNING", "SUCCEEDED", "FAILED", "CANCELING"),
    ),
    "github": Case(
        checking.github, "", {"repository": "bank/models", "event_type": "driftline-train"}, TOKEN
    ),
    "argo": Case(
        checking.argo, "", {"namespace": "training", "template": "retrain"}, TOKEN,
        ("Running", "Succeeded", "Error", "Failed"),
    ),
    "sagemaker": Case(
        checking.sagemaker, "", {"pipeline": checking.PIPELINE_ARN},
        f"{checking.ACCESS_KEY.id}:{checking.ACCESS_KEY.secret}",
        ("Executing", "Succeeded", "Failed", "Stopped"),
        media_type="application/x-amz-json-1.1", order=ORDER_TO_READ,
        wrong_secret=f"{checking.ACCESS_KEY.id}:{'x' * 40}",
    ),
}  # fmt: skip
POLLED = [kind for kind, one in ORCHESTRATORS.items() if one.can_poll]


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(kind: str) -> FakeService:
    return FakeService(CASES[kind].rules, CASES[kind].media_type)


@pytest.fixture
def service(fake: FakeService) -> Iterator[Service]:
    with Service(fake) as running:
        yield running


@pytest.fixture
def pipeline(kind: str, service: Service) -> Pipeline:
    case = CASES[kind]
    return Pipeline(service.url + case.path, case.options, case.secret)


def test_every_kind_is_tried_here_or_in_the_guide() -> None:
    assert {*CASES, "http"} == set(ORCHESTRATORS)


@pytest.mark.parametrize("kind", CASES, indirect=True)
def test_starts_one_run_with_the_order(kind: str, pipeline: Pipeline, fake: FakeService) -> None:
    names = {ORCHESTRATORS[kind].start(pipeline, KEY, ORDER)}

    assert fake.orders == [CASES[kind].order]
    if ORCHESTRATORS[kind].starts_once:  # else the second artifact is refused instead
        names.add(ORCHESTRATORS[kind].start(pipeline, KEY, ORDER))
        assert (len(fake.runs), len(fake.orders)) == (1, 1)
    assert len(names) == 1


@pytest.mark.parametrize("kind", CASES, indirect=True)
def test_a_wrong_secret_fails_with_the_words_of_the_service(kind: str, pipeline: Pipeline) -> None:
    wrong = Pipeline(pipeline.url, pipeline.options, CASES[kind].wrong_secret)

    with pytest.raises(RequestFailed, match=r"40[13]"):
        ORCHESTRATORS[kind].start(wrong, KEY, ORDER)


@pytest.mark.parametrize("kind", POLLED, indirect=True)
def test_reads_every_state_in_the_words_of_the_service(
    kind: str, pipeline: Pipeline, fake: FakeService
) -> None:
    one = ORCHESTRATORS[kind]
    external_id = one.start(pipeline, KEY, ORDER)
    seen = [one.state(pipeline, external_id)]
    for word in CASES[kind].words[:3]:
        fake.runs[KEY] = word
        seen.append(one.state(pipeline, external_id))

    assert seen == [RUNNING, RUNNING, SUCCEEDED, FAILED]


@pytest.mark.parametrize("kind", POLLED, indirect=True)
@pytest.mark.parametrize("has_begun", [False, True])
def test_ends_a_run(kind: str, pipeline: Pipeline, fake: FakeService, has_begun: bool) -> None:
    one = ORCHESTRATORS[kind]
    external_id = one.start(pipeline, KEY, ORDER)
    if has_begun:
        fake.runs[KEY] = CASES[kind].words[0]

    one.stop(pipeline, external_id)

    assert fake.runs == {KEY: CASES[kind].words[3]}


@pytest.mark.parametrize("kind", POLLED, indirect=True)
def test_finds_a_run_by_its_key(kind: str, pipeline: Pipeline) -> None:
    one = ORCHESTRATORS[kind]
    before = one.find(pipeline, KEY)

    external_id = one.start(pipeline, KEY, ORDER)

    assert one.find(pipeline, KEY) == external_id
    assert before == ("" if external_id != KEY else KEY)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("dagster", {"data": {"terminateRun": {"__typename": "TerminateRunFailure", "message": "no agent"}}}),
        ("dagster", {"data": {"terminateRun": {"__typename": "PythonError", "message": "no agent"}}}),
        ("prefect", {"status": "REJECT", "details": {"reason": "no agent"}}),
    ],
    indirect=["kind"],
)
def test_a_service_that_does_not_end_a_run_says_why(
    kind: str, pipeline: Pipeline, service: Service, answer: Any
) -> None:
    service.rules = lambda asked: (200, answer)

    with pytest.raises(RequestFailed, match="no agent"):
        ORCHESTRATORS[kind].stop(pipeline, "run-of-7")


@pytest.mark.parametrize("kind", ["dagster"], indirect=True)
def test_a_search_that_dagster_refuses_starts_nothing(
    pipeline: Pipeline, fake: FakeService, service: Service
) -> None:
    refusal = {"__typename": "InvalidPipelineRunsFilterError", "message": "no such tag"}
    service.rules = lambda asked: (200, {"data": {"runsOrError": refusal}})

    with pytest.raises(RequestFailed, match="no such tag"):
        ORCHESTRATORS["dagster"].start(pipeline, KEY, ORDER)

    assert fake.orders == []


@pytest.mark.parametrize("kind", ["dagster"], indirect=True)
def test_says_why_dagster_launched_nothing(pipeline: Pipeline) -> None:
    other = Pipeline(pipeline.url, {**pipeline.options, "job": "removed"}, pipeline.secret)

    with pytest.raises(RequestFailed, match="Could not find removed"):
        ORCHESTRATORS["dagster"].start(other, KEY, ORDER)


@pytest.mark.parametrize("kind", POLLED, indirect=True)
@pytest.mark.parametrize("answer", [None, [], "yes", {"state": 7}, {"data": {"runOrError": []}}])
def test_an_answer_of_another_shape_fails_by_name(
    kind: str, pipeline: Pipeline, service: Service, answer: Any
) -> None:
    service.rules = lambda asked: (200, answer)

    with pytest.raises(RequestFailed):
        ORCHESTRATORS[kind].state(pipeline, KEY)


@pytest.mark.parametrize("kind", ["dagster", "kubeflow"], indirect=True)
@pytest.mark.parametrize("found", [[], {}, "x", [7], {"results": {"a": 1}}])
def test_a_search_that_is_answered_in_another_shape_fails_by_name(
    kind: str, pipeline: Pipeline, service: Service, found: Any
) -> None:
    service.rules = lambda asked: (200, {"runs": found, "data": {"runsOrError": found, "launchRun": found}})

    with pytest.raises(RequestFailed):
        ORCHESTRATORS[kind].start(pipeline, KEY, ORDER)


@pytest.mark.parametrize("kind", ["prefect"], indirect=True)
def test_a_name_of_a_run_that_is_too_long_to_be_kept_fails_by_name(
    kind: str, pipeline: Pipeline, service: Service
) -> None:
    service.rules = lambda asked: (201, {"id": "x" * 201})

    with pytest.raises(RequestFailed, match="201 characters as id"):
        ORCHESTRATORS[kind].start(pipeline, KEY, ORDER)


@pytest.mark.parametrize("kind", ["github"], indirect=True)
def test_an_order_that_is_too_large_for_github_is_not_sent(pipeline: Pipeline, service: Service) -> None:
    order = {**ORDER, "job": {"text": "x" * 65_536}}

    with pytest.raises(RequestFailed, match="GitHub takes 65,535"):
        ORCHESTRATORS["github"].start(pipeline, KEY, order)

    assert service.asked == []


@pytest.mark.parametrize("kind", ["sagemaker"], indirect=True)
@pytest.mark.parametrize(
    ("option", "secret", "words"),
    [
        ("retrain", None, "'retrain' is no ARN of a pipeline"),
        (f"{checking.PIPELINE_ARN}/execution/x", None, "is no ARN of a pipeline"),
        (checking.PIPELINE_ARN, "", "no access key to sign requests with"),
    ],
)
def test_sagemaker_is_not_called_without_what_a_signature_needs(
    pipeline: Pipeline, service: Service, option: str, secret: str | None, words: str
) -> None:
    unusable = Pipeline(pipeline.url, {"pipeline": option}, pipeline.secret if secret is None else secret)

    with pytest.raises(RequestFailed, match=words):
        ORCHESTRATORS["sagemaker"].start(unusable, KEY, ORDER)

    assert service.asked == []


@pytest.mark.parametrize("kind", ["sagemaker"], indirect=True)
@pytest.mark.parametrize("arn", ["", 7, "run-7", f"{checking.PIPELINE_ARN}/execution/../other"])
def test_an_execution_of_sagemaker_without_its_arn_fails_by_name(
    pipeline: Pipeline, service: Service, arn: Any
) -> None:
    service.rules = lambda asked: (200, {"PipelineExecutionArn": arn})

    with pytest.raises(RequestFailed, match=r"PipelineExecutionArn|no ARN of an execution"):
        ORCHESTRATORS["sagemaker"].start(pipeline, KEY, ORDER)


@pytest.mark.parametrize(
    ("secret", "is_usable"),
    [
        ("AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", True),
        ("ASIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", False),
        ("AKIAIOSFODNN7EXAMPLE", False),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", False),
    ],
)
def test_says_which_secret_is_no_access_key(secret: str, is_usable: bool) -> None:
    fault = ORCHESTRATORS["sagemaker"].fault_in_secret(secret)

    assert ("no access key" in fault) is not is_usable


@pytest.mark.parametrize("kind", ["airflow"], indirect=True)
def test_an_option_never_leads_to_another_path(pipeline: Pipeline, service: Service) -> None:
    sly = Pipeline(pipeline.url, {**pipeline.options, "dag_id": "../../auth/token?x="}, pipeline.secret)

    with pytest.raises(RequestFailed, match="404"):
        ORCHESTRATORS["airflow"].start(sly, KEY, ORDER)

    assert service.asked[-1].path == "/api/v2/dags/..%2F..%2Fauth%2Ftoken%3Fx%3D"


@pytest.mark.parametrize("kind", ["airflow"], indirect=True)
def test_a_dag_that_is_paused_is_not_started_as_it_would_never_begin(
    pipeline: Pipeline, fake: FakeService, service: Service
) -> None:
    service.rules = lambda asked: (200, {"is_paused": True}) if asked.method == "GET" else fake(asked)

    with pytest.raises(RequestFailed, match="The DAG retrain is paused"):
        ORCHESTRATORS["airflow"].start(pipeline, KEY, ORDER)

    assert fake.runs == {}
